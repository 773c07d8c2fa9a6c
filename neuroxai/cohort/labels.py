"""From a column of the table to class numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from neuroxai.cohort.scans import LeftOut
from neuroxai.cohort.table import Cohort, value_of
from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd

#: Names under which cohorts list their controls; such a class is number 0.
CONTROLS = frozenset(
    (
        "cn",
        "hc",
        "nc",
        "con",
        "ctl",
        "ctr",
        "ctrl",
        "control",
        "controls",
        "healthy",
        "healthy_control",
        "healthycontrol",
        "healthy_controls",
        "nondemented",
        "normal",
        "normal_control",
        "unaffected",
        "sham",
        "hv",
        "healthy_volunteer",
        "no",
        "false",
        "negative",
        "none",
        "td",
    )
)


@dataclass(frozen=True)
class Labelled:
    """A cohort whose scans have class numbers.

    Parameters
    ----------
    cohort : Cohort
        Where the scans come from.
    target : str
        The column that holds the class.
    classes : list of str
        Class names; a class's number is its place.
    scans : pandas.DataFrame
        The cohort's rows that have one of the classes, with ``label`` (int) and ``class`` (str) added.
    left_out : list of LeftOut
        The cohort's own and the scans without a class.
    notes : list of str
        The cohort's own, and the classes not asked for.
    """

    cohort: Cohort
    target: str
    classes: list[str]
    scans: pd.DataFrame
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def label_scans(cohort: Cohort, target: str | None = None, classes: Sequence[str] | None = None) -> Labelled:
    """Give every scan the number of its class.

    Parameters
    ----------
    cohort : Cohort
        From `read_cohort`.
    target : str, optional
        Column with the class; without it ``diagnosis`` or else ``group``.
    classes : sequence of str, optional
        Class names in the order of their numbers. Without it the column must hold two values, which are sorted, a
        well-known name of controls first.

    Raises
    ------
    InputError
        If the column is absent, a class has no scan, or there are not two classes.
    """
    columns = [str(c) for c in cohort.scans.columns if c not in ("participant_id", "session_id", "image")]
    if target is None:
        target = next((name for name in ("diagnosis", "group") if name in columns), None)
        if target is None:
            raise InputError(f"no column 'diagnosis' or 'group'; name one with --target: {', '.join(columns)}")
    if target not in columns or (target == "sex" and cohort.scans["sex"].isna().all()):
        raise one_of("column for --target", target, columns, "These are the columns of participants.tsv.")
    names = [None if (value := value_of(v)) is None else str(value) for v in cohort.scans[target]]
    counts = Counter(name for name in names if name is not None)
    chosen = _ordered(counts, target) if classes is None else _checked(counts, target, classes)
    left_out = list(cohort.left_out)
    for name, subject, session in zip(names, cohort.scans["participant_id"], cohort.scans["session_id"], strict=True):
        if name is None:
            left_out.append(LeftOut(subject, value_of(session), f"{target} is missing"))
    others = {name: count for name, count in sorted(counts.items()) if name not in chosen}
    notes = [f"{count} scans with {target} {name!r} left out, not among the classes" for name, count in others.items()]
    keep = [name in chosen for name in names]
    scans = cohort.scans[keep].reset_index(drop=True)
    scans["class"] = [name for name in names if name in chosen]
    scans["label"] = [chosen.index(name) for name in scans["class"]]
    return Labelled(cohort, target, chosen, scans, left_out, [*cohort.notes, *notes])


def _ordered(counts: Counter[str], target: str) -> list[str]:
    found = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
    if len(counts) < 2:
        raise InputError(
            f"column {target!r} holds one class only ({found or 'no value'}), expected two; choose --target"
        )
    ordered = sorted(counts, key=lambda name: (not _is_control(name), name))
    if len(counts) > 2:
        # a code for what is missing, or another spelling, is rare
        frequent = sorted(counts, key=lambda name: (-counts[name], name))
        controls = list(filter(_is_control, frequent))[:1]
        others = [name for name in frequent if not _is_control(name)][: 2 - len(controls)]
        raise InputError(
            f"column {target!r} holds {len(counts)} values ({found[:300]}), expected two; name yours with --classes, "
            "for example --classes " + ",".join([*controls, *sorted(others)])
        )
    return ordered


def _is_control(name: str) -> bool:
    return name.lower().replace(" ", "_").replace("-", "_") in CONTROLS


def _checked(counts: Counter[str], target: str, classes: Sequence[str]) -> list[str]:
    chosen = [str(name).strip() for name in classes]
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise InputError(f"--classes {','.join(chosen)}: expected two or more different names, such as CN,AD")
    for name in chosen:
        if name not in counts:
            raise one_of(f"class of column {target!r}", name, counts)
    return chosen
