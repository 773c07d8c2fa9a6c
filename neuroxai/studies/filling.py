"""A copy of a cohort whose lesions are filled (Eitel 2019): what is left to a network once they are gone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.cohort import find_scans
from neuroxai.cohort.scans import Scan
from neuroxai.errors import InputError
from neuroxai.io.names import sidecar_of, suffix_of
from neuroxai.preprocess import fill_lesions
from neuroxai.preprocess.lesions import lesion_mask, white_matter, white_matter_prior
from neuroxai.preprocess.options import MODALITIES
from neuroxai.space import Volume
from neuroxai.studies.cohort_folder import CohortFolder, truth_file

GENERATOR = "neuroxai study, lesion filling"


def make_filled(
    source: CohortFolder,
    folder: Path,
    key: str,
    variant: str,
    lesions: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CohortFolder:
    """Fill the lesions of each scan of a cohort in MNI space into a folder of the same names (BIDS derivative).

    The white matter that lends its intensities is the scan's own, looked for where the template has it. A scan
    without lesions is linked (or copied) as it is. Masks beside the scans come along, so that it can still be asked how
    much relevance lies where lesions were. A scan whose files are unchanged is kept; its record is written last.

    Parameters
    ----------
    source : CohortFolder
        The cohort.
    folder : pathlib.Path
        For the copy: new, empty, or of an earlier call with the same variant.
    key : str
        Name of the copy.
    variant : {"valverde", "eitel2019"}
        See `neuroxai.preprocess.fill_lesions`.
    lesions : str, optional
        The cohort's template of lesion masks; by default those beside the scans.
    progress : callable, optional
        Called with (finished, all) after each scan.

    Returns
    -------
    CohortFolder
        Scans that could not be filled are in ``failed`` and not in the folder.

    Raises
    ------
    InputError
        If the folder holds something else, or no scan of the cohort has a mask.
    """
    scans, absent = find_scans(source.folder, **source.find)
    masks = [truth_file(source.folder / s.image, s.participant_id, s.session_id, lesions) for s in scans]
    if not any(masks):
        where = f"lesions {lesions!r} matches no file" if lesions else "no scan has a mask beside it"
        raise InputError(
            f"{source.folder}: {where}, so there is nothing to fill; name the masks by the cohort's key lesions, with "
            "{participant} and {session} in it"
        )
    choices = {"variant": variant, "cohort": source.key, "version": __version__}
    about = {"Name": f"{source.key}, lesions filled", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    io.claim(folder, GENERATOR, choices, about, "cohort with filled lesions")
    failed = [str(one) for one in absent]
    for number, (scan, mask) in enumerate(zip(scans, masks, strict=True), start=1):
        try:
            _one(source.folder, folder, scan, mask, variant, beside=lesions is None)
        except Exception as error:  # one scan must not end a cohort; it is named at the end
            failed.append(
                f"{_title(scan)}: {error if isinstance(error, InputError) else f'{type(error).__name__}: {error}'}"
            )
            # what an earlier call made of other files would pass for this one's
            (folder / scan.image).unlink(missing_ok=True)
        if progress is not None:
            progress(number, len(scans))
    for table in ("participants.tsv", "participants.json"):
        if (source.folder / table).is_file():
            io.copy_file(source.folder / table, folder / table)
    return CohortFolder(key, folder.resolve(), source.find, tuple(failed))


def _one(source: Path, folder: Path, scan: Scan, mask: Path | None, variant: str, beside: bool) -> None:
    """Fill one scan, or take it along as it is."""
    image, target = source / scan.image, io.inside(folder, scan.image)
    inputs = {"scan": io.sha256(image), **({"lesions": io.sha256(mask)} if mask else {})}
    record_file = sidecar_of(target)
    targets = [target, *([target.with_name(mask.name)] if mask and beside else [])]
    if _finished(record_file, targets, inputs):
        return
    record_file.unlink(missing_ok=True)
    if mask and beside:
        io.link_file(mask, target.with_name(mask.name))
    drawn = io.read_labels(mask) if mask else None
    voxels = 0
    if drawn is not None and drawn.data.any():
        volume = io.read_volume(image)
        brain = Volume(volume.data != 0, volume.space)
        suffix = suffix_of(image.name)
        white = white_matter(volume, brain, white_matter_prior(), suffix if suffix in MODALITIES else "T1w")
        # a seed of its own, or all scans would share one pattern of noise
        filled = fill_lesions(volume, drawn, white, zlib.crc32(_title(scan).encode()), variant)
        voxels = int(lesion_mask(volume.space, drawn, variant).sum())
        io.write_volume(target, filled, dtype=np.float32, description="lesions filled, for research use only")
    else:
        io.link_file(image, target)
    sizes = {path.name: path.stat().st_size for path in targets}
    before = io.read_object(sidecar_of(image), "scan's sidecar") if sidecar_of(image).is_file() else {}
    record = {"Sources": [scan.image], "LesionFilling": variant if voxels else "none", "FilledVoxels": voxels}
    io.write_json(record_file, {**before, **record, "Inputs": inputs, "Bytes": sizes})


def _finished(record_file: Path, targets: list[Path], inputs: dict[str, str]) -> bool:
    try:
        record: dict[str, Any] = io.read_json(record_file)
        same = record["Inputs"] == inputs
        return bool(same and all(p.is_file() and p.stat().st_size == record["Bytes"][p.name] for p in targets))
    except (InputError, KeyError, TypeError):
        return False


def _title(scan: Scan) -> str:
    return " ".join(filter(None, (scan.participant_id, scan.session_id)))
