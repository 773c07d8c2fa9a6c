"""The scans that the server knows: those of the user's folder, which are only ever read, and those that were sent."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np

from neuroxai.cohort import find_scans
from neuroxai.errors import InputError, NeuroxaiError
from neuroxai.io import is_dicom, read_volume, write_volume
from neuroxai.label_app.nrrd_file import read_nrrd

KEPT_FOR = 3600.0  # seconds after the last request that took it
NIFTI = (".nii.gz", ".nii")
NRRD = ".nrrd"
Sending = Sequence[tuple[str, IO[bytes]]]
Kind = Literal["image", "session"]


class UnknownScanError(InputError):
    """No scan of this name, or no such session."""


class TakenNameError(InputError):
    """A name under which another scan lies already."""


class UnreadableScanError(InputError):
    """A file that is no scan."""


def scans_of(folder: Path) -> dict[str, Path]:
    """Return the scans of a folder by the name of the file without its ending.

    They are NIfTI files, those of a BIDS cohort, or folders with one DICOM series each.

    Raises
    ------
    InputError
        If there is no scan, or two have one name.
    """
    found = sorted(path for path in folder.iterdir() if path.name.endswith(NIFTI))
    if not found and any(folder.glob("sub-*")):
        found = [folder / scan.image for scan in find_scans(folder, run="all")[0]]
    if not found:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and is_dicom(path))
    if not found:
        raise InputError(
            f"{folder}: holds no NIfTI scan (.nii, .nii.gz) and no BIDS folder (sub-*); name another folder"
        )
    scans: dict[str, Path] = {}
    for path in found:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        if name in scans:
            raise InputError(f"{folder}: two scans are named {name}, expected names of their own; rename one")
        scans[name] = path
    return scans


@dataclass
class _Sent:
    path: Path
    used: float


class ScanStore:
    """Scans by name. No method writes, moves or removes anything outside `folder`.

    The user's scans are neither copied nor linked: a link is a way to write through, and a copy of a cohort of 1,200
    scans takes 20 GB. What is sent lies in `folder` under names that say nothing of the person, until `KEPT_FOR`
    seconds after it was last asked for.

    Parameters
    ----------
    scans : mapping of str to Path
        Those of the user (`scans_of`).
    folder : Path
        For what is sent; the server's own.
    """

    def __init__(self, scans: Mapping[str, Path], folder: Path) -> None:
        self._scans, self._folder = dict(scans), folder
        self._sent: dict[tuple[Kind, str], _Sent] = {}
        self._lock = threading.Lock()

    def list_images(self) -> list[str]:
        """Return the names of all scans, those that were sent too."""
        return sorted({*self._scans, *(name for kind, name in tuple(self._sent) if kind == "image")})

    def status(self) -> dict[str, object]:
        """Count the scans, as viewers show it."""
        return {"total": len(self.list_images()), "completed": 0, "label_tags": {}}

    def path(self, name: str, kind: Kind = "image") -> Path:
        """Return where a scan lies: a file, or a folder of DICOM files that were sent.

        Raises
        ------
        UnknownScanError
            If there is none.
        """
        if kind == "image" and name in self._scans:
            return self._scans[name]
        self.sweep()
        with self._lock:
            sent = self._sent.get((kind, name))
            if sent is None:
                known = "the data store's listing names them" if kind == "image" else "send the scan again"
                raise UnknownScanError(f"no such {kind} on this server; {known}")
            sent.used = time.time()
            return sent.path

    def file_name(self, name: str) -> str:
        """Return the name of a scan's file; viewers choose how they read it by its ending."""
        return f"{name}{'.nii' if self.path(name).suffix == '.nii' else '.nii.gz'}"

    def receive(self, files: Sending) -> Path:
        """Write what was sent into a folder of its own; the caller removes it (`remove`), or has it kept.

        Parameters
        ----------
        files : sequence of (str, file)
            Names and contents: one NIfTI or NRRD file (which becomes NIfTI), or the DICOM files of a series.

        Raises
        ------
        UnreadableScanError
            If it is neither.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="sent-", dir=self._folder))
        try:
            endings = (*NIFTI, NRRD) if len(files) == 1 else ()
            ending = next((one for one in endings if files[0][0].lower().endswith(one)), "")
            series = folder / "series"
            if ending == NRRD:
                return _to_nifti(_write(folder / f"scan{NRRD}", files[0][1]))
            if ending:
                sent = _write(folder / "scan", files[0][1])
                with sent.open("rb") as handle:  # packed or not, whatever its name says
                    packed = handle.read(2) == b"\x1f\x8b"
                return sent.rename(folder / f"scan{'.nii.gz' if packed else '.nii'}")
            series.mkdir()
            for number, (_, content) in enumerate(files):
                one = _write(series / f"{number:05d}.dcm", content)
                if not is_dicom(one):
                    raise UnreadableScanError(
                        "what was sent is neither a file named .nii, .nii.gz or .nrrd nor DICOM; send one file, or the "
                        "DICOM files of one series (in 3D Slicer, MONAI Label's setting File Extension: .nii.gz)"
                    )
            return series
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def remove(self, path: Path) -> None:
        """Remove what `receive` has written."""
        shutil.rmtree(path.parent, ignore_errors=True)

    def add(self, name: str, files: Sending) -> None:
        """Keep a scan that was sent under a name; one of the user's scans is never replaced.

        Raises
        ------
        TakenNameError
            If another scan has the name. The same scan, sent again as viewers do, is as if it had not been sent.
        InputError
            If the name is none, or what was sent is no scan.
        """
        if not name.strip() or len(name) > 200 or not name.isprintable():
            raise InputError("the name of a scan is 1 to 200 letters that can be printed; send it under another")
        path = self.receive(files)
        known = self._scans.get(name)
        if known is None:
            self._keep("image", name, path)
            return
        try:
            same = _same(path, known)
        finally:
            self.remove(path)
        if not same:
            raise TakenNameError(
                "a scan of this name lies on the server and differs from what was sent; it stays as it is: send this "
                "one under another name"
            )

    def open_session(self, files: Sending) -> str:
        """Keep a scan that was sent for one viewer, and return the identifier by which it asks."""
        identifier = str(uuid.uuid4())
        self._keep("session", identifier, self.receive(files))
        return identifier

    def close_session(self, identifier: str) -> None:
        """Remove a session's scan; `UnknownScanError` if there is no such session."""
        self.path(identifier, "session")
        with self._lock:
            sent = self._sent.pop(("session", identifier), None)
        if sent is not None:
            self.remove(sent.path)

    def sweep(self) -> None:
        """Remove what nobody has asked for in the time told: scans of persons must not gather on the disk."""
        with self._lock:
            old = [key for key, sent in self._sent.items() if time.time() - sent.used > KEPT_FOR]
            gone = [self._sent.pop(key) for key in old]
        for sent in gone:
            self.remove(sent.path)

    def _keep(self, kind: Kind, name: str, path: Path) -> None:
        with self._lock:
            before = self._sent.get((kind, name))
            self._sent[kind, name] = _Sent(path, time.time())
        if before is not None:
            self.remove(before.path)


def _write(path: Path, content: IO[bytes]) -> Path:
    with path.open("xb") as handle:
        shutil.copyfileobj(content, handle)
    if not path.stat().st_size:
        raise UnreadableScanError("what was sent is empty (0 bytes), expected a scan; send it again")
    return path


def _to_nifti(sent: Path) -> Path:
    try:
        volume = read_nrrd(sent)
    except NeuroxaiError as error:
        raise UnreadableScanError(str(error)) from None
    sent.unlink()
    return write_volume(sent.with_suffix(".nii.gz"), volume)


def _same(sent: Path, known: Path) -> bool:
    """Whether two files hold one scan: the grid and, to what a viewer's own saving changes, the voxels."""
    if not sent.is_file():
        return False
    one, other = read_volume(sent), read_volume(known)
    if not one.space.matches(other.space):
        return False
    return bool(np.abs(one.data - other.data).max() <= 1e-5 * np.abs(other.data).max())
