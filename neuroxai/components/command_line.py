"""Plain errors for ``python -m monai.bundle run``."""

from __future__ import annotations

import sys
from types import TracebackType

from neuroxai.errors import ours


def plain_errors() -> None:
    """Let MONAI's command line end with one line and exit code 2 where the input is at fault.

    Bundles call it in ``initialize``. It changes nothing where a bundle is used as a library.
    """
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is None or not main.name.startswith("monai.bundle"):
        return
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        known = ours(error)
        if known is None:
            default(kind, error, trace)
            return
        sys.stderr.write(f"error: {known}\n")
        sys.exit(2)

    sys.excepthook = hook
