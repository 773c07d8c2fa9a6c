from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuroxai.compare.figures import fingerprint_figure, groups_figure


@pytest.fixture
def table(rng):
    value = rng.normal(size=25)
    return pd.DataFrame(
        {
            "region": [f"Region {k} $x^2$" for k in range(25)],
            "difference": value,
            "difference_low": value - 0.5,
            "difference_high": value + 0.5,
            "t": value * 3,
            "p": np.clip(np.exp(-np.abs(value) * 4), 0.001, 1),
            "q": np.exp(-np.abs(value) * 3),
        }
    )


def pixels(png):
    import io

    from matplotlib.image import imread

    return imread(io.BytesIO(png))


def test_same_values_same_bytes_and_other_values_others(table):
    assert groups_figure(table, "density") == groups_figure(table.copy(), "density")
    assert groups_figure(table, "density") != groups_figure(table.assign(q=1.0), "density")


def test_as_many_lines_as_there_are_regions_up_to_twenty(table):
    heights = [pixels(groups_figure(table[:n], "density")).shape[0] for n in (3, 20, 25)]
    assert heights[0] < heights[1] == heights[2]


def test_regions_without_figures_are_left_out(table):
    holes = table.copy()
    holes.loc[3, ["difference", "difference_low", "difference_high", "t", "p", "q"]] = np.nan
    assert groups_figure(holes, "density") == groups_figure(holes.drop(3), "density")
    flat = table.copy()
    flat.loc[3, ["difference_low", "difference_high"]] = np.nan
    assert groups_figure(flat, "density") != groups_figure(table, "density")


def test_the_fingerprint_shows_patterns_not_strengths(rng):
    densities = pd.DataFrame(rng.normal(size=(2, 5)), index=["sub-1", "sub-2"], columns=list("abcde"))
    stronger = densities.mul([1.0, 1000.0], axis=0)
    assert fingerprint_figure(stronger) == fingerprint_figure(densities)
    assert fingerprint_figure(densities.assign(f=np.nan)) == fingerprint_figure(densities)
    assert fingerprint_figure(densities, count=2) != fingerprint_figure(densities)
