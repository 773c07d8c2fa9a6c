"""Memory that a training step on a processor has freed stays with the process, for the next step to take."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from pathlib import Path

import torch
from ignite.engine import Engine, Events

_log = logging.getLogger("neuroxai")

_SPARE = 2.0
"""How many times what the process has taken so far must still be free. Kept memory falls into pieces, so that a process
grows by half, more where its steps differ."""

# mallopt(3): memory is given back above this much, and blocks are had from the system one by one, at most so many
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# of themselves the limits grow with the blocks that are freed, the first up to this, and no more once one was set
_USUAL = ((_M_TRIM_THRESHOLD, 2**26), (_M_MMAP_MAX, 65536))
_NEVER = ((_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0))


class KeptMemoryHandler:
    """Keep what training steps free, until the training ends.

    glibc gives a large block back to the system when it is freed, and has the next one from there; each of its pages is
    then cleared and mapped at its first touch. A step on a processor allocates and frees each layer's maps, and spends
    up to half of its time on this (``docs/performance.md``). The first step runs as ever; memory is kept after it if
    twice as much as the process has taken by then is still free, within the limit of a container or a cluster's job,
    and for as long as that much is free once: other processes grow, too. After an error it is kept till the process
    ends.

    Nothing changes on a GPU, without glibc, and where the environment says how memory is allocated (``MALLOC_...``,
    ``GLIBC_TUNABLES``, ``LD_PRELOAD``).

    Parameters
    ----------
    device : torch.device
        What is trained on.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device(device)
        self.asked = self.kept = False
        self._taken = 0

    def attach(self, engine: Engine) -> None:
        """Attach to the trainer."""
        if self.device.type == "cpu":
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._keep)
            engine.add_event_handler(Events.COMPLETED, self._give_back)

    def _keep(self) -> None:
        # a resumed training's first step is not its number 1
        if not self.asked and sys.platform.startswith("linux") and not _chosen_by_user():
            import resource

            self._taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            self.kept = free_memory() >= _SPARE * self._taken and keep_freed(True)
            if self.kept:
                _log.info("memory that a training step frees is kept for the next one")
        elif self.kept and free_memory() < self._taken:
            self._give_back()
            _log.warning("memory is short: what training steps free is given back, which takes time")
        self.asked = True

    def _give_back(self) -> None:
        if self.kept:
            keep_freed(False)
            self.kept = False


def _chosen_by_user() -> bool:
    return any(name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD") for name in os.environ)


def keep_freed(keep: bool) -> bool:
    """Have glibc keep what is freed from now on, or give it and all that was kept back; say if there is glibc."""
    try:
        glibc = ctypes.CDLL("libc.so.6")
        done = all(glibc.mallopt(*choice) == 1 for choice in (_NEVER if keep else _USUAL))
        if not keep:
            glibc.malloc_trim(ctypes.c_size_t(0))
    except (OSError, AttributeError):  # another system, or musl
        return False
    return done


def free_memory(root: Path = Path("/")) -> int:
    """Return how many bytes the process may still take: of the machine's, within its control groups' limits.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` lie.

    Returns
    -------
    int
        0 if the system does not say.
    """
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, StopIteration):
        return 0
    for line in groups:
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):  # version 2 and 1
            top = root / "sys/fs/cgroup" / controllers
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
            )
            inner = top / place.strip("/")
            for group in (inner, *inner.parents):
                free = min(free, _left(group, *names))
                if group == top:
                    break
    return max(0, free)


def _left(group: Path, limit: str, used: str) -> int:
    try:
        left = int((group / limit).read_text()) - int((group / used).read_text())
        stated = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or "max"
        return sys.maxsize
    # the cache of files counts as used, but is given up when memory is short
    return left + int(stated.get("total_inactive_file", stated.get("inactive_file", 0)))
