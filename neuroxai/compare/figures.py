"""Figures of regions and of groups; PNG bytes, same values, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuroxai.canvas import AGAINST, CONTROLS, FOR, PATIENTS, draw_bars, figure_of, name_lines

if TYPE_CHECKING:
    import pandas as pd


def groups_figure(table: pd.DataFrame, axis_label: str, count: int = 20) -> bytes:
    """Differences between groups with their intervals, smallest p on top; filled where q is at most .05.

    Parameters
    ----------
    table : pandas.DataFrame
        From `neuroxai.statistics.tables.groups_table`.
    axis_label : str
        Below the axis.
    count : int
        Regions shown.
    """
    known = table[table["p"].notna()]
    order = np.lexsort((-known["t"].abs().to_numpy(), known["p"].to_numpy()))[:count]
    shown = known.iloc[order]
    lines = np.arange(len(shown))
    with figure_of(8.6, 1.1 + 0.3 * max(len(shown), 1)) as (figure, output):
        axes = figure.add_subplot()
        value, low, high = (shown[c].to_numpy() for c in ("difference", "difference_low", "difference_high"))
        colour = np.where(value >= 0, FOR, AGAINST)
        axes.hlines(lines, low, high, colors=colour, linewidth=1.6)
        found = (shown["q"] <= 0.05).to_numpy()
        for part, fill in ((found, colour), (~found, np.full(len(shown), "white"))):
            axes.scatter(value[part], lines[part], s=34, c=fill[part], edgecolors=colour[part], zorder=3)
        name_lines(axes, [str(name) for name in shown["region"]], axis_label)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title("95 % intervals; filled: false discovery rate at most .05", fontsize=9, loc="left")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))
        return output()


def fingerprint_figure(densities: pd.DataFrame, count: int = 12) -> bytes:
    """Density of two scans in the regions where their patterns differ most; each scan is scaled to length 1.

    Parameters
    ----------
    densities : pandas.DataFrame
        Two rows, one column per region.
    """
    known = densities.dropna(axis="columns", how="all")
    unit = known.div(np.sqrt((known**2).sum(axis="columns")), axis="index")
    order = (unit.iloc[0] - unit.iloc[1]).abs().sort_values(ascending=False, kind="stable").index[:count]
    groups = {str(name): [float(v) for v in row[order]] for name, row in unit.iterrows()}
    return region_bars([str(name) for name in order], groups, "density of relevance, each scan scaled to length 1")


def region_bars(names: Sequence[str], groups: Mapping[str, Sequence[float | None]], axis_label: str) -> bytes:
    """Horizontal bars, one line per region; with two groups, two bars per line; missing values are left out.

    Parameters
    ----------
    names : sequence of str
        Regions, the first on top.
    groups : mapping of str to sequence of float or None
        One value per region for each group; one group alone is coloured by sign.
    axis_label : str
        Below the axis.
    """
    colours = () if len(groups) == 1 else (PATIENTS, CONTROLS, "#767676")
    with figure_of(8.6, 0.9 + 0.3 * max(len(names), 1)) as (figure, output):
        axes = figure.add_subplot()
        draw_bars(axes, names, groups, colours)
        name_lines(axes, names, axis_label)
        if colours:
            axes.legend(loc="best", frameon=False)
        return output()
