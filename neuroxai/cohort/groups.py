"""Subjects that must not be separated: twins made of one scan, members of a family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroxai.cohort.allocate import allocate
from neuroxai.cohort.labels import Labelled
from neuroxai.cohort.table import value_of
from neuroxai.errors import InputError, one_of

if TYPE_CHECKING:
    import pandas as pd

#: Column by which `neuroxai simulate --from` marks a patient and the sham control that are of one scan.
TWIN = "twin"


def group_column(labelled: Labelled, asked: str | None) -> str | None:
    """Return the column that says who stays together: the one asked for, else `TWIN` where the table has it.

    Raises
    ------
    InputError
        If the column is absent.
    """
    columns = [str(c) for c in labelled.scans.columns if c not in ("session_id", "image", "label", "class")]
    if asked is None:
        return TWIN if TWIN in columns else None
    if asked not in columns:
        raise one_of("column for --group", asked, columns, "These are the columns of participants.tsv.")
    return asked


def groups_of(labelled: Labelled, column: str) -> dict[str, str]:
    """Give each subject its group; who has none is a group alone, and is left out of the answer.

    Raises
    ------
    InputError
        If a subject's scans name two groups.
    """
    found: dict[str, str] = {}
    for subject, cell in zip(labelled.scans["participant_id"], labelled.scans[column], strict=True):
        value = value_of(cell)
        if value is not None and found.setdefault(str(subject), str(value)) != str(value):
            raise InputError(
                f"{subject}: column {column!r} says {found[str(subject)]!r} and {str(value)!r}, expected one group a "
                "subject; correct participants.tsv or choose another --group"
            )
    return found


def allocate_groups(
    subjects: pd.DataFrame,
    group: Mapping[str, str],
    ranges: Sequence[int],
    shares: Sequence[float],
    classes: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, int]:
    """Give each subject the number of its part, whole groups at a time.

    Groups are dealt out as `allocate` deals subjects. In the place of the class stands who is in the group (one
    control and one patient, say), in that of sex and age range those of the group's first subject. Make-ups with
    fewer groups than parts are dealt out together with the most frequent one.

    Parameters
    ----------
    subjects, ranges, shares, classes, rng
        As in `allocate`.
    group : mapping of str to str
        participant_id to group, from `groups_of`.

    Returns
    -------
    dict of str to int
        participant_id to part.

    Raises
    ------
    InputError
        If there are fewer groups than parts, or a part is left without one of the classes.
    """
    import pandas as pd

    members: dict[tuple[bool, str], list[int]] = {}
    for place, subject in enumerate(subjects["participant_id"]):
        # a group's name may equal a subject's: whoever is alone has a key that no group has
        members.setdefault((subject in group, group.get(subject, subject)), []).append(place)
    labels = subjects["label"].tolist()
    makeup = {key: tuple(sorted(labels[i] for i in places)) for key, places in members.items()}
    counts = Counter(makeup.values())
    if len(members) < len(shares):
        raise InputError(
            f"{len(members)} groups for {len(shares)} parts, expected at least one a part; ask for fewer parts or "
            "choose another --group"
        )
    # the most frequent; of equal ones the first in order, so that the order of rows has no influence
    common = min(counts, key=lambda made: (-counts[made], made))
    kinds = sorted(made for made, count in counts.items() if made == common or count >= len(shares))
    keys = sorted(members, key=lambda key: subjects["participant_id"].iloc[members[key][0]])
    units = pd.DataFrame(
        {
            "participant_id": [str(number) for number in range(len(keys))],
            "label": [kinds.index(makeup[key] if makeup[key] in kinds else common) for key in keys],
            "sex": [subjects["sex"].iloc[members[key][0]] for key in keys],
        }
    )
    names = [" + ".join(classes[label] for label in made) for made in kinds]
    dealt = allocate(units, [ranges[members[key][0]] for key in keys], shares, names, rng)
    parts = {
        str(subjects["participant_id"].iloc[i]): dealt[str(number)]
        for number, key in enumerate(keys)
        for i in members[key]
    }
    _check_classes(parts, subjects, len(shares), classes)
    return parts


def _check_classes(parts: Mapping[str, int], subjects: pd.DataFrame, count: int, classes: Sequence[str]) -> None:
    there: set[tuple[int, Any]] = {
        (parts[str(subject)], label)
        for subject, label in zip(subjects["participant_id"], subjects["label"].tolist(), strict=True)
    }
    for label, name in enumerate(classes):
        absent = count - sum((part, label) in there for part in range(count))
        if absent:
            raise InputError(
                f"class {name!r}: {absent} of {count} parts get no subject of it, as whole groups are dealt out; ask "
                "for fewer parts, another --seed or another --group"
            )
