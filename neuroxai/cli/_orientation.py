"""The option ``--orientation``, the same for every command that opens images."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def _told(codes: str | None) -> str | None:
    from neuroxai.io.orientation import VARIABLE, check_codes

    if codes is not None:
        os.environ[VARIABLE] = check_codes(codes)  # where images are read, in worker processes too
    return codes


OrientationOption = Annotated[
    str | None,
    typer.Option(
        "--orientation",
        callback=_told,
        help="How the axes run in images whose headers do not say (Analyze), such as LAS: towards left, anterior and "
        "superior.",
    ),
]
