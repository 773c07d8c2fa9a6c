"""Atomic writing, path safety and checksums."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from neuroxai.errors import InputError

_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp\.")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the target's folder and rename it onto `path` when the block ends well.

    The target is therefore either the old file or the whole new one, even if the process is killed. The temporary
    name keeps the target's ending, because writers choose their format by it, and starts with a dot. What killed
    processes left in the folder is removed when a process first writes there; who still writes holds a lock.

    Parameters
    ----------
    path : path_like
        The file asked for; its folder is made if absent.

    Yields
    ------
    pathlib.Path
        Where to write.

    Raises
    ------
    InputError
        If the folder cannot be made because a file stands in its place.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{target.parent}: is a file, expected a folder; choose another path") from None
    except FileNotFoundError:  # below /proc, for example
        raise InputError(f"{target.parent}: no folder can be made there; choose another path") from None
    _remove_leftovers(str(target.parent.absolute()))
    temporary = target.with_name(f".{secrets.token_hex(4)}.tmp.{target.name}")
    held = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _try_lock(held)
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.filename is None:  # a write that found no room does not say where
            error.filename = str(target)
        raise
    finally:
        os.close(held)
        temporary.unlink(missing_ok=True)


def is_temporary(name: str) -> bool:
    """Whether a file's name is one under which `atomic` writes: no result yet, or the rest of a killed run."""
    return _TEMPORARY.match(name) is not None


@functools.lru_cache(maxsize=1 << 16)
def _remove_leftovers(folder: str) -> None:
    with os.scandir(folder) as entries:
        found = [entry.path for entry in entries if is_temporary(entry.name) and entry.is_file(follow_symlinks=False)]
    for path in found:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_WRONLY)
            try:
                if _try_lock(handle):
                    os.unlink(path)
            finally:
                os.close(handle)


def _try_lock(handle: int) -> bool:
    """Lock an open file without waiting; False where another holds it, or the file system knows no locks."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def one_at_a_time(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Let one process at a time change what all of them share in a folder, while the others wait.

    Nobody waits where the file system knows no locks. The system frees the lock of a process that dies.
    """
    import fcntl

    path = Path(folder) / ".lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # a file, opened for writing, since NFS locks no folders
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except FileNotFoundError:
            pass
        os.close(handle)  # of the process before, which has removed it
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def copy_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Copy a file's content atomically."""
    with atomic(target) as temporary:
        temporary.write_bytes(Path(source).read_bytes())
    return Path(target)


def link_file(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Give a file a second name atomically, or copy it where the disk cannot."""
    real = Path(source).resolve(strict=True)
    with atomic(target) as temporary:
        temporary.unlink()  # a link takes a name that is free
        try:
            os.link(real, temporary)
        except OSError:
            temporary.write_bytes(real.read_bytes())
    return Path(target)


def named_path(path: str | os.PathLike[str]) -> Path:
    """Return a path made absolute; the folder's links are followed, the file's own is not.

    Companions (a record, a mask, a table) lie beside a scan's name, wherever git-annex, datalad or a hand-made link
    keep its content.
    """
    full = Path(os.path.abspath(path))
    return full.parent.resolve() / full.name


def inside(root: str | os.PathLike[str], path: str | os.PathLike[str], follow_links: bool = True) -> Path:
    """Resolve `path` below `root` and refuse one that leaves it.

    Parameters
    ----------
    root : path_like
        The folder.
    path : path_like
        Relative to it.
    follow_links : bool
        Judge where symbolic links lead. Without it links count as what they are named, for folders whose files are
        links by design (git-annex, shared stores).

    Raises
    ------
    InputError
        If the resolved path is not below `root`.
    """
    if follow_links:
        base = Path(root).resolve()
        full = (base / path).resolve()
    else:
        base = Path(os.path.abspath(root))
        full = Path(os.path.normpath(base / path))
    if full != base and base not in full.parents:
        raise InputError(f"path {os.fspath(path)!r} leaves the folder {base}; give a path inside it")
    return full


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def content_sha256(path: str | os.PathLike[str]) -> str:
    """Return a file's SHA-256; this process reads it once, and again when size, times or inode have changed."""
    status = os.stat(path)
    # the time of the last change of the inode too: no program sets that back
    return _known_sha256(
        os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino
    )


@functools.lru_cache(maxsize=1 << 16)
def _known_sha256(path: str, *status: int) -> str:
    return sha256(path)
