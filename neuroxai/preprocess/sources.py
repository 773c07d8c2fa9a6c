"""What is to be prepared: the scans of a BIDS folder, one NIfTI file, or one DICOM series."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from neuroxai.cohort import LeftOut, Scan, find_scans
from neuroxai.cohort.scans import entity, prefixed
from neuroxai.errors import InputError, NoScanError
from neuroxai.io import named_path
from neuroxai.io.dicom import is_dicom, is_series
from neuroxai.io.names import filled_in, without_run

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


def find_sources(
    place: Path,
    modality: str = "T1w",
    pattern: str | None = None,
    mask: str | None = None,
    lesions: str | None = None,
    participant: str | None = None,
    session: str | None = None,
    series: str | None = None,
    run: str | None = None,
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
    participant, session, series : str, optional
        Of a single scan; without a participant its file's name tells.
    run : {"first", "last", "all"}, optional
        Which of several runs of a scan; without it such scans are left out. A run prepared beside others is part of the
        session's name (``ses-1_run-2``).

    Raises
    ------
    InputError
        If nothing is found, or an option does not go with the place.
    """
    if place.is_file():
        path = named_path(place)
        if is_dicom(path):
            _check_series(path, series)
        elif series is not None:
            raise InputError(f"{place} is one file, no DICOM; --series chooses in a DICOM folder")
        found = [Source(*_identifiers(path, participant, session), path, series=series)]
        left: list[LeftOut] = []
    elif not place.is_dir():
        raise InputError(f"{place}: no such file or folder; give a BIDS folder, a NIfTI scan or a DICOM folder")
    elif pattern is not None or (any(place.glob("sub-*")) and not is_series(place)):
        if participant or session or series:
            raise InputError(f"{place} is a cohort; --participant, --session and --series go with a single scan")
        found, left = _bids(place.resolve(), modality, pattern, run)
    else:
        path = place.resolve()
        _check_series(path, series)
        found, left = [Source(*_identifiers(path, participant, session), path, series=series)], []
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
        # several T1w scans of one session are told: which one a FLAIR belongs to would be a guess
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


def _identifiers(path: Path, participant: str | None, session: str | None) -> tuple[str, str | None]:
    name = path.name.split(".", 1)[0]
    subject = prefixed("sub", participant) if participant else None
    if subject is None:
        known = entity(path.name, "sub")
        subject = f"sub-{known}" if known else "sub-" + (re.sub(r"[^A-Za-z0-9]", "", name) or "scan")
    visit = prefixed("ses", session) if session else None
    if visit is None and (known := entity(path.name, "ses")):
        visit = f"ses-{known}"
    for identifier in filter(None, (subject, visit)):
        if not re.fullmatch(r"(sub|ses)-[A-Za-z0-9+]+", identifier):
            raise InputError(f"identifier {identifier!r} is not valid in BIDS; use letters and digits alone")
    run = entity(path.name, "run")  # two runs are two scans
    return subject, "_".join(filter(None, (visit, f"run-{run}" if run else None))) or None


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
