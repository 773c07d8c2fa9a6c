"""The few exceptions of the package.

Every message says the value got, the value expected and the way out. The command line turns any `NeuroxaiError` into
one line on standard error and exit code 2.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LONG = (errno.ENAMETOOLONG,)
_LOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)
_LOOP = (errno.ELOOP,)


class NeuroxaiError(Exception):
    """Base class: something the user can put right."""


class InputError(NeuroxaiError, ValueError):
    """A file, table, option or array that cannot be used as it is."""


class SpaceError(InputError):
    """Shapes, affines or grids that do not fit each other."""


class DimensionsError(SpaceError):
    """An image that is not three-dimensional."""


class UnfitError(InputError):
    """A scan that is far from those that a network was trained on."""


class NoScanError(InputError):
    """A folder in which no file is a scan of the kind asked for."""


class LeakageError(InputError):
    """One subject stands in two parts of a split."""


class HeaderWarning(UserWarning):
    """An image's header that contradicts itself, or does not say which side is left."""


class UnsupportedLayerError(NeuroxaiError, NotImplementedError):
    """A network layer or operation for which no relevance rule is defined."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn with the line that called the package: the last one that is neither in it nor in captum, which calls it."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(("neuroxai.", "captum.")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def one_of(what: str, got: object, expected: object, way_out: str = "") -> InputError:
    """Build the error for a name that is not among the known ones.

    Parameters
    ----------
    what : str
        What was asked for, for example ``"atlas"``.
    got : object
        The name that was given.
    expected : iterable of str
        The names that exist.
    way_out : str, optional
        A closing hint.

    Returns
    -------
    InputError
        The error, to be raised by the caller.
    """
    names = ", ".join(sorted(str(w) for w in expected))  # type: ignore[attr-defined]
    return InputError(f"unknown {what} {got!r}; choose one of: {names}.{' ' + way_out if way_out else ''}")


def ours(error: BaseException | None) -> NeuroxaiError | None:
    """Find the first error of ours in a chain of causes: MONAI and ignite wrap what components raise.

    Causes alone (``raise ... from``): an error that merely happened while another was handled is a bug to be seen.
    """
    while error is not None:
        if isinstance(error, NeuroxaiError):
            return error
        error = error.__cause__
    return None


def root_cause(error: BaseException) -> str:
    """Say in one line what is at the bottom of a chain of causes, for errors that are none of ours."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:200]}"


def refused_by_the_system(error: BaseException) -> str | None:
    """Say in one line what the user can put right and nobody else: rights, names, room on the disk; None for the rest.

    Looked for in the chain of causes, since MONAI and ignite wrap what the system raises.
    """
    found: BaseException | None = error
    while found is not None and not (isinstance(found, OSError) and found.errno in _FULL + _LOCKED + _LONG + _LOOP):
        # before Python 3.13 pathlib hides a circle of links in another error
        loop = isinstance(found, RuntimeError) and getattr(found.__context__, "errno", None) in _LOOP
        found = found.__context__ if loop else found.__cause__
    if not isinstance(found, OSError):
        return None
    name = str(found.filename or "the disk")
    if found.errno in _LONG:
        return f"{name[:60]} ...: {found.strerror} ({len(name)} letters); choose a shorter name"
    if found.errno in _LOOP:
        return f"{name}: is a link that leads back to itself; link it to the file that is meant"
    way_out = "make room" if found.errno in _FULL else "change its rights, or choose another"
    return f"{name}: {found.strerror}; {way_out}"


def unwritable(name: str) -> str | None:
    """Say why no table, page or configuration can hold a name: no UTF-8, or several lines; None where all can."""
    if any("\ud800" <= sign <= "\udfff" for sign in name):
        return f"{name!a} is no UTF-8; rename the file or folder"
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in name):
        return f"{name!a} holds a line break or a control character; rename the file or folder"
    return None


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments of a command line that cannot be written down (`unwritable`).

    Raises
    ------
    InputError
        Naming the first.
    """
    for argument in arguments:
        reason = unwritable(argument)
        if reason is not None:
            raise InputError(f"argument {reason}")


def disk_is_full(error: BaseException) -> bool:
    """Whether a full disk is at the bottom of an error, which is no fault of the scan that was at work."""
    found: BaseException | None = error
    while found is not None and not (isinstance(found, OSError) and found.errno in _FULL):
        found = found.__cause__
    return found is not None
