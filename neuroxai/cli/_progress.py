"""Progress on standard error, the same for every command: a bar on a terminal, timed lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OFTEN, SELDOM = 10.0, 60.0
"""Seconds between two lines where something was done meanwhile, and where nothing was."""


@contextmanager
def progress_bar(label: str, quiet: bool = False, transient: bool = False) -> Iterator[Callable[..., None]]:
    """Show how far the work is while the block lasts; a log file gets lines with the time that has passed.

    Parameters
    ----------
    label : str
        What is counted, or what is done.
    quiet : bool
        Show nothing.
    transient : bool
        Take the bar away at the end.

    Yields
    ------
    callable
        Called with (finished, all), and another label where what is done changes; all may be None as long as it is
        unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    # not what rich takes for a terminal: FORCE_COLOR, which notebooks set, makes no terminal of a pipe
    if not quiet and not sys.stderr.isatty():
        with _Lines(label) as lines:
            yield lines.tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=quiet, transient=transient) as bar:
        task = bar.add_task(label, total=None)

        def tell(done: int, total: int | None, what: str = label) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield tell


class _Lines:
    """Lines for a log: what begins and ends, now and then what is under way, and that nothing came for a while."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._begin = self._said = time.monotonic()
        self._last: tuple[str, int, int | None] | None = None
        self._lock, self._end = threading.Lock(), threading.Event()
        self._watch = threading.Thread(target=self._wait, daemon=True)

    def __enter__(self) -> _Lines:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watch.join()

    def tell(self, done: int, total: int | None, what: str | None = None) -> None:
        """Write a line where it says something new."""
        name = what or self.label
        with self._lock:
            begins = self._last is None or self._last[0] != name
            ends = done == total and self._last != (name, done, total)
            self._last = name, done, total
            if begins or ends or time.monotonic() - self._said >= OFTEN:
                self._write()

    def _wait(self) -> None:
        while not self._end.wait(min(OFTEN, SELDOM)):
            with self._lock:
                if time.monotonic() - self._said >= SELDOM:
                    self._write()

    def _write(self) -> None:
        name, done, total = self._last or (self.label, 0, None)
        self._said = time.monotonic()
        minutes, seconds = divmod(int(self._said - self._begin), 60)
        count = "" if total is None else f": {done} of {total}"
        sys.stderr.write(f"[{minutes // 60}:{minutes % 60:02d}:{seconds:02d}] {name}{count}\n")
        sys.stderr.flush()
