"""How a study is worked on, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from neuroxai.processes import check_jobs

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class How:
    """How runs are worked on; no result depends on it.

    Parameters
    ----------
    jobs : int
        Runs (and scans) at a time; -1 for one a core.
    scheduler : str, optional
        Address of a Dask scheduler instead.
    gpus : sequence of str
        GPUs of this machine to share out.
    retry : bool
        Try runs again that failed before.
    progress : callable, optional
        Called with (what, finished, all).
    """

    jobs: int = 1
    scheduler: str | None = None
    gpus: Sequence[str] = ()
    retry: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        check_jobs(self.jobs)


@dataclass
class Summary:
    """What `run_study` did: counts of runs, and what failed."""

    folder: str
    runs: int = 0
    made: int = 0
    kept: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    scans_failed: list[str] = field(default_factory=list)
    report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
