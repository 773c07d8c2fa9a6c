from __future__ import annotations

import io

import numpy as np
import pytest

from neuroxai.bands import limit_of
from neuroxai.canvas import colour_map
from neuroxai.compare.figures import region_bars
from neuroxai.errors import SpaceError
from neuroxai.evaluation import RocCurve
from neuroxai.report.plots import charts, maps
from neuroxai.space import Space, Volume

AFFINE = np.array([[4.0, 0, 0, -20], [0, 4, 0, -30], [0, 0, 4, -18], [0, 0, 0, 1]])


def pixels(png: bytes) -> np.ndarray:
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


def pair(blob: tuple[int, int, int], value: float = 1.0, orientation: str = "RAS") -> tuple[Volume, Volume]:
    space = Space((12, 14, 12), AFFINE)
    heat, scan = np.zeros(space.shape), np.zeros(space.shape)
    scan[1:11, 1:13, 1:11] = 100
    heat[tuple(slice(b, b + 2) for b in blob)] = value
    return Volume(heat, space).reoriented(orientation), Volume(scan, space).reoriented(orientation)


def coloured(picture: np.ndarray, sign: int) -> np.ndarray:
    """Columns of strongly orange (sign 1) or blue (sign -1) pixels above the colour bar."""
    top = picture[: int(picture.shape[0] * 0.8)]
    difference = sign * (top[..., 0] - top[..., 2])
    return np.argwhere(difference > 0.3)[:, 1]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LIA"])
@pytest.mark.parametrize(("x", "side"), [(2, "left"), (8, "right")])
def test_the_picture_itself_shows_the_blob_on_its_side(orientation, x, side):
    heat, scan = pair((x, 6, 5), orientation=orientation)
    picture = pixels(maps.mosaic(heat, scan, 1.0, planes=("axial",), count=1))
    columns = coloured(picture, 1)
    assert columns.size > 50
    middle = picture.shape[1] / 2
    assert (columns < middle).all() if side == "left" else (columns > middle).all()


def test_for_is_orange_and_against_is_blue():
    for value, sign in ((1.0, 1), (-1.0, -1)):
        picture = pixels(maps.mosaic(*pair((2, 6, 5), value), 1.0, planes=("axial",), count=1))
        assert coloured(picture, sign).size > 50
        assert coloured(picture, -sign).size == 0


def test_same_values_same_bytes_whatever_the_users_settings():
    import matplotlib

    first = maps.mosaic(*pair((2, 6, 5)), 1.0)
    with matplotlib.rc_context({"font.size": 30, "figure.facecolor": "red", "savefig.dpi": 30}):
        assert maps.mosaic(*pair((2, 6, 5)), 1.0) == first
    assert b"Software" not in first


def test_drawing_leaves_no_global_state():
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    charts.roc_figure(RocCurve([0, 0, 1], [0, 1, 1]), "area 1")
    assert dict(matplotlib.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


def test_other_grids_are_refused_with_both_named():
    heat, scan = pair((2, 6, 5))
    with pytest.raises(SpaceError, match=r"11 x 14 x 12.*12 x 14 x 12"):
        maps.mosaic(heat, Volume(scan.data[1:], Space((11, 14, 12), AFFINE)), 1.0)


def test_a_heatmap_without_scan_and_one_without_relevance_are_drawn():
    heat, scan = pair((2, 6, 5))
    assert maps.mosaic(heat, None, 1.0).startswith(b"\x89PNG")
    assert maps.mosaic(Volume(np.zeros(heat.data.shape), heat.space), scan, 0.0).startswith(b"\x89PNG")


def test_limit_is_the_percentile_of_the_absolute_values(rng):
    values = rng.normal(size=(20, 20, 20))
    assert limit_of(values) == np.percentile(np.abs(values), 99.9)
    assert limit_of(-values) == limit_of(values)
    lonely = np.zeros((30, 30, 30))
    lonely[1, 2, 3] = -4
    assert limit_of(lonely) == 4


def test_colours_can_be_told_apart_by_the_colour_blind():
    # Machado 2009, severity 1, on linear RGB
    blind = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    strength = np.array([0.35, 0.5, 0.75, 1.0])
    colours = colour_map()
    for matrix in blind.values():

        def seen(shares, matrix=matrix):
            rgb = colours(shares)[:, :3]
            linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            linear = np.clip(linear @ np.array(matrix).T, 0, 1)
            xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
            f = np.cbrt(xyz / np.array([0.9505, 1.0, 1.089]))
            return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)

        distance = np.linalg.norm(seen(0.5 + strength / 2) - seen(0.5 - strength / 2), axis=1)
        # a just noticeable difference is about 2.3
        assert distance.min() > 20


def test_region_names_are_text_not_formulas():
    bars = region_bars(["$\\frac{1}$", "b" * 80], {"patients": [1.0, None], "controls": [-1.0, 2.0]}, "sum")
    assert bars.startswith(b"\x89PNG")
    assert region_bars(["a"], {"AD": [1.0]}, "x") != region_bars(["a"], {"AD": [-1.0]}, "x")
