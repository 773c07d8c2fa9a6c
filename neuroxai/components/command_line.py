"""Plain errors for ``python -m monai.bundle run``."""

from __future__ import annotations

import os
import sys
from types import TracebackType

from torch import distributed

from neuroxai.components.distributed import from_command_line, lost_process
from neuroxai.errors import ours


def plain_errors() -> None:
    """Let MONAI's command line end with one line and exit code 2 where the input is at fault.

    Bundles call it in ``initialize``. It changes nothing where a bundle is used as a library. Where another process of
    a distributed training is lost, the line says so and the exit code is 1.
    """
    if not from_command_line("monai.bundle"):
        return
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        known, lost = ours(error), lost_process(error)
        if known is None and lost is None:
            default(kind, error, trace)
            return
        # torch's own hook, set later and run first, takes sys.stderr's place, and would lose the line on the way out
        stream = sys.__stderr__ or sys.stderr
        stream.write(f"error: {known or lost}\n")
        stream.flush()
        if distributed.is_initialized():
            os._exit(2 if known else 1)  # the way out over the group would wait for the others
        sys.exit(2)

    sys.excepthook = hook
