"""What is to be prepared: a BIDS folder's scans, one NIfTI file or one DICOM series, found, checked and read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai.cohort import LeftOut, Scan, find_scans
from neuroxai.errors import HeaderWarning, InputError, NoScanError, SpaceError
from neuroxai.io import is_dicom, named_path, read_labels, read_series, read_volume
from neuroxai.io.dicom import is_series
from neuroxai.io.names import entity, filled_in, identity_of, prefixed, session_id, without_run
from neuroxai.space import Space, Volume

_CHOOSE = "choose one with --pattern, such as --pattern 'sub-*/anat/*_run-1_T1w.nii.gz'"


@dataclass(frozen=True)
class Source:
    """One scan to prepare.

    Parameters
    ----------
    participant_id : str
        With its prefix, ``sub-01``.
    session_id : str or None
        With its prefix; it may end in a run.
    scan : pathlib.Path
        A NIfTI file, the folder of a DICOM series, or one enhanced DICOM file.
    t1w : pathlib.Path or None
        T1w scan of the same session, for FLAIR.
    mask, lesions : pathlib.Path or None
        Masks of the brain and of lesions on the scan's grid.
    series : str or None
        Which DICOM series, where the folder holds several.
    """

    participant_id: str
    session_id: str | None
    scan: Path
    t1w: Path | None = None
    mask: Path | None = None
    lesions: Path | None = None
    series: str | None = None

    @property
    def title(self) -> str:
        """Participant and session in one phrase."""
        return " ".join(filter(None, (self.participant_id, self.session_id)))

    @property
    def dicom(self) -> bool:
        """Whether the scan is a DICOM series."""
        return self.scan.is_dir() or is_dicom(self.scan)

    def files(self) -> dict[str, Path]:
        """Name every file that the result depends on, without a DICOM folder's."""
        named = {"scan": self.scan, "t1w": self.t1w, "mask": self.mask, "lesions": self.lesions}
        return {role: path for role, path in named.items() if path is not None and not path.is_dir()}


@dataclass(frozen=True)
class SingleScan:
    """Whose a single scan is; default from its file's name.

    Parameters
    ----------
    participant, session : str, optional
        Identifiers, with their prefix or without.
    series : str, optional
        Which DICOM series, where the folder holds several.
    """

    participant: str | None = None
    session: str | None = None
    series: str | None = None


def find_sources(
    place: Path,
    modality: str = "T1w",
    pattern: str | None = None,
    mask: str | None = None,
    lesions: str | None = None,
    run: str | None = None,
    single: SingleScan | None = None,
) -> tuple[list[Source], list[LeftOut]]:
    """Find the scans of a place.

    Parameters
    ----------
    place : pathlib.Path
        A BIDS folder, one NIfTI file, a folder with DICOM files, or one enhanced DICOM file.
    modality : str
        Suffix of the scans in a BIDS folder.
    pattern : str, optional
        A glob inside the BIDS folder, where several scans of a session match.
    mask, lesions : str, optional
        Paths of masks, in which ``{participant}``, ``{session}`` and ``{run}`` stand for the identifiers. A participant
        whose file of lesions is absent has none; one whose brain mask is absent is left out.
    run : {"first", "last", "all"}, optional
        Which of several runs of a scan; without it such scans are left out. A run prepared beside others is part of the
        session's name (``ses-1_run-2``).
    single : SingleScan, optional
        Whose a single scan is.

    Raises
    ------
    InputError
        If nothing is found, or an option does not go with the place.
    """
    one = single or SingleScan()
    if place.is_file():
        path = named_path(place)
        if is_dicom(path):
            _check_series(path, one.series)
        elif one.series is not None:
            raise InputError(f"{place} is one file, no DICOM; --series chooses in a DICOM folder")
        found = [_single(path, one)]
        left: list[LeftOut] = []
    elif not place.is_dir():
        raise InputError(f"{place}: no such file or folder; give a BIDS folder, a NIfTI scan or a DICOM folder")
    elif pattern is not None or (any(place.glob("sub-*")) and not is_series(place)):
        if one != SingleScan():
            raise InputError(f"{place} is a cohort; --participant, --session and --series go with a single scan")
        found, left = _bids(place.resolve(), modality, pattern, run)
    else:
        path = place.resolve()
        _check_series(path, one.series)
        found, left = [_single(path, one)], []
    return _with_masks(found, left, mask, lesions)


def _check_series(place: Path, series: str | None) -> None:
    """Refuse at once a place in which no one series can be meant: nothing is written then."""
    from neuroxai.io.dicom import list_series
    from neuroxai.io.dicom.series import chosen

    try:
        chosen(list_series(place), series, place)
    except InputError as error:
        if any(path.name.endswith((".nii", ".nii.gz")) for path in place.rglob("*.nii*")):
            raise InputError(
                f"{place}: holds NIfTI files, but no folder sub-* and no DICOM series to be prepared; give the BIDS "
                "folder that holds sub-*, one file, or --pattern"
            ) from None
        raise error from None


