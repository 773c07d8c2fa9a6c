"""Where the lesions, or what else is known of a scan, lie on disk."""

from __future__ import annotations

from pathlib import Path

from neuroxai.io.names import filled_in
from neuroxai.report.truth import mask_beside


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
