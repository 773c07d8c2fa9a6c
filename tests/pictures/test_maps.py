from __future__ import annotations

import io

import numpy as np
import pytest

from neuroxai.bands import limit_of
from neuroxai.errors import SpaceError
from neuroxai.pictures import maps
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


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
@pytest.mark.parametrize(("x", "side"), [(2, "left"), (8, "right")])
def test_a_map_lies_in_its_place_over_a_finer_anatomy_of_another_orientation(orientation, x, side):
    heat, _ = pair((x, 6, 5), orientation=orientation)
    fine = Space((50, 60, 50), np.array([[-1.0, 0, 0, 26], [0, 1, 0, -34], [0, 0, 1, -22], [0, 0, 0, 1]]))
    head = np.zeros(fine.shape, np.float32)
    head[4:46, 4:56, 4:46] = 1
    picture = pixels(maps.over_anatomy({"map": (heat, 1.0)}, Volume(head, fine), planes=("axial",), count=1))
    columns = coloured(picture, 1)
    assert columns.size > 50
    # the name at the left of the strip moves the head's middle to the right
    shown = np.argwhere((picture[: int(picture.shape[0] * 0.8)].min(-1) > 0.3).any(0))
    middle = shown[shown > 0.15 * picture.shape[1]].mean()
    assert (columns < middle).all() if side == "left" else (columns > middle).all()


@pytest.mark.parametrize(("x", "side"), [(2, "left"), (8, "right")])
def test_a_thumbnail_is_small_and_shows_the_same_side(x, side):
    from PIL import Image

    picture = maps.HeatmapPictures(*pair((x, 6, 5))).thumbnail(1.0)
    assert len(picture) < 4000
    shown = np.asarray(Image.open(io.BytesIO(picture)), float) / 255
    assert shown.shape[1] == 96
    columns = np.argwhere(shown[..., 0] - shown[..., 2] > 0.3)[:, 1]
    assert columns.size > 20
    assert (columns < 50).all() if side == "left" else (columns > 46).all()
    assert picture == maps.HeatmapPictures(*pair((x, 6, 5))).thumbnail(1.0)
