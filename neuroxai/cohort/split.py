"""Split a cohort by subject, stratified on class, sex and age range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from neuroxai._version import __version__
from neuroxai.cohort.allocate import allocate
from neuroxai.cohort.datalist import PARTS, Datalist
from neuroxai.cohort.groups import allocate_groups, group_column, groups_of
from neuroxai.cohort.labels import Labelled
from neuroxai.cohort.match import match_sex
from neuroxai.cohort.scans import LeftOut
from neuroxai.cohort.subjects import age_ranges, subjects_of
from neuroxai.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


MOST = 1000  # folds, repeats, age ranges


@dataclass(frozen=True)
class SplitOptions:
    """How to split.

    Parameters
    ----------
    fractions : tuple of float
        Shares of training, validation and test; they add up to 1. Not used with folds.
    folds : int, optional
        Make this many folds: each is the test part once and the validation part of the fold before.
    repeats : int, optional
        Make this many random splits.
    seed : int
        Zero or more.
    match : bool
        Under-sample to equal sex within age bins of each class first.
    match_width : float
        Years of a matching bin.
    age_bins : int
        Number of age ranges to stratify on, at quantiles of the cohort; 1 for none.
    age_width : float, optional
        Stratify on age ranges of this many years instead.
    test_sessions : {"all", "first"}
        Keep all of a test subject's scans or the first (baseline) one.
    group : str, optional
        Column whose equal values stay in one part; without it ``twin`` where the table has it.
    """

    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)
    folds: int | None = None
    repeats: int | None = None
    seed: int = 0
    match: bool = False
    match_width: float = 5.0
    age_bins: int = 4
    age_width: float | None = None
    test_sessions: Literal["all", "first"] = "all"
    group: str | None = None

    def __post_init__(self) -> None:
        shares = tuple(float(f) for f in self.fractions)
        if len(shares) != 3 or not np.isfinite(shares).all() or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            text = ",".join(f"{f:g}" for f in shares)
            raise InputError(
                f"--fractions {text}: expected training,validation,test that add up to 1, such as .6,.2,.2"
            )
        if shares[0] == 0:
            raise InputError("--fractions leaves nothing for training; give it a share above 0")
        if self.folds is not None and self.repeats is not None:
            raise InputError("--folds and --repeats exclude each other; choose one")
        if self.folds is not None and not 3 <= self.folds <= MOST:
            raise InputError(f"--folds {self.folds}: expected 3 to {MOST} (training, validation and test are disjoint)")
        if self.repeats is not None and not 1 <= self.repeats <= MOST:
            raise InputError(f"--repeats {self.repeats}: expected 1 to {MOST}")
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: expected zero or more")
        if not 1 <= self.age_bins <= MOST or (self.age_width is not None and not self.age_width > 0):
            raise InputError(f"--age-bins: expected 1 to {MOST} ranges, or a positive width such as 5y")
        if self.test_sessions not in ("all", "first"):
            raise InputError(f"--test-sessions {self.test_sessions!r}: expected 'all' or 'first'")
        object.__setattr__(self, "fractions", shares)


def split_cohort(labelled: Labelled, options: SplitOptions | None = None) -> list[Datalist]:
    """Make the datalists of a cohort.

    Subjects of a class are put in order of sex and age range, at random inside each range, and dealt out evenly along
    that order. Any run of m neighbours (a range, a sex, the class) therefore gets within two subjects of its share of
    every part, and a range with fewer subjects than parts is balanced together with the next.
    A subject's class, sex and age are those of the first scan. The order of rows in the tables has no influence.

    Parameters
    ----------
    labelled : Labelled
        From `label_scans`.
    options : SplitOptions, optional
        How to split.

    Returns
    -------
    list of dict
        One datalist, or one a fold or repeat; `write_datalist` writes them.

    Raises
    ------
    InputError
        If a class has fewer subjects than there are parts, or the groups' column is absent.
    """
    asked = options or SplitOptions()
    subjects, notes = subjects_of(labelled)
    column = group_column(labelled, asked.group)
    asked = replace(asked, group=column)
    group = groups_of(labelled, column) if column else {}
    lists = []
    for number in range(asked.repeats or 1):
        rng = np.random.default_rng([asked.seed, number])
        chosen, dropped, unusable = _match(subjects, labelled, asked, rng)
        ranges, said = age_ranges(chosen["age"].tolist(), asked.age_bins, asked.age_width)
        parts = asked.folds or sum(share > 0 for share in asked.fractions)
        shares = [1 / asked.folds] * asked.folds if asked.folds else [s for s in asked.fractions if s > 0]
        if column:
            dealt = allocate_groups(chosen, group, ranges, shares, labelled.classes, rng)
        else:
            dealt = allocate(chosen, ranges, shares, labelled.classes, rng)
        said = [*notes, *said, *_small(chosen, ranges, parts, labelled.classes)]
        for turn in range(asked.folds or 1):
            if asked.folds:
                roles = {turn: "test", (turn + 1) % asked.folds: "validation"}
                members = {subject: roles.get(fold, "training") for subject, fold in dealt.items()}
            else:
                names = [part for part, share in zip(PARTS, asked.fractions, strict=True) if share > 0]
                members = {subject: names[fold] for subject, fold in dealt.items()}
            record = {"number": turn if asked.folds else number, "of": asked.folds or asked.repeats or 1}
            lists.append(_datalist(labelled, asked, members, dropped, unusable, said, record))
    return lists


def _match(
    subjects: pd.DataFrame, labelled: Labelled, options: SplitOptions, rng: np.random.Generator
) -> tuple[pd.DataFrame, list[LeftOut], list[LeftOut]]:
    if not options.match:
        return subjects, [], []
    for name in ("sex", "age"):
        if subjects[name].isna().all():
            raise InputError(
                f"--match needs the column {name!r}, which is absent or empty; add it or leave out --match"
            )
    # where sex is the target, "in each class" would leave nobody: match over the whole cohort
    table = subjects.assign(label=0) if labelled.target == "sex" else subjects
    matched = match_sex(table, rng, options.match_width)
    kept = subjects[subjects["participant_id"].isin(matched.kept)].reset_index(drop=True)
    dropped = [LeftOut(name, None, reason) for name, reason in sorted(matched.removed.items())]
    return kept, dropped, [LeftOut(name, None, reason) for name, reason in sorted(matched.unusable.items())]


def _small(subjects: pd.DataFrame, ranges: list[int], parts: int, classes: Sequence[str]) -> list[str]:
    sexes = subjects["sex"].fillna("unknown")
    counts = Counter(zip(subjects["label"].tolist(), sexes.tolist(), ranges, strict=True))
    small = [
        f"{classes[label]}, sex {sex}, {f'age range {number + 1}' if number >= 0 else 'age unknown'} ({count})"
        for (label, sex, number), count in sorted(counts.items())
        if count < parts
    ]
    if not small:
        return []
    return [f"{len(small)} strata have fewer subjects than parts and share with their neighbours: {', '.join(small)}"]


def _datalist(
    labelled: Labelled,
    options: SplitOptions,
    members: dict[str, str],
    dropped: list[LeftOut],
    unusable: list[LeftOut],
    notes: list[str],
    record: dict[str, int],
) -> Datalist:
    items: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    later = 0
    done: set[str] = set()
    records: list[Any] = labelled.scans.to_dict("records")
    for row in records:
        part = members.get(row["participant_id"])
        if part is None:
            continue
        if part == "test" and options.test_sessions == "first" and row["participant_id"] in done:
            later += 1
            continue
        done.add(row["participant_id"])
        items[part].append(_item(row, labelled.target, options.group))
    said = [*labelled.notes, *notes, *([f"{later} later scans of test subjects left out"] if later else [])]
    return {
        "description": f"{labelled.target}: "
        + " against ".join(f"{name} ({number})" for number, name in enumerate(labelled.classes))
        + f"; {'fold' if options.folds else 'split'} {record['number']} of {record['of']}, by "
        + (options.group or "subject")
        + ", stratified on class, sex and age range",
        "classes": labelled.classes,
        "target": labelled.target,
        "seed": options.seed,
        "participants_sha256": labelled.cohort.participants_sha256,
        **({"group": options.group} if options.group else {}),
        "options": {**_written(options), **record},
        "versions": {"neuroxai": __version__},
        "notes": said,
        "left_out": [
            {k: v for k, v in asdict(item).items() if v is not None} for item in [*labelled.left_out, *unusable]
        ],
        "matched_away": [item.participant_id for item in dropped],
        **{part: sorted(rows, key=lambda item: str(item["image"])) for part, rows in items.items() if rows},
    }


def _written(options: SplitOptions) -> dict[str, Any]:
    """Options for the record; a group's column is named only where there is one."""
    values = {**asdict(options), "fractions": list(options.fractions)}
    return values if options.group else {name: value for name, value in values.items() if name != "group"}


def _item(row: dict[str, Any], target: str, group: str | None) -> dict[str, Any]:
    item = {"image": row["image"], "label": int(row["label"]), "participant_id": row["participant_id"]}
    for key in ("session_id", "age", "sex", *([group] if group and group != "participant_id" else [])):
        # a missing cell is None or NaN, and NaN alone differs from itself
        if row[key] is not None and row[key] == row[key]:
            item[key] = row[key]
    # a column that bears a name of ours ("label" is the class's number in every datalist) does not take its place
    named = "class" if target in item and target != "sex" else target
    return {**item, named: item["sex"] if target == "sex" else row["class"]}
