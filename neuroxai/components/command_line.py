"""Plain errors for ``python -m monai.bundle run``."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType

from torch import distributed

from neuroxai.components.distributed import from_command_line, lost_process
from neuroxai.errors import InputError, check_arguments, ours, refused_by_the_system
from neuroxai.explain.bundle import RENAMED, refuse_renamed
from neuroxai.io import read_object

_log = logging.getLogger("neuroxai")
_INTERRUPTED = 130  # as shells have it: 128 and the signal
# what MONAI's experiment tracking takes beside a configuration's own ids
_TRACKING = frozenset({"output_dir", "tracking_uri", "experiment_name", "run_name", "save_execute_config"})
# options of our bundles that hold paths
_PATHS = {"bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir", "cache_dir", "checkpoint", "pretrained"}
_PATHS |= {"atlas", "labels"}


def plain_errors() -> None:
    """Let MONAI's command line end with one line and exit code 2 where the input is at fault.

    Bundles call it in ``initialize``. It changes nothing where a bundle is used as a library. Where another process of
    a distributed training is lost, the line says so and the exit code is 1. An option that the configuration does not
    have ends the command too: MONAI would add it to the configuration, and train with the default.
    """
    if not from_command_line("monai.bundle"):
        return
    _catch()
    check_arguments(sys.argv[1:])
    _check_paths(sys.argv[1:])
    if sys.argv[1:2] == ["run"]:
        check_ids(sys.argv[2:])


def end_with_failures(failures: Sequence[object]) -> None:
    """End MONAI's command line with exit code 1 where scans were left out, as `neuroxai` does; they were named before.

    Bundles call it at the end of ``run``. It changes nothing where a bundle is used as a library.
    """
    if failures and from_command_line("monai.bundle"):
        _log.error("scans left out: %d", len(failures))
        sys.exit(1)


def _check_paths(arguments: Sequence[str]) -> None:
    """Refuse paths that MONAI's command line and configurations would take for others, before anything is made.

    Raises
    ------
    InputError
        Naming the option and the sign.
    """
    for number, argument in enumerate(arguments):
        name, sign, value = argument.partition("=")
        if name.startswith("--"):
            _check_path(name.lstrip("-"), value if sign else next(iter(arguments[number + 1 : number + 2]), ""))


def _check_path(name: str, value: object) -> None:
    if name not in _PATHS or not isinstance(value, str) or value.startswith("$"):
        return
    bad = next((s for s in ("#", "@::", "%::") if s in value), value[0] if value[:1] in ("@", "%") else None)
    if bad is not None:
        raise InputError(
            f"--{name} {value}: MONAI's configurations take {bad!r} in a path for another sign, and files would lie "
            "elsewhere; rename the folder, or run the command inside it with a relative path"
        )


def _catch() -> None:
    default = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            (sys.__stderr__ or sys.stderr).write("interrupted; run the same command again to go on\n")
            sys.exit(_INTERRUPTED)
        known, lost = ours(error) or refused_by_the_system(error), lost_process(error)
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


def check_ids(arguments: Sequence[str]) -> None:
    """Refuse an option of ``python -m monai.bundle run`` that neither MONAI nor the configuration knows.

    The user's own files are held to the same: a key that stands twice, or a path that MONAI would take for another.

    Parameters
    ----------
    arguments : sequence of str
        What stands behind ``run`` on the command line.

    Raises
    ------
    InputError
        Naming the option and those that are like it; or the file, and what it holds.
    """
    import inspect

    from monai.bundle import ConfigParser, run, update_kwargs

    given = dict(_flags(arguments))
    own = set(inspect.signature(run).parameters) - {"override"}
    values = update_kwargs(_value(given["args_file"]) if "args_file" in given else None, **given)
    files = _value(values.get("config_file"))
    for file in [given.get("args_file"), *(files if isinstance(files, list | tuple) else [files])]:
        if isinstance(file, str) and file.endswith(".json"):
            refuse_renamed(read_object(file, "configuration"), file)
    config = ConfigParser.load_config_files(files)
    for name, value in {**config, **values}.items():
        if not str(value).startswith(("@", "%")):  # a reference or macro of a configuration, where it is meant
            _check_path(name, value)
    known = own | set(config) | (_TRACKING if "tracking" in values else set())
    for name in values:
        top = re.split(r"#|::", name.lstrip("+"), maxsplit=1)[0]
        if top in RENAMED:
            raise InputError(f"--{name}: {top} is called {RENAMED[top]} now; give --{RENAMED[top]}")
        if top not in known:
            raise InputError(f"unknown option --{name}; {_like(top, known)}")


def _like(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(f'--{other}' for other in near)}?"
    return f"expected one of {', '.join(sorted(known))}"


def _flags(arguments: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Names and texts of ``--name value`` and ``--name=value``, as python-fire reads them."""
    for number, argument in enumerate(arguments):
        if re.match(r"-{1,2}[A-Za-z_+]", argument):
            name, equals, value = argument.lstrip("-").partition("=")
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            yield name.replace("-", "_"), value if equals else following


def _value(text: object) -> object:
    from fire.parser import DefaultParseValue

    return DefaultParseValue(text) if isinstance(text, str) else text
