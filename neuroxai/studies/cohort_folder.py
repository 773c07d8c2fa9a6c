"""A cohort of a study on disk, and where the masks of its scans lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from neuroxai.io.names import filled_in
from neuroxai.report.cohort.truth import mask_beside


@dataclass(frozen=True)
class CohortFolder:
    """A cohort that is ready for training.

    Parameters
    ----------
    key : str
        Name of its folder and datalists.
    folder : pathlib.Path
        The scans.
    find : dict of str to str
        Which of the folder's files are scans: suffix, desc and run.
    failed : tuple of str
        Scans that could not be simulated or prepared, with the reason.
    """

    key: str
    folder: Path
    find: Mapping[str, str]
    failed: tuple[str, ...] = ()


def truth_file(scan: Path, participant: str, session: str | None, lesions: str | None = None) -> Path | None:
    """Return a scan's mask: by the cohort's template where there is one, beside the scan otherwise.

    Parameters
    ----------
    scan : pathlib.Path
        The image.
    participant, session : str
        Whose it is, with prefixes; None for a folder without sessions.
    lesions : str, optional
        The cohort's `lesions`, with ``{participant}``, ``{session}`` or ``{run}`` in it.

    Returns
    -------
    pathlib.Path or None
        None where there is no such file: a healthy subject's, or one that nobody drew.
    """
    if lesions:
        path: Path | None = filled_in(lesions, participant, session, "the cohort's key lesions")
    else:
        drawn = sorted(scan.parent.glob(f"{scan.name.split('_desc-')[0]}*label-lesion_mask.nii.gz"))
        path = drawn[0] if drawn else mask_beside(scan)
    return path if path is not None and path.is_file() else None
