"""Find the scans of a BIDS derivatives folder, one a participant and session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from neuroxai.errors import InputError, NoScanError, one_of, unwritable
from neuroxai.io.names import BidsName, entity, session_id, suffix_of, without_run

#: Suffixes of anatomical contrasts (BIDS 1.9, anatomy): what counts as a scan when no suffix is asked for, so that
#: masks, segmentations and heatmaps lying beside it do not.
CONTRASTS = frozenset({"T1w", "T2w", "FLAIR", "PDw", "T2starw", "PDT2", "inplaneT1", "inplaneT2", "angio", "MPRAGE"})

RUNS = ("first", "last", "all")
CHOOSE = "choose one with --suffix, --desc, --space or --pattern"


@dataclass(frozen=True)
class Scan:
    """One image file of a participant.

    Parameters
    ----------
    participant_id : str
        With its prefix, ``sub-0001``.
    session_id : str or None
        With its prefix, ``ses-M00``; None where the folder has no sessions.
    image : str
        Path relative to the cohort's folder, with forward slashes.
    """

    participant_id: str
    session_id: str | None
    image: str


@dataclass(frozen=True)
class LeftOut:
    """A participant or scan that cannot be used, and why."""

    participant_id: str
    session_id: str | None
    reason: str

    def __str__(self) -> str:
        session = f" {self.session_id}" if self.session_id else ""
        return f"{self.participant_id}{session}: {self.reason}"


def find_scans(
    folder: Path,
    suffix: str | None = None,
    desc: str | None = None,
    space: str | None = None,
    pattern: str | None = None,
    choose: str | None = None,
    run: str | None = None,
) -> tuple[list[Scan], list[LeftOut]]:
    """Find one scan a participant and session.

    Parameters
    ----------
    folder : pathlib.Path
        The cohort.
    suffix, desc, space : str, optional
        What the file names must say. Without a suffix every anatomical contrast counts.
    pattern : str, optional
        A glob relative to the cohort's folder that replaces the search in ``sub-*/[ses-*/]anat``.
    choose : str, optional
        The way out that messages tell, for a command with other options than --suffix, --desc, --space, --pattern.
    run : {"first", "last", "all"}, optional
        Which of several runs of a scan (``run-1``, ``run-2``); with "all" the run is part of the session's name
        (``ses-1_run-2``). Without it, scans of several runs are left out.

    Returns
    -------
    scans : list of Scan
        Sorted by participant and session.
    left_out : list of LeftOut
        Links whose target is absent (data not fetched), and scans of several runs where none is chosen.

    Raises
    ------
    NoScanError
        If nothing matches.
    InputError
        If several files that are no runs match one participant and session, or no scan is left.
    """
    choose = CHOOSE if choose is None else choose
    if run not in (None, *RUNS):
        raise one_of("choice for --run", str(run), RUNS)
    found: dict[tuple[str, str | None], list[str]] = {}
    left_out = []
    seen: list[str] = []
    for path in _candidates(folder, pattern):
        relative = path.relative_to(folder).as_posix()
        reason = unwritable(relative)
        if reason is not None:
            left_out.append(LeftOut(ascii(relative.split("/")[0]).strip("'"), None, reason))
            continue
        seen.append(relative)
        if not _wanted(path.name, suffix, desc, space, pattern):
            continue
        subject, session = entity(relative, "sub"), entity(relative, "ses")
        if subject is None:
            raise InputError(f"{relative}: the name says no participant, expected sub-<label> in it; narrow --pattern")
        key = (f"sub-{subject}", f"ses-{session}" if session else None)
        if not path.is_file():
            left_out.append(LeftOut(*key, f"{relative} is a link to a file that is not there; fetch the data first"))
            continue
        found.setdefault(key, []).append(relative)
    scans = []
    for key in sorted(found, key=lambda k: (k[0], k[1] or "")):
        chosen = _runs(*key, found[key], choose, run)
        if isinstance(chosen, LeftOut):
            left_out.append(chosen)
        else:
            scans += chosen
    if found and not scans:
        raise InputError(f"{folder}: {left_out[-1]}")
    if not scans and not left_out:
        raise NoScanError(_nothing(folder, seen, choose, suffix, desc, space, pattern))
    return scans, left_out


def _runs(subject: str, session: str | None, images: list[str], choose: str, run: str | None) -> list[Scan] | LeftOut:
    """Choose among the files of one participant and session, which may be runs of one scan."""
    runs = {entity(image, "run") or "": image for image in images}
    if len(images) > 1:
        names = " and ".join(sorted(images))
        if len(runs) < len(images) or len({_without_run(image) for image in images}) > 1:
            raise InputError(
                f"{' '.join(filter(None, (subject, session)))}: several scans match ({names}), expected one; {choose}"
            )
        if run is None:
            return LeftOut(subject, session, f"several scans match ({names}), expected one; --run first, last or all")
    ordered = sorted(runs, key=lambda name: (int(name) if name.isdecimal() else -1, name))
    if run == "all":
        return [Scan(subject, session_id(session, name) or None, runs[name]) for name in ordered]
    return [Scan(subject, session, runs[ordered[-1 if run == "last" else 0]])]


def _without_run(image: str) -> str:
    name = BidsName.parse(Path(image).name)
    return str(Path(image).with_name(str(replace(name, session=without_run(name.session) or ""))))


def _candidates(folder: Path, pattern: str | None) -> Iterator[Path]:
    if pattern is not None:
        if os.path.isabs(pattern) or ".." in Path(pattern).parts or not pattern.strip():
            raise InputError(
                f"--pattern {pattern!r}: expected a glob inside the cohort's folder, such as 'sub-*/anat/*.nii'"
            )
        try:
            found = list(folder.glob(pattern))
        except (ValueError, NotImplementedError) as error:
            raise InputError(f"--pattern {pattern!r}: is no glob ({error}); see --help") from None
        yield from sorted(p for p in found if p.name.endswith((".nii", ".nii.gz")) and p.name[0] != ".")
        return
    for subject in sorted(folder.glob("sub-*")):
        for anat in (subject / "anat", *sorted(subject.glob("ses-*/anat"))):
            if anat.is_dir():
                yield from sorted(
                    p for p in anat.iterdir() if p.name.endswith((".nii", ".nii.gz")) and p.name[0] != "."
                )


def _wanted(name: str, suffix: str | None, desc: str | None, space: str | None, pattern: str | None) -> bool:
    if suffix is not None:
        if suffix_of(name) != suffix:
            return False
    elif pattern is None and suffix_of(name) not in CONTRASTS:
        return False
    return all(value is None or entity(name, key) == value for key, value in (("desc", desc), ("space", space)))


def _nothing(folder: Path, seen: list[str], choose: str, *options: str | None) -> str:
    names = zip(("--suffix", "--desc", "--space", "--pattern"), options, strict=True)
    asked = " ".join(f"{name} {value}" for name, value in names if value is not None)
    where = "matching the pattern" if options[-1] else "in sub-*/anat or sub-*/ses-*/anat"
    if not seen:
        return f"{folder}: no NIfTI file {where}; give the folder of a BIDS derivative, or --pattern"
    kinds = sorted({"_".join(Path(s).name.split("_")[1:]) for s in seen})
    there = ", ".join(kinds[:8]) + (" ..." if len(kinds) > 8 else "")
    return (
        f"{folder}: none of {len(seen)} files is a scan{f' with {asked}' if asked else ''}; there are {there}; {choose}"
    )
