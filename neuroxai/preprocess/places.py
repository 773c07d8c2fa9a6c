"""Results and inputs stand in different places: nothing that a preparation reads can it overwrite."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from neuroxai.errors import InputError
from neuroxai.preprocess.sources import Source


def keep_apart(
    out: Path, sources: Sequence[Source], cohort: Path | None = None, others: Iterable[str | None] = ()
) -> None:
    """Refuse a folder for results that holds an input, or in which results would be taken for inputs.

    Folders beside the participants, such as ``derivatives``, may be used, as BIDS has it.

    Parameters
    ----------
    out : pathlib.Path
        The folder for results, resolved.
    sources : sequence of Source
        What is to be prepared.
    cohort : pathlib.Path, optional
        The folder that was searched for it.
    others : iterable of str or None
        More files that are read.

    Raises
    ------
    InputError
        If the folder is the cohort's, lies among a participant's or a series' files, or holds an input.
    """
    way_out = "name a folder of its own for the prepared scans"
    if cohort is not None:
        root = cohort.resolve()
        if out == root:
            raise InputError(f"{out}: is the folder of the scans that are to be prepared; {way_out}")
        if root in out.parents and out.relative_to(root).parts[0].startswith("sub-"):
            raise InputError(f"{out}: lies in a participant's folder of {root}, where scans are looked for; {way_out}")
    for source in sources:
        if source.scan == out or (source.scan in out.parents and source.scan.is_dir()):
            raise InputError(f"{out}: lies in {source.scan}, whose files are to be prepared; {way_out}")
        for path in {source.scan, *source.files().values()}:
            _outside(out, path, way_out)
    for other in others:
        if other is not None:
            _outside(out, Path(other), way_out)


def _outside(out: Path, path: Path, way_out: str) -> None:
    # links count as what they are named and as where they lead
    for place in (path, path.resolve()):
        if out in place.parents:
            raise InputError(f"{out}: holds {path}, which is read and could be overwritten; {way_out}")
