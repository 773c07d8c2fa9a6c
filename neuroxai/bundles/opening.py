"""Open a packed bundle from somebody else: everything is judged, nothing is left half-written."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path

from neuroxai.bundles.contents import CHECKSUMS, MOST_BYTES, NEEDED, PART, check_name, check_weights
from neuroxai.errors import InputError

MOST_FILES = 200
LONGEST_LIST = 2**20  # bytes of checksums.txt
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError)


def open_packed(file: Path, folder: Path, most_bytes: int = MOST_BYTES) -> None:
    """Open a packed bundle into a new folder, whole or not at all.

    Parameters
    ----------
    file : pathlib.Path
        What `neuroxai.bundles.packing.pack` wrote.
    folder : pathlib.Path
        Where the bundle is to lie; absent or empty.
    most_bytes : int
        Largest size of all files together.

    Raises
    ------
    InputError
        If the file is damaged, holds anything that a packed bundle does not (links, paths that lead out, other kinds
        of files, pickled code), differs from its checksums, or is too large; or if the folder is not empty.
    """
    if not file.is_file():
        raise InputError(
            f"{file}: cannot be read as a packed bundle (no such file, or it is a folder, a pipe or a device); "
            "give a zip file"
        )
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise InputError(f"{folder}: is not empty or no folder; give a new one")
    parent = folder.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=parent))
    try:
        try:
            with zipfile.ZipFile(file) as archive:
                _extract_all(file, archive, temporary, most_bytes)
        except _DAMAGE as error:
            raise InputError(f"{file}: cannot be read as a packed bundle ({error}); fetch it again") from None
        try:
            check_weights(temporary, most_bytes)
        except InputError as error:
            raise InputError(f"{file}: {str(error).replace(f'{temporary}/', '')}") from None
        temporary.chmod(0o755)
        try:
            os.rename(temporary, folder)  # takes the place of an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise InputError(f"{folder}: was made by another process meanwhile; give a new folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract_all(file: Path, archive: zipfile.ZipFile, folder: Path, most_bytes: int) -> None:
    entries = _judged(file, archive, most_bytes)
    expected = _checksums(file, archive, entries)
    for name, entry in entries.items():
        digest = _extract(archive, entry, folder / name)
        if name != CHECKSUMS and digest != expected[name]:
            raise InputError(f"{file}: {name} differs from its checksum; fetch the file again")


def _judged(file: Path, archive: zipfile.ZipFile, most_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Judge all entries before anything is written; return them by their names inside the bundle."""
    infos = archive.infolist()
    size = sum(info.file_size for info in infos)
    if len(infos) > MOST_FILES:
        raise InputError(f"{file}: holds {len(infos)} files, expected at most {MOST_FILES}; it is no packed bundle")
    if size > most_bytes:
        raise InputError(f"{file}: unfolds to {size} bytes, expected at most {most_bytes}; --max-bytes allows more")
    entries: dict[str, zipfile.ZipInfo] = {}
    first = infos[0].orig_filename.partition("/")[0] if infos else ""
    for info in infos:
        top, _, name = info.orig_filename.partition("/")  # the name as it stands in the file, not as zipfile mends it
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InputError(f"{file}: {info.orig_filename!r} is a link or a special file; it is no packed bundle")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{file}: {info.orig_filename!r} is encrypted or packed otherwise; it is no packed bundle")
        if top != first or not PART.fullmatch(top):
            raise InputError(f"{file}: {info.orig_filename!r} does not lie in the bundle's one folder")
        check_name(name, file)
        if name.lower() in map(str.lower, entries):
            raise InputError(f"{file}: {name!r} is there twice; it is no packed bundle")
        entries[name] = info
    absent = [name for name in (*NEEDED, CHECKSUMS) if name not in entries]
    if absent:
        raise InputError(f"{file}: no {absent[0]}; it is no packed bundle")
    return entries


def _checksums(file: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> dict[str, str]:
    if entries[CHECKSUMS].file_size > LONGEST_LIST:
        raise InputError(f"{file}: {CHECKSUMS} has more than {LONGEST_LIST} bytes; it is no packed bundle")
    lines = archive.read(entries[CHECKSUMS]).decode("utf-8", "replace").splitlines()
    found = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    different = sorted(set(found) ^ (set(entries) - {CHECKSUMS}))
    if different:
        raise InputError(f"{file}: {CHECKSUMS} and the files differ by {different[0][:80]!r}; fetch the file again")
    return found


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> str:
    """Write one file; return its SHA-256. zipfile reads not a byte more than announced, whatever the stream holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with archive.open(entry) as source, open(path, "xb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()
