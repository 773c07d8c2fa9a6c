"""Run the command line in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from functools import cache
from typing import NamedTuple
from unittest import mock

import typer


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@cache
def whole_command() -> object:
    """What Typer makes of all commands' signatures, a tenth of a second each time, which a process does once."""
    from neuroxai.cli.main import app

    return typer.main.get_command(app)


def run(*arguments: object) -> Result:
    """Run ``neuroxai`` with these arguments, as its entry point does."""
    from neuroxai.cli.main import main

    out, err, whole = io.StringIO(), io.StringIO(), whole_command()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["neuroxai", *map(str, arguments)]),
        mock.patch.object(typer.main, "get_command", return_value=whole),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
    return Result(code, out.getvalue(), err.getvalue())