def _bids(folder: Path, modality: str, pattern: str | None, run: str | None) -> tuple[list[Source], list[LeftOut]]:
    scans, left = find_scans(folder, suffix=None if pattern else modality, pattern=pattern, choose=_CHOOSE, run=run)
    if modality == "T1w":
        return [Source(s.participant_id, s.session_id, folder / s.image) for s in scans], left
    try:
        # several T1w scans of one session are reported: which one a FLAIR belongs to would be a guess
        companions, absent = find_scans(
            folder,
            suffix="T1w",
            run=run,
            choose=f"a {modality} scan is aligned to the T1w scan of its session, so leave one (in a copy of the "
            "folder made of links, for example)",
        )
    except NoScanError:
        companions, absent = [], []
    t1w: dict[tuple[str, str | None], list[Scan]] = {}
    for one in companions:
        t1w.setdefault((one.participant_id, without_run(one.session_id)), []).append(one)
    # without its T1w a scan would be prepared in another way than the others
    missing = {(one.participant_id, without_run(one.session_id)): one for one in absent}
    sources = []
    for scan in scans:
        key = scan.participant_id, without_run(scan.session_id)
        beside = t1w.get(key, [])
        beside = [one for one in beside if one.session_id == scan.session_id] or beside
        if len(beside) > 1:
            names = " and ".join(one.image for one in beside)
            reason = (
                f"{scan.image}: which T1w scan it goes with is not known ({names}); choose with --run first or last"
            )
            left.append(LeftOut(scan.participant_id, scan.session_id, reason))
        elif not beside and key in missing:
            left.append(missing[key])
        else:
            image = folder / beside[0].image if beside else None
            sources.append(Source(scan.participant_id, scan.session_id, folder / scan.image, image))
    return sources, left


def _single(path: Path, one: SingleScan) -> Source:
    subject = prefixed("sub", one.participant) if one.participant else identity_of(path.name.split(".", 1)[0])[0]
    visit = session_id(one.session or entity(path.name, "ses"), None)
    for identifier in filter(None, (subject, visit)):
        if not re.fullmatch(r"(sub|ses)-[A-Za-z0-9+]+", identifier):
            raise InputError(f"identifier {identifier!r} is not valid in BIDS; use letters and digits alone")
    return Source(subject, session_id(visit, entity(path.name, "run")) or None, path, series=one.series)


def _with_masks(
    found: Sequence[Source], left: list[LeftOut], mask: str | None, lesions: str | None
) -> tuple[list[Source], list[LeftOut]]:
    sources = []
    for source in found:
        brain, load = _filled(mask, source, "--mask"), _filled(lesions, source, "--lesions")
        if brain is not None and not brain.is_file():
            left.append(LeftOut(source.participant_id, source.session_id, f"{brain}: no such brain mask"))
            continue
        sources.append(replace(source, mask=brain, lesions=load if load and load.is_file() else None))
    if lesions is not None and sources and not any(source.lesions for source in sources):
        raise InputError(
            f"--lesions {lesions!r} matches no file (for {sources[0].title}: "
            f"{_filled(lesions, sources[0], '--lesions')}); {{participant}} and {{session}} stand for the identifiers"
        )
    if not sources and left:
        raise InputError(f"no scan is left: {left[0]}")
    return sources, left


def _filled(pattern: str | None, source: Source, option: str) -> Path | None:
    return None if pattern is None else filled_in(pattern, source.participant_id, source.session_id, option)


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


LEAST_EXTENT = 100.0
"""Millimetres along every axis. An adult's brain is about 120 mm high, a whole head's thinnest clinical stack 110 to
120 mm (22 to 24 slices of 5 mm); a slab of the hippocampi (60 to 90 mm) would be stretched onto a whole brain. What
lies between is registered, and flagged where the brain is cut (`quality_flags`)."""

LEAST_VOXELS = 12


def read_scan(path: Path, series: str | None = None) -> tuple[Volume, dict[str, Any]]:
    """Read a NIfTI file or a DICOM series, and what the latter tells of the acquisition (nothing of the person).

    Raises
    ------
    InputError, SpaceError
        If the scan cannot be read, or covers too little of a head.
    """
    if path.is_dir() or is_dicom(path):
        volume, acquisition = read_series(path, series)
        if not np.isfinite(volume.data).all() or volume.data.min() == volume.data.max():
            raise InputError(f"{path}: the series holds no picture (constant or not finite); export it again")
    else:
        volume, acquisition = read_volume(path), {}
    check_extent(volume.space, str(path))
    return volume, acquisition


@contextmanager
def header_flagged() -> Iterator[None]:
    """Leave it to a scan's quality flags to say what is wrong with its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeaderWarning)
        yield


def check_extent(space: Space, name: str) -> None:
    """Refuse scans of a few slices.

    Raises
    ------
    SpaceError
        If an axis has fewer than `LEAST_VOXELS` voxels or covers less than `LEAST_EXTENT`.
    """
    for axis, (count, size) in enumerate(zip(space.shape, space.spacing, strict=True)):
        if count < LEAST_VOXELS or count * size < LEAST_EXTENT:
            raise SpaceError(
                f"{name}: {count} voxels of {size:.3g} mm along {space.orientation[axis]} cover {count * size:.3g} mm, "
                f"expected {LEAST_VOXELS} voxels and {LEAST_EXTENT:g} mm or more; give a scan of the whole head"
            )


def read_mask(path: Path, grid: Space, what: str, may_be_empty: bool = False) -> Volume:
    """Read a mask that lies on a scan's grid; axes may be permuted or flipped.

    Raises
    ------
    InputError, SpaceError
        If it is no mask, is empty, or lies on another grid.
    """
    mask = read_labels(path)
    if (mask.data < 0).any() or (not may_be_empty and not mask.data.any()):
        raise InputError(f"{path}: the {what} is {'empty' if not mask.data.any() else 'negative somewhere'}; draw it")
    if sorted(mask.space.shape) != sorted(grid.shape) or not mask.space.reoriented().matches(grid.reoriented(), 0.1):
        raise SpaceError(
            f"{path}: the {what} has {mask.space.describe()}, the scan {grid.describe()}, and they do not lie on one "
            "another; expected a mask on the scan's grid"
        )
    on_scan = mask.reoriented(grid.orientation)
    return Volume(np.ascontiguousarray(on_scan.data > 0), grid)
