"""Deal subjects out to parts so that every stratum gets its share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def allocate(
    subjects: pd.DataFrame,
    ranges: Sequence[int],
    shares: Sequence[float],
    classes: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, int]:
    """Give each subject the number of its part.

    Parameters
    ----------
    subjects : pandas.DataFrame
        participant_id, label, sex; sorted by participant_id.
    ranges : sequence of int
        Age range of each subject.
    shares : sequence of float
        Share of each part, all positive, adding up to 1.
    classes : sequence of str
        Names of the labels, for messages.
    rng : numpy.random.Generator
        Chooses.

    Returns
    -------
    dict of str to int
        participant_id to part.

    Raises
    ------
    InputError
        If a class has fewer subjects than there are parts.
    """
    sexes = [sex if isinstance(sex, str) else "" for sex in subjects["sex"]]
    names, labels = subjects["participant_id"].tolist(), subjects["label"].tolist()
    carry = np.zeros(len(shares))
    dealt: dict[str, int] = {}
    for label, class_name in enumerate(classes):
        members = [i for i, value in enumerate(labels) if value == label]
        if len(members) < len(shares):
            raise InputError(
                f"class {class_name!r}: {len(members)} subjects for {len(shares)} parts, expected at least one a part; "
                "ask for fewer parts or add subjects"
            )
        ordered = _order(members, sexes, ranges, rng)
        counts = quotas(len(members), shares, carry)
        carry += len(members) * np.asarray(shares) - counts
        turns = np.roll(deal(counts), int(rng.integers(len(members))))
        dealt.update((names[i], int(part)) for i, part in zip(ordered, turns, strict=True))
    return dealt


def _order(members: list[int], sexes: list[str], ranges: Sequence[int], rng: np.random.Generator) -> list[int]:
    """Sex by sex, range by range, at random inside; ages run up in one sex and down in the next."""
    shuffled = [members[i] for i in rng.permutation(len(members))]
    ordered: list[int] = []
    present = sorted({sexes[i] for i in members})
    for number, place in enumerate(rng.permutation(len(present))):
        own = [i for i in shuffled if sexes[i] == present[place]]
        ordered += sorted(own, key=lambda i: ranges[i], reverse=number % 2 == 1)
    return ordered


def quotas(n: int, shares: Sequence[float], carry: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round ``n * shares`` up or down to whole numbers that add up to n, each at least one.

    Parameters
    ----------
    n : int
        Subjects; at least as many as shares.
    shares : sequence of float
        Adding up to 1.
    carry : ndarray
        What earlier classes had too little, which decides who is rounded up.
    """
    # floor with a hair of tolerance: ten times a fifth is two
    exact = n * np.asarray(shares, dtype=np.float64)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    # whole quotas are not rounded up before fractional ones
    urgency = np.where(exact - counts > 1e-9, exact - counts + carry, -np.inf)
    for part in np.argsort(-np.round(urgency, 9), kind="stable")[: n - int(counts.sum())]:
        counts[part] += 1
    while counts.min() < 1:
        counts[counts.argmax()] -= 1
        counts[counts.argmin()] += 1
    return counts


def deal(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a sequence in which part p stands ``counts[p]`` times, as evenly as can be.

    Seat j of part p belongs between positions ``(j - 1) n / counts[p]`` and ``j n / counts[p]``; taking the earliest
    deadline first meets all of these windows (Liu & Layland 1973, Tijdeman 1980), so that after i places every part
    has had its share i counts[p] / n to within one, and any run of neighbours (also around the end) to within two.
    """
    n = int(counts.sum())
    given = np.zeros(len(counts), dtype=np.int64)
    turns = np.empty(n, dtype=np.int64)
    for place in range(n):
        open_ = [p for p in range(len(counts)) if given[p] < counts[p] and given[p] * n // counts[p] <= place]
        part = min(open_, key=lambda p: (-(-(given[p] + 1) * n // counts[p]), p))
        turns[place] = part
        given[part] += 1
    return turns
