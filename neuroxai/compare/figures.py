"""Figures of regions and of groups; PNG bytes, same values, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from neuroxai.canvas import AGAINST, CONTROLS, FOR, PATIENTS, draw_bars, figure_of, name_lines, plain

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


def calibration_figure(table: pd.DataFrame) -> bytes:
    """Observed against nominal rates of false alarms in controls: of single regions, and of people.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns scale, level; regions_rate, regions_low, regions_high; people_rate, people_low, people_high.
    """
    panels = (
        ("regions", "level of p", "share of controls' regions with p at most the level"),
        ("people", "level of q", "share of controls with a region of q at most the level"),
    )
    with figure_of(8.6, 4.2) as (figure, output):
        for axes, (name, across, up) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            top = max(float(table["level"].max()), float(table[f"{name}_high"].max())) * 1.05
            right = float(table["level"].max()) * 1.08
            axes.plot([0, right], [0, right], color="#767676", linestyle="--", linewidth=1, label="nominal")
            for index, (scale, own) in enumerate(table.groupby("scale", sort=False)):
                level, rate = own["level"].to_numpy(), own[f"{name}_rate"].to_numpy()
                # apart by a hair, so that intervals do not hide each other
                place = level + 0.002 * index
                low, high = (own[f"{name}_{end}"].to_numpy() for end in ("low", "high"))
                colour = (CONTROLS, FOR)[index % 2]
                axes.vlines(place, low, high, colors=colour, linewidth=1.4)
                axes.plot(
                    place, rate, color=colour, marker="os"[index % 2], markersize=5, linewidth=1, label=str(scale)
                )
            axes.set(xlim=(0, right), ylim=(0, top), xlabel=across)
            axes.set_ylabel(up, fontsize=8.5)
            axes.legend(loc="upper left", frameon=False)
            plain(axes)
        return output()


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
