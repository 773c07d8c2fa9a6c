"""Progress on standard error, the same for every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(label: str, quiet: bool = False, transient: bool = False) -> Iterator[Callable[..., None]]:
    """Show a bar while the block lasts.

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

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=transient) as bar:
        task = bar.add_task(label, total=None)

        def tell(done: int, total: int | None, what: str = label) -> None:
            bar.update(task, completed=done, total=total, description=what)

        yield tell
