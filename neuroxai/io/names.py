"""File names of BIDS: the one place that takes them apart and puts them together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from neuroxai.errors import InputError


@dataclass(frozen=True)
class BidsName:
    """A file's name, ``sub-01_ses-1_run-2_space-MNI152_desc-brain_T1w.nii.gz``.

    Parameters
    ----------
    participant : str
        With its prefix, as in participants.tsv; empty where the name tells none.
    session : str
        With its prefix, and the run where there are several (``ses-1_run-2``); empty without both.
    entities : mapping of str to str
        The other entities in their order; a word that is none has an empty value.
    suffix, extension : str
        ``T1w`` and ``.nii.gz``.
    """

    participant: str
    session: str
    entities: Mapping[str, str]
    suffix: str
    extension: str = ".nii.gz"

    @classmethod
    def parse(cls, name: str) -> BidsName:
        """Take a file's name apart; any name has a suffix at least."""
        *parts, last = name.split("_")
        suffix, dot, extension = last.partition(".")
        pairs = {key: value for key, _, value in (part.partition("-") for part in parts)}
        subject = f"sub-{value}" if (value := pairs.pop("sub", "")) else ""
        visit = session_id(pairs.pop("ses", None), pairs.pop("run", None))
        return cls(subject, visit, pairs, suffix, dot + extension)

    def __str__(self) -> str:
        pairs = [f"{key}-{value}" if value else key for key, value in self.entities.items()]
        return "_".join([*filter(None, (self.participant, self.session)), *pairs, self.suffix]) + self.extension

    @property
    def place(self) -> str:
        """Path relative to the derivative's folder: ``sub-01/ses-1/anat/sub-01_...``; runs lie side by side."""
        visit = without_run(self.session)
        return "/".join([*filter(None, (self.participant, visit)), "anat", str(self)])

    def replaced(self, suffix: str | None = None, extension: str | None = None, **entities: str | None) -> BidsName:
        """Return the name with other entities, in their place or at the end; None takes one away."""
        changed = {key: value for key, value in {**self.entities, **entities}.items() if value is not None}
        ending = self.extension if extension is None else extension
        return replace(self, entities=changed, suffix=suffix or self.suffix, extension=ending)


def session_id(session: str | None, run: str | None) -> str:
    """Return what tells the scans of a participant apart: ``ses-1_run-2`` of ``"1"`` and ``"2"``; empty of neither."""
    return "_".join(prefixed(key, value) for key, value in (("ses", session), ("run", run)) if value)


def prefixed(prefix: str, name: str) -> str:
    """Return the identifier with its BIDS prefix, added where a table leaves it out."""
    text = name.strip()
    return text if text.startswith(f"{prefix}-") else f"{prefix}-{text}"


def entity(path: str, key: str) -> str | None:
    """Return the value that a path's names give to a BIDS entity: ``entity("sub-01/x.nii", "sub")`` is ``"01"``.

    Raises
    ------
    InputError
        If folder and file name disagree.
    """
    values = []
    for part in path.split("/"):
        values += re.findall(rf"(?:^|_){key}-([A-Za-z0-9+]+)(?=_|$|\.)", part)
    if len(set(values)) > 1:
        raise InputError(
            f"{path}: names {' and '.join(f'{key}-{v}' for v in dict.fromkeys(values))}, expected one; "
            "rename the file after its folder"
        )
    return values[0] if values else None


def identity_of(stem: str) -> tuple[str, str]:
    """Return participant and session of one file, whatever it is called: letters and digits of a name without any.

    Two runs are two scans, whose results lie side by side.

    Examples
    --------
    >>> identity_of("sub-01_ses-1_run-2_T1w"), identity_of("my scan"), identity_of("_")
    (('sub-01', 'ses-1_run-2'), ('sub-myscan', ''), ('sub-scan', ''))
    """
    subject = entity(stem, "sub")
    if subject is None:
        return "sub-" + (re.sub(r"[^A-Za-z0-9]", "", stem) or "scan"), ""
    return f"sub-{subject}", session_id(entity(stem, "ses"), entity(stem, "run"))


def suffix_of(name: str) -> str:
    """Return a BIDS file name's suffix: ``T1w`` of ``sub-01_desc-brain_T1w.nii.gz``."""
    return BidsName.parse(name).suffix


def without_run(session: str | None) -> str | None:
    """Return the visit of a scan's session, to which its run may be added: ``ses-1`` of ``ses-1_run-2``."""
    return re.sub(r"(?:^|_)run-[A-Za-z0-9+]+$", "", session or "") or None


def filled_in(template: str, participant: str, session: str | None, what: str) -> Path:
    """Return a path in which ``{participant}``, ``{session}`` and ``{run}`` stand for a scan's identifiers.

    Raises
    ------
    InputError
        If something else stands in braces; `what` names the option.
    """
    visit = without_run(session) or ""
    run = (session or "").removeprefix(visit).strip("_")
    text = template
    for name, value in {"participant": participant, "session": visit, "run": run}.items():
        text = text.replace(f"{{{name}}}", value)
    if "{" in text or "}" in text:
        raise InputError(f"{what} is {template!r}, expected {{participant}}, {{session}} or {{run}} alone in braces")
    return Path(text).expanduser().resolve()


def resolution_label(spacing: float) -> str:
    """Return a voxel's edge in mm as BIDS label: ``1p5`` of 1.5."""
    return f"{spacing:g}".replace(".", "p")


def sidecar_of(image: Path) -> Path:
    """Return the JSON file beside a NIfTI file."""
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")
