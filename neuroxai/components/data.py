"""Data sets that survive a broken scan: it is named and left out, the others go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import DataLoader, list_data_collate
from torch.utils.data import Dataset

from neuroxai.cohort import load_datalist
from neuroxai.components.scan_cache import ScanCache
from neuroxai.errors import InputError, disk_is_full, one_of, ours, root_cause
from neuroxai.io import read_object

_log = logging.getLogger("neuroxai")

CACHES = ("none", "memory", "disk")


@dataclass(frozen=True)
class Failure:
    """A scan that could not be used, and why."""

    participant_id: str
    session_id: str
    error: str


class ScanDataset(Dataset[Any]):
    """Items through deterministic transforms (kept on request), then random ones.

    Parameters
    ----------
    data : sequence of dict
        Items of a datalist, with ``image`` and ``participant_id``.
    transform : callable
        Deterministic part; its result is what the cache keeps.
    random_transform : callable, optional
        Applied anew each time; MONAI's randomisable transforms.
    cache : {"none", "memory", "disk"}
        "memory": read everything now and keep it (4 bytes per voxel; worker processes share it, but each process of a
        distributed training has its own). "disk": prepare everything now and read it back memory-mapped, for cohorts
        larger than memory; the processes share it. Broken scans are then left out, with a warning each.
    cache_dir : str, optional
        Folder of the cache on disk.
    shard : (int, int)
        Number of this process and of all: each begins with its own shard of the cohort, so that several fill a cache
        on disk together.
    check : callable, optional
        Takes a transformed item and returns it, or raises where the network should not be asked about it.

    Raises
    ------
    InputError
        If no scan is left, or scans of one class only; for an unknown cache, or one on disk without a folder.
    """

    def __init__(
        self,
        data: Sequence[dict[str, Any]],
        transform: Callable[[Any], Any],
        random_transform: Any = None,
        cache: str = "none",
        cache_dir: str | None = None,
        shard: tuple[int, int] = (0, 1),
        check: Callable[[Any], Any] | None = None,
    ) -> None:
        if cache not in CACHES:
            raise one_of("cache", cache, CACHES)
        if cache == "disk" and not cache_dir:
            raise InputError("cache is 'disk', but no folder is given; name one with cache_dir")
        self.data = list(data)
        self.transform = ScanCache(cache_dir, transform) if cache == "disk" and cache_dir else transform
        self.random_transform = random_transform
        self.check = check
        self.failures: list[Failure] = []
        self._kept: list[Any] | None = None
        if cache != "none":
            self._fill(keep=cache == "memory", shard=shard)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: Any) -> Any:
        """Return an item by its number, or by a `Draw`, which seeds the random transforms."""
        number, seed = index if isinstance(index, tuple) else (index, None)
        item = self.prepared(number)
        if self.random_transform is None or isinstance(item, Failure):
            return item
        if seed is not None and hasattr(self.random_transform, "set_random_state"):
            self.random_transform.set_random_state(seed=seed)
        return self.random_transform(item)

    def prepared(self, number: int) -> Any:
        """Return an item as the deterministic transforms leave it, or the `Failure` that it is."""
        return self._kept[number] if self._kept is not None else self._load(self.data[number])

    def _load(self, item: dict[str, Any]) -> Any:
        try:
            found = self.transform(item)
            return found if self.check is None else self.check(found)
        except Exception as error:  # whatever is wrong with one scan must not end a cohort
            if disk_is_full(error):
                raise
            known = ours(error)
            # MONAI names the transform alone, and that by its address
            message = (
                str(known) if known else f"{item['image']}: cannot be used ({root_cause(error)}); look at the file"
            )
            return Failure(str(item.get("participant_id", item["image"])), str(item.get("session_id") or ""), message)

    def _fill(self, keep: bool, shard: tuple[int, int]) -> None:
        from joblib import Parallel, delayed

        def load(item: dict[str, Any]) -> Any:
            found = self._load(item)
            return found if keep or isinstance(found, Failure) else None

        rank, processes = shard
        numbers = sorted(range(len(self.data)), key=lambda n: (n - rank) % processes)
        # threads: reading and resampling release the interpreter's lock, and nothing need be copied
        found = Parallel(n_jobs=min(4, os.cpu_count() or 1), prefer="threads")(
            delayed(load)(self.data[n]) for n in numbers
        )
        loaded = [item for _, item in sorted(zip(numbers, found, strict=True), key=lambda pair: pair[0])]
        self.failures = [item for item in loaded if isinstance(item, Failure)]
        for failure in self.failures:
            _log.warning("%s is left out: %s", failure.participant_id, failure.error)
        good = [n for n, item in enumerate(loaded) if not isinstance(item, Failure)]
        labels = {self.data[n].get("label") for n in good}
        if not good or (len({item.get("label") for item in self.data}) > 1 and len(labels) < 2):
            raise InputError(
                f"{len(self.failures)} of {len(loaded)} scans cannot be used and {'none' if not good else 'one class'} "
                f"is left; the first: {self.failures[0].participant_id}: {self.failures[0].error}"
            )
        self.data = [self.data[n] for n in good]
        self._kept = [loaded[n] for n in good] if keep else None


class ScanLoader:
    """Batches of the scans that can be read; the others are gathered in `failures`.

    Parameters
    ----------
    dataset : ScanDataset
        The scans, in order.
    batch_size : int
        Scans a batch.
    num_workers : int
        Processes that read ahead; without any, one thread reads the next batch while this one is worked on.
    """

    def __init__(self, dataset: ScanDataset, batch_size: int = 1, num_workers: int = 0) -> None:
        self.dataset = dataset
        self.failures: list[Failure] = []
        self._loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=_collate)

    # no __len__: the engine must stop at the end of the data, not count on batches that fail
    def __iter__(self) -> Iterator[Any]:
        self.failures = []
        for batch, failures in read_ahead(self._loader):
            for failure in failures:
                _log.warning("%s is left out: %s", failure.participant_id, failure.error)
            self.failures.extend(failures)
            if batch is not None:
                yield batch


def read_ahead(batches: Iterable[Any]) -> Iterator[Any]:
    """Yield what `batches` holds, the next one made in a thread meanwhile; what fails there is raised here."""
    source = iter(batches)
    with ThreadPoolExecutor(1, "read-ahead") as pool:
        upcoming = pool.submit(next, source, None)
        while (found := upcoming.result()) is not None:
            upcoming = pool.submit(next, source, None)
            yield found


def open_part(
    datalist: str, part: str, dataset_dir: str, classes: Sequence[str] | None = None, keep: str | None = None
) -> list[dict[str, Any]]:
    """Read one part of a datalist for a bundle; refuses leakage between parts (`cohort.load_datalist`).

    Items of all subjects get a ``session_id`` (empty where there is none), because batches need equal keys.

    Parameters
    ----------
    datalist, part, dataset_dir : str
        The file, the part, and the cohort's folder.
    classes : sequence of str, optional
        The classes a network was trained on; labels in another order would be taken for each other.
    keep : str, optional
        A further field that items bring along, empty where an item lacks it.

    Raises
    ------
    InputError
        If the datalist's classes are others, or stand in another order.
    """
    if classes is not None:
        own = read_object(datalist, "datalist").get("classes")
        if own != list(classes):
            raise InputError(
                f"{datalist}: its classes are {own}, the network was trained on {list(classes)}; split again with "
                f"--classes {','.join(classes)}"
            )
    items = load_datalist(datalist, part, dataset_dir)
    keys = ("image", "label", "participant_id", "session_id", *([keep] if keep else ()))
    return [{key: item.get(key, "") for key in keys if key != "label" or "label" in item} for item in items]


def prepare_scan(
    batch: dict[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Move a batch's scans to the device; labels stay behind, since an unlabelled cohort has none."""
    return batch["image"].to(device=device, non_blocking=non_blocking, **kwargs), None


def _collate(items: list[Any]) -> tuple[Any, list[Failure]]:
    good = [item for item in items if not isinstance(item, Failure)]
    return (list_data_collate(good) if good else None), [item for item in items if isinstance(item, Failure)]


def collate_whole(items: list[Any]) -> Any:
    """Put items together for training, which must not go on without a scan that it counts on.

    Raises
    ------
    InputError
        Naming the first scan that cannot be used.
    """
    return _whole(_collate(items))


class WholeLoader(DataLoader):
    """Batches for training, in which no scan may be missing: the first that cannot be used ends it (`collate_whole`).

    The error is raised in this process: what a worker process raises comes with its traceback as the message.
    """

    def __init__(self, dataset: ScanDataset, num_workers: int = 0, **options: Any) -> None:
        super().__init__(dataset, num_workers, collate_fn=_collate, **options)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches; raises InputError naming the first scan that cannot be used."""
        return map(_whole, super().__iter__())


def _whole(found: tuple[Any, list[Failure]]) -> Any:
    batch, failures = found
    if failures:
        first = failures[0]
        raise InputError(
            f"{first.participant_id}: {first.error}; take it out of the datalist, or train with --cache memory, which "
            "leaves such scans out"
        )
    return batch
