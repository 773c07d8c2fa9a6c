"""What an analysis hands on: figures with intervals, tables, pictures and plain sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One figure of a study, a row of ``statistics.tsv``.

    Parameters
    ----------
    quantity : str
        What was measured, for example "balanced accuracy"; equal to a published row's where the paper has it.
    group : str
        Of which arm, method or region; for a comparison "linear - none".
    value : float or None
        In `unit`; None where undefined, with the reason in `note`.
    low, high : float, optional
        Limits of the interval.
    n : int
        Runs (or subjects, see `note`) that it rests on.
    unit : str
        Such as "%", "mm", "".
    method : str
        How interval and p were made.
    p : float, optional
        Two-sided.
    effect : float, optional
        Effect size of a comparison, with its name in `effect_name`.
    effect_name : str
        Such as "rank-biserial r", "Cohen's d".
    note : str
        What else a reader must know.
    caveat : str
        Why the test could not have found anything, where that is so (see `neuroxai.statistics.Paired.caveat`). It
        stands in `note`, too, and is no column.
    """

    quantity: str
    group: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    method: str = ""
    p: float | None = None
    effect: float | None = None
    effect_name: str = ""
    note: str = ""
    caveat: str = ""

    def cells(self) -> dict[str, Any]:
        """Return the row of ``statistics.tsv``."""
        return {name: value for name, value in vars(self).items() if name != "caveat"}

    @property
    def decided(self) -> bool:
        """Whether there is an interval, and zero is not in it."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn and saved as PNG and SVG.

    Parameters
    ----------
    name : str
        Of the files.
    caption : str
        Says what is shown, units included; also the text for those who cannot see it.
    draw : callable
        Takes nothing and returns a ``matplotlib.figure.Figure``; of `neuroxai.report.plots.charts`.
    """

    name: str
    caption: str
    draw: Callable[[], Any]


@dataclass(repr=False)
class Findings:
    """All that an analysis found.

    Parameters
    ----------
    figures : list of Finding
        Rows of ``statistics.tsv``.
    tables : dict of str to DataFrame
        Further tables by name, each written as ``NAME.tsv`` and shown on the page; the names are titles in words,
        "table_3" or "top_regions".
    pictures : list of Picture
        In the order of the page.
    answers : list of str
        What the study says, in plain sentences with numbers, whichever way it falls.
    doubts : list of str
        What would change the conclusion, and what limits it.
    """

    figures: list[Finding] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        counts = f"{len(self.figures)} figures, {len(self.tables)} tables, {len(self.pictures)} pictures"
        return "\n".join([f"Findings({counts})", *self.answers, *(f"but: {doubt}" for doubt in self.doubts)])

    def frame(self) -> pd.DataFrame:
        """``statistics.tsv``."""
        import pandas as pd

        return pd.DataFrame([row.cells() for row in self.figures], columns=list(Finding("", "", None).cells()))

    def write(self, folder: Path) -> None:
        """Write all tables, whole or not at all."""
        from neuroxai import io

        io.write_tsv(folder / "statistics.tsv", self.frame())
        for name, table in self.tables.items():
            io.write_tsv(folder / f"{name}.tsv", table)
