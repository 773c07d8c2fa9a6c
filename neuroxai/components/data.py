"""Data sets that survive a broken scan: it is named and left out, the others go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import DataLoader, list_data_collate
from torch.utils.data import Dataset

from neuroxai.cohort import load_datalist
from neuroxai.errors import InputError, ours

_log = logging.getLogger("neuroxai")


@dataclass(frozen=True)
class Failure:
    """A scan that could not be used, and why."""

    participant_id: str
    session_id: str
    error: str


class ScanDataset(Dataset[Any]):
    """Items through deterministic transforms (cached in memory on request), then random ones.

    Parameters
    ----------
    data : sequence of dict
        Items of a datalist, with ``image`` and ``participant_id``.
    transform : callable
        Deterministic part; its result is what the cache keeps.
    random_transform : callable, optional
        Applied anew each time; MONAI's randomisable transforms.
    cache : bool
        Read everything now and keep it. Broken scans are then left out, with a warning each.

    Raises
    ------
    InputError
        If no scan is left, or scans of one class only.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[Any], Any],
        random_transform: Any = None,
        cache: bool = False,
    ) -> None:
        self.data = list(data)
        self.transform = transform
        self.random_transform = random_transform
        self.failures: list[Failure] = []
        self._cache: list[Any] | None = None
        if cache:
            self._fill()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        item = self._cache[index] if self._cache is not None else self._load(self.data[index])
        if self.random_transform is not None and not isinstance(item, Failure):
            item = self.random_transform(item)
        return item

    def set_random_state(self, seed: int) -> None:
        """Seed the random part."""
        if hasattr(self.random_transform, "set_random_state"):
            self.random_transform.set_random_state(seed=seed)

    def _load(self, item: dict[str, Any]) -> Any:
        try:
            return self.transform(item)
        except Exception as error:  # whatever is wrong with one scan must not end a cohort
            known = ours(error)
            message = str(known) if known else f"{type(error).__name__}: {error}"
            return Failure(str(item.get("participant_id", item["image"])), str(item.get("session_id") or ""), message)

    def _fill(self) -> None:
        from joblib import Parallel, delayed

        # threads: reading and resampling release the interpreter's lock, and nothing need be copied
        loaded = Parallel(n_jobs=min(4, os.cpu_count() or 1), prefer="threads")(
            delayed(self._load)(item) for item in self.data
        )
        self.failures = [item for item in loaded if isinstance(item, Failure)]
        for failure in self.failures:
            _log.warning("%s is left out: %s", failure.participant_id, failure.error)
        kept = [n for n, item in enumerate(loaded) if not isinstance(item, Failure)]
        labels = {self.data[n].get("label") for n in kept}
        if not kept or (len({item.get("label") for item in self.data}) > 1 and len(labels) < 2):
            raise InputError(
                f"{len(self.failures)} of {len(loaded)} scans cannot be used and {'none' if not kept else 'one class'} "
                f"is left; the first: {self.failures[0].participant_id}: {self.failures[0].error}"
            )
        self.data = [self.data[n] for n in kept]
        self._cache = [loaded[n] for n in kept]


class ScanLoader:
    """Batches of the scans that can be read; the others are gathered in `failures`.

    Parameters
    ----------
    dataset : ScanDataset
        The scans, in order.
    batch_size : int
        Scans a batch.
    num_workers : int
        Processes that read ahead.
    """

    def __init__(self, dataset: ScanDataset, batch_size: int = 1, num_workers: int = 0) -> None:
        self.dataset = dataset
        self.failures: list[Failure] = []
        self._loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=_collate)

    # no __len__: the engine must stop at the end of the data, not count on batches that fail
    def __iter__(self) -> Iterator[Any]:
        self.failures = []
        for batch, failures in self._loader:
            for failure in failures:
                _log.warning("%s is left out: %s", failure.participant_id, failure.error)
            self.failures.extend(failures)
            if batch is not None:
                yield batch


def open_part(datalist: str, part: str, dataset_dir: str) -> list[dict[str, Any]]:
    """Read one part of a datalist for a bundle; refuses leakage between parts (`cohort.load_datalist`).

    Items of all subjects get a ``session_id`` (empty where there is none), because batches need equal keys.
    """
    items = load_datalist(datalist, part, dataset_dir)
    keys = ("image", "label", "participant_id", "session_id")
    return [{key: item.get(key, "") for key in keys if key != "label" or "label" in item} for item in items]


def prepare_scan(
    batch: dict[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Move a batch's scans to the device; labels stay behind, since an unlabelled cohort has none."""
    return batch["image"].to(device=device, non_blocking=non_blocking, **kwargs), None


def _collate(items: list[Any]) -> tuple[Any, list[Failure]]:
    good = [item for item in items if not isinstance(item, Failure)]
    return (list_data_collate(good) if good else None), [item for item in items if isinstance(item, Failure)]
