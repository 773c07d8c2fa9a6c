from __future__ import annotations

import io

import numpy as np
import pytest

from neuroxai.canvas import colour_map, figure_of, name_lines
from neuroxai.compare.figures import region_bars


def pixels(png: bytes) -> np.ndarray:
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(png), format="png")[..., :3]


@pytest.mark.parametrize("length", [5, 44, 80])
def test_no_name_is_cut_at_the_edge_and_no_bar_is_lost(length):
    """Hand-placed axes cut names of more than about 40 letters at the picture's left edge."""
    picture = pixels(region_bars(["W" * length, "b"], {"AD": [1.0, -1.0]}, "sum of relevance"))
    assert picture.shape[1] == 860
    border = np.concatenate([picture[:, :1].ravel(), picture[:, -1:].ravel(), picture[0].ravel(), picture[-1].ravel()])
    assert (border == 1).all()
    orange = (picture[..., 0] > 0.6) & (picture[..., 2] < 0.2)
    assert np.flatnonzero(orange.any(axis=0)).size > 100


def test_the_first_name_stands_on_top_and_long_ones_are_shortened():
    with figure_of(8, 2) as (figure, output):
        axes = figure.add_subplot()
        name_lines(axes, ["a" * 60, "b"], "below")
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a" * 43 + "…", "b"]
        assert axes.get_ylim() == (1.6, -0.6)
        assert output().startswith(b"\x89PNG")
        assert output("svg") == output("svg")


def test_the_last_bits_of_the_layout_move_no_pixel(monkeypatch):
    """The solver's last bits depend on where objects lie in memory; here they are moved on purpose."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    def drawn(shift):
        with monkeypatch.context() as patch:
            plain = ConstrainedLayoutEngine.execute

            def moved(self, figure):
                plain(self, figure)
                for axes in figure.axes:
                    axes._set_position(axes.get_position(original=True).translated(shift, shift), which="original")

            patch.setattr(ConstrainedLayoutEngine, "execute", moved)
            with figure_of(4, 3, dark=True) as (figure, output):
                for number, axes in enumerate(figure.subplots(2, 3).flat):
                    axes.imshow(np.arange(12).reshape(3, 4))
                    axes.set_title(f"slice {number}")
                found = [tuple(axes.get_position(original=True).bounds) for axes in figure.axes] if output() else []
                return found, output()

    assert drawn(0.0) == drawn(1e-13) == drawn(-1e-13)


def test_a_dark_figure_is_black_to_its_edge():
    with figure_of(2, 1, dark=True) as (_, output):
        assert not pixels(output()).any()


def test_drawing_leaves_no_global_state():
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    region_bars(["a"], {"AD": [1.0]}, "sum")
    assert dict(matplotlib.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


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
