"""What `neuroxai prepare` leaves of a scan: names, the record beside it, and tables of a cohort."""

from __future__ import annotations

import re

from neuroxai.errors import InputError, one_of
from neuroxai.io.names import BidsName

_ENDINGS = {"affine": ".txt", "warp": ".nii.gz"}


def transform_name(participant: str, session: str | None, source: str, target: str, kind: str) -> str:
    """Return a transform's path relative to its derivative's folder.

    Parameters
    ----------
    participant, session : str
        Identifiers as in participants.tsv; the session may be empty, and end in a run.
    source, target : str
        Labels of the images: the transform carries the source's image to the target's grid.
    kind : {"affine", "warp"}
        What the file holds.

    Raises
    ------
    InputError
        For another kind, or a label that holds more than letters and digits.

    Examples
    --------
    >>> transform_name("sub-01", "ses-1", "T1w", "MNI152", "affine")
    'sub-01/ses-1/anat/sub-01_ses-1_from-T1w_to-MNI152_mode-image_desc-affine_xfm.txt'
    """
    if kind not in _ENDINGS:
        raise one_of("kind of transform", kind, _ENDINGS)
    for label in (source, target):
        if not re.fullmatch("[A-Za-z0-9]+", label):
            raise InputError(f"label {label!r} of a transform, wanted letters and digits alone, such as 'T1w'")
    entities = {"from": source, "to": target, "mode": "image", "desc": kind}
    return BidsName(participant, session or "", entities, "xfm", _ENDINGS[kind]).place
