"""One scan alone, for who explains a scan as the scanner left it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from neuroxai.errors import InputError
from neuroxai.preprocess.cohort import prepare_cohort
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.records import output_files
from neuroxai.preprocess.sources import find_sources


@dataclass(frozen=True)
class PreparedScan:
    """A prepared scan.

    Parameters
    ----------
    path : Path
        The NIfTI file; `neuroxai.preprocess.native_of` finds the way back from it to the scan as the scanner gave it.
    flags : list of str
        What the quality checks found.
    """

    path: Path
    flags: list[str]


def prepare_one(
    source: str | Path,
    folder: str | Path,
    options: PrepareOptions | None = None,
    participant: str | None = None,
    series: str | None = None,
) -> PreparedScan:
    """Prepare one scan as ``neuroxai prepare`` would; one that is finished in the folder is kept.

    Parameters
    ----------
    source : path_like
        A NIfTI file, a folder with the DICOM files of one series, or one enhanced DICOM file.
    folder : path_like
        For the result: new, or of an earlier call with the same options.
    options : PrepareOptions, optional
        The choices; linear registration to MNI152 at 2 mm if left out.
    participant : str, optional
        Identifier; the file's name tells if left out.
    series : str, optional
        Which series, where the folder holds several.

    Raises
    ------
    InputError
        If the scan cannot be prepared: the reason.
    """
    chosen = options or PrepareOptions()
    sources, left_out = find_sources(Path(source), chosen.modality, participant=participant, series=series)
    if len(sources) + len(left_out) != 1:
        raise InputError(f"{source}: holds {len(sources)} scans, wanted one; run neuroxai prepare on a cohort")
    summary = prepare_cohort(folder, sources, chosen, left_out)
    if summary.failed:
        raise InputError(summary.failed[0]["error"])
    path = output_files(Path(folder).resolve(), sources[0], chosen)["scan"]
    return PreparedScan(path, [flag for flags in summary.flagged.values() for flag in flags])
