"""Registration engines: ANTs and ITK behind one contract."""

from __future__ import annotations

from importlib.util import find_spec

from neuroxai.errors import InputError, one_of
from neuroxai.preprocess.options import ENGINES
from neuroxai.preprocess.registration.ants import AntsEngine
from neuroxai.preprocess.registration.base import Engine
from neuroxai.preprocess.registration.itk import ItkEngine

__all__ = ["Engine", "create"]

_ENGINES: dict[str, type[Engine]] = {"ants": AntsEngine, "itk": ItkEngine}


def create(name: str = "auto") -> Engine:
    """Return an engine.

    Parameters
    ----------
    name : {"auto", "ants", "itk"}
        ``"auto"`` takes ANTs where it is installed, and else ITK, which has no non-linear registration.

    Raises
    ------
    InputError
        If there is no such engine, or its package is not installed.
    """
    if name not in ("auto", *ENGINES):
        raise one_of("registration engine", name, ("auto", *ENGINES))
    installed = [engine for engine in ENGINES if find_spec(engine) is not None]
    chosen = name if name != "auto" else next(iter(installed), "ants")
    if chosen not in installed:
        raise InputError(
            f"the registration engine {name!r} needs the package {_ENGINES[chosen].package}, which is not installed; "
            "run `pip install 'neuroxai[prepare]'`" + ("" if name == "auto" else ", or choose 'auto'")
        )
    return _ENGINES[chosen]()
