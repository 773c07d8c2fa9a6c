"""Work of several processes: which shard of a cohort each takes, and what comes together at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from torch import distributed

from neuroxai import io

T = TypeVar("T")

# processes wait for the slowest at the end alone; torchrun ends them all if one dies
LONGEST = timedelta(days=30)


def join_shares() -> bool:
    """Join the processes that torchrun started to share a cohort out, if it started several; tell whether it did.

    They meet once, at the end, and exchange no tensors, so that GPUs need not know of each other.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=LONGEST)
    return True


def is_main_process() -> bool:
    """Whether this process writes files and logs: the first, or the only one."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def shard_of(items: Sequence[T]) -> list[T]:
    """Return this process's share of the items, all of them where it is alone."""
    if not distributed.is_initialized():
        return list(items)
    return list(items[distributed.get_rank() :: distributed.get_world_size()])


def gathered(failures: Sequence[dict[str, str]], folder: Path) -> list[dict[str, str]]:
    """Wait for all processes and return all their failures in the first one, by participant and session.

    They go through files, since the folder is one that all processes share.
    """
    found = list(failures)
    if distributed.is_initialized():
        rank = distributed.get_rank()
        if rank:
            io.write_json(folder / f".failed_{rank}.json", found)
        distributed.barrier()
        if rank == 0:
            for other in range(1, distributed.get_world_size()):
                path = folder / f".failed_{other}.json"
                found += io.read_json(path)
                path.unlink()
    return sorted(found, key=lambda one: (one["participant_id"], one["session_id"]))
