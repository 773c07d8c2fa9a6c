"""Which scan comes when, and with which random numbers: a function of seed, epoch and place in the epoch alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import DistributedSampler

from neuroxai.cohort.groups import TWIN
from neuroxai.components.data import ScanDataset
from neuroxai.errors import InputError, one_of
from neuroxai.io import read_object


class Draw(NamedTuple):
    """A scan's number in its data set, and the seed of what is random about this visit."""

    scan: int
    seed: int


class ScanSampler(DistributedSampler):
    """Shuffled or balanced order over any number of processes.

    Each visit carries a seed made of the run's seed, the epoch and the place in the epoch's common order. Augmentation
    is therefore the same for any number of workers, after a restart, and for any number of processes: `p` processes
    with batches of `b` see in each step what one process with batches of ``p * b`` sees.

    Parameters
    ----------
    dataset : ScanDataset
        The training scans; items have a ``label``.
    seed : int
        The run's seed.
    balanced : bool
        Draw with replacement, each class as often as the others (an epoch keeps its length); False: each scan once.
    num_replicas, rank : int
        Number of processes, and which of them this is.
    even_divisible : bool
        Fill up the order from its start so that all processes have equally many scans, as several processes need.
    pair_by : str, optional
        Field of the items, such as ``twin``: scans of one value come in one batch, as far as it holds them, and are
        augmented alike. What twins share then leaves no trace in the batch's gradient, what differs between them does.
    batch_size : int
        Of each process; needed to know where a batch ends.

    Raises
    ------
    InputError
        If scans are both paired and drawn with replacement.
    """

    def __init__(
        self,
        dataset: ScanDataset,
        seed: int = 0,
        balanced: bool = False,
        num_replicas: int = 1,
        rank: int = 0,
        even_divisible: bool = True,
        pair_by: str | None = None,
        batch_size: int = 1,
    ) -> None:
        super().__init__(
            dataset=dataset,
            even_divisible=even_divisible,
            num_replicas=num_replicas,
            rank=rank,
            shuffle=True,
            seed=seed,
        )
        self.balanced = balanced
        self.room = batch_size * num_replicas
        self.groups = None if pair_by is None else _groups(dataset.data, pair_by)
        self._first = {n: group[0] for group in self.groups or () for n in group}
        if self.groups is not None and balanced:
            raise InputError(
                f"--pair_by {pair_by} keeps each scan once an epoch, and --class_balance sampling draws with "
                "replacement; leave one out (--pair_by none, or --class_balance loss)"
            )

    def __iter__(self) -> Iterator[Any]:
        """Yield this process's share of the epoch set by ``set_epoch``, as `Draw`."""
        if self.groups:
            order = self._paired(self.groups)
        else:
            order = self._balanced() if self.balanced else list(super().__iter__())
        for step, index in enumerate(order):
            place = self._first.get(index, self.rank + step * self.num_replicas)
            yield Draw(index, int(np.random.SeedSequence((self.seed, self.epoch, place)).generate_state(1)[0]))

    def _balanced(self) -> list[int]:
        labels = torch.tensor([int(item["label"]) for item in self.dataset.data])
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        weights = 1.0 / labels.bincount()[labels].double()
        drawn = torch.multinomial(weights, self.total_size, replacement=True, generator=generator).tolist()
        return [int(index) for index in drawn[self.rank :: self.num_replicas]]

    def _paired(self, groups: list[list[int]]) -> list[int]:
        """Lay groups, in random order, into the first batch that has room; batches that are not full come last."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        batches: list[list[int]] = []
        for number in torch.randperm(len(groups), generator=generator).tolist():
            group = groups[number]
            found = next((batch for batch in batches if len(batch) + len(group) <= self.room), None)
            if found is None:
                batches.append(found := [])
            found += group
        order = [n for batch in sorted(batches, key=lambda batch: len(batch) != self.room) for n in batch]
        order = (order + order * (self.total_size // len(order)))[: self.total_size]
        mine: list[int] = order[self.rank :: self.num_replicas]
        return mine


def pair_column(datalist: str, asked: str | None = "auto") -> str | None:
    """Return the field by which training keeps scans in one batch: "auto" is ``twin``, where training scans share one.

    Parameters
    ----------
    datalist : str
        The file.
    asked : str, optional
        "auto", a field of the items, or None or "none" for no pairs.

    Raises
    ------
    InputError
        If the field asked for is in no training item, or no two have the same value there.
    """
    if asked in (None, "none"):
        return None
    items = read_object(datalist, "datalist", {"training": list})["training"]
    column = TWIN if asked == "auto" else str(asked)
    fields = sorted({str(key) for item in items for key in item})
    pairs = column in fields and len(_groups(items, column)) < len(items)
    if asked == "auto":
        return column if pairs else None
    if column not in fields:
        way_out = "A column of participants.tsv gets there by `neuroxai split --group COLUMN`."
        raise one_of("column for --pair_by", column, [*fields, "auto", "none"], way_out)
    if not pairs:
        raise InputError(f"--pair_by {column}: no two training scans share a value; choose another column, or none")
    return column


def _groups(items: Sequence[Mapping[str, Any]], column: str) -> list[list[int]]:
    """Return the items' numbers by their value; an item without one is a group alone."""
    found: dict[Any, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        value = item.get(column)
        found[(number,) if value in (None, "") else value].append(number)
    return list(found.values())
