"""Values to HTML. Pure: same values, same text; nothing is loaded from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from neuroxai._version import __version__
from neuroxai.pictures.page import rendered
from neuroxai.pictures.text import number
from neuroxai.report.lines import bar_lines, dot_lines, effect_lines, group_lines, place
from neuroxai.report.scan.cards import cards_of
from neuroxai.report.values import MOST_ROWS, CohortValues, ScanValues, StudyValues

if TYPE_CHECKING:
    import pandas as pd


# what a family of methods can say, and what it cannot
_FAMILIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("lrp_", "deep_taylor"),
        "Layer-wise relevance propagation shares the score out, layer by layer; with rules that keep positive "
        "contributions alone, maps of different classes, and of networks with shuffled weights, may look alike "
        "(Sixt 2020): what is common to all scans says little.",
    ),
    (
        ("saliency", "smooth_grad", "smooth_grad_squared", "var_grad"),
        "A gradient says where a small change would move the score, not which voxels made it; it shares nothing out.",
    ),
    (
        ("gradient_x_input", "integrated_gradients", "deep_lift", "gradient_shap"),
        "The map adds up to the score's difference from a baseline (an empty image, unless the options say otherwise); "
        "another baseline gives another map.",
    ),
    (
        ("guided_backprop", "guided_grad_cam"),
        "Guided back-propagation draws edges of the image, largely whatever the network has learnt (Adebayo 2018): "
        "it is no evidence of what the decision rests on.",
    ),
    (
        ("grad_cam", "grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam"),
        "The map is as coarse as the layer it is taken from, and interpolated: it names neighbourhoods, not voxels.",
    ),
    (
        ("occlusion", "region_occlusion"),
        "Hiding a part shows what the score loses with it alone: parts that stand in for each other seem unimportant, "
        "and a scan with a hole is like none that the network was trained on.",
    ),
    (
        ("region_swap",),
        "Each region is replaced by what healthy controls would have there, as far as they tell; within a region "
        "nothing is told apart.",
    ),
    (
        ("region_shapley", "region_lime"),
        "The score is shared out among regions that are there or replaced (by zero, unless the options say otherwise); "
        "another replacement gives other shares, they are estimates, and within a region nothing is told apart.",
    ),
)


def scan_page(values: ScanValues) -> str:
    """Return the self-contained HTML page of one scan.

    Parameters
    ----------
    values : ScanValues
        Everything shown; text in it is escaped.
    """
    scripts = ["viewer.js"] if values.viewer else []
    ways = {"previous": "prev", "next": "next"}
    others = [(ways[way], address, f"{way.capitalize()}: {title}") for way, title, address in values.neighbours]
    return rendered(
        "neuroxai.report",
        "scan.html",
        values,
        scripts,
        others=[("", "index.html", "All scans"), *others],
        limits=limits_of(values.method),
        cards=cards_of(values),
        bars=bar_lines(values.regions),
        dots=dot_lines(values.controls) if values.controls is not None else [],
        ticks=[(tick, place(tick)) for tick in (-6, -4, -2, 0, 2, 4, 6)],
    )


def cohort_page(values: CohortValues) -> str:
    """Return the self-contained HTML page of a cohort."""
    forest, ticks = effect_lines(values.effects)
    bars = group_lines(values.regions, values.region_groups)
    return rendered("neuroxai.report", "cohort.html", values, ["table.js"], forest=forest, ticks=ticks, bars=bars)


def study_page(values: StudyValues) -> str:
    """Return the self-contained HTML page of a study."""
    return rendered(
        "neuroxai.report", "study.html", values, [], version=__version__, cell=cell, rows=rows, most=MOST_ROWS
    )


def rows(frame: pd.DataFrame) -> list[list[str]]:
    """Return a table's first rows as text."""
    return [[cell(value) for value in row] for row in frame.head(MOST_ROWS).itertuples(index=False, name=None)]


def cell(value: Any) -> str:
    """Write a cell for people."""
    if value is None or value != value:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else number(value, 4)
    return str(value)


def limits_of(method: str) -> str:
    """Return the limits of a method by its name; empty for an unknown one."""
    exact = next((text for names, text in _FAMILIES if method in names), "")
    return exact or next((text for names, text in _FAMILIES if method.startswith(names)), "")
