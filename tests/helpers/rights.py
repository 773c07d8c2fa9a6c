"""Rights of files that hold for root too, as continuous integration is."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION = 0x20080522  # of Linux's capget and capset: two words of flags each
OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
GET_SECUREBITS, SET_SECUREBITS, NO_ROOT = 27, 28, 1  # of prctl: programs that root starts gain nothing by it


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Word(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable")]


@contextmanager
def rights_hold() -> Iterator[None]:
    """Let this thread, and programs it starts, read and write only what the files' rights let their owner."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    words = (_Word * 2)()

    def call(function: str, *arguments: object) -> int:
        found = getattr(libc, function)(*arguments)
        if found < 0:
            raise OSError(ctypes.get_errno(), function)
        return int(found)

    # processes that an earlier test left waiting for work have root's rights, those of this block have not
    end_workers()
    here = ctypes.byref(_Header(VERSION, 0)), words
    call("capget", *here)
    before, bits = words[0].effective, call("prctl", GET_SECUREBITS)
    call("prctl", SET_SECUREBITS, bits | NO_ROOT)
    words[0].effective &= ~OVERRIDE
    call("capset", *here)
    try:
        yield
    finally:
        words[0].effective = before
        call("capset", *here)
        call("prctl", SET_SECUREBITS, bits)
        end_workers()


def end_workers() -> None:
    """End joblib's processes, which wait for more work."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
