"""Which scan comes when, and with which random numbers: a function of seed, epoch and place in the epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data import DistributedSampler

from neuroxai.components.data import ScanDataset


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
    """

    def __init__(
        self,
        dataset: ScanDataset,
        seed: int = 0,
        balanced: bool = False,
        num_replicas: int = 1,
        rank: int = 0,
        even_divisible: bool = True,
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

    def __iter__(self) -> Iterator[Any]:
        """Yield this process's share of the epoch set by ``set_epoch``, as `Draw`."""
        order = self._balanced() if self.balanced else list(super().__iter__())
        for step, index in enumerate(order):
            place = self.rank + step * self.num_replicas
            yield Draw(index, int(np.random.SeedSequence((self.seed, self.epoch, place)).generate_state(1)[0]))

    def _balanced(self) -> list[int]:
        labels = torch.tensor([int(item["label"]) for item in self.dataset.data])
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        weights = 1.0 / labels.bincount()[labels].double()
        drawn = torch.multinomial(weights, self.total_size, replacement=True, generator=generator).tolist()
        return [int(index) for index in drawn[self.rank :: self.num_replicas]]
