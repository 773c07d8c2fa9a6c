"""MONAI, captum and nibabel without the libraries that no command needs: a command starts in half the time.

``import monai`` imports all of its modules, most of them twice, and optional libraries with them: matplotlib, ITK,
scipy.signal, pydicom, a web client, distributed optimisers. In the process of a command that opens a bundle whose
configurations name nothing of them, only the modules that the bundle needs are imported, while those libraries look as
if they were not installed; afterwards they can be imported as ever. Everywhere else MONAI is imported as it comes.
"""

from __future__ import annotations

import gc
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

#: What MONAI, nibabel and captum import where it is installed.
_OPTIONAL = (
    *("bs4", "IPython", "itk", "jsonschema", "psutil", "pydicom", "requests", "scipy.signal"),
    *("tensorboard", "torch.utils.tensorboard"),
)
#: What nibabel imports for DICOM extensions in headers, which nothing here reads; files of DICOM import it themselves.
_DICOM = ("pydicom",)
#: What MONAI also takes for optional, and captum's pictures need at once.
_PLOTS = (
    *("matplotlib", *(f"matplotlib.{n}" for n in ("axes", "collections", "colors", "figure", "image", "pyplot"))),
    *("mpl_toolkits", "mpl_toolkits.axes_grid1"),
)
#: What ignite's checkpoints need at once, which no inference writes, and MONAI's networks, which no bundle uses.
_UNUSED = ("torch.distributed.optim", "monai.apps.mmars", "monai.networks.nets")
_MODULES = ("monai.bundle", "monai.engines", "monai.inferers", "monai.transforms")
#: Components of MONAI in the bundles' configurations, and the one thing that their expressions call.
_KNOWN = frozenset({"Compose", "EnsureTyped", "SimpleInferer", "SupervisedEvaluator"})
_CALLED = frozenset({"monai.utils.set_determinism(seed=0)"})
_PROGRAMS = ("neuroxai", "neuroxai-bidsapp")


def import_libraries(bundle: Path, configs: Sequence[str], explaining: bool = False) -> None:
    """Import PyTorch, MONAI and captum for a bundle, what it does not need left out; nothing where that is unusual."""
    if "monai" in sys.modules or not _is_command():
        return
    with _collections_off(), _stand_ins(_OPTIONAL):
        from neuroxai.errors import NeuroxaiError
        from neuroxai.io import read_object

        try:
            files = [read_object(bundle / "configs" / name, "configuration of a bundle") for name in configs]
        except NeuroxaiError:
            return  # the command says so
        if not all(map(_needs_little, files)):
            return
        importlib.import_module("torch")
        with _stand_ins((*_PLOTS, *_UNUSED), _Anything):
            if explaining:
                importlib.import_module("captum.attr")
            _import_without_its_modules()
            for name in _MODULES:
                importlib.import_module(name)
        importlib.import_module("neuroxai.components")


def import_readers(*modules: str) -> None:
    """Import what opens images, and modules that use it, without pydicom; nothing where the process is no command."""
    if not _is_command():
        return
    with _collections_off(), _stand_ins(_DICOM):
        for name in ("neuroxai.io", *modules):
            importlib.import_module(name)


def _import_without_its_modules() -> None:
    """Import MONAI, which looks through its folder with this function and imports all that it finds."""
    walk = pkgutil.walk_packages
    pkgutil.walk_packages = lambda *_, **__: iter(())
    try:
        importlib.import_module("monai")
    finally:
        pkgutil.walk_packages = walk
    importlib.import_module("monai.utils.module").walk_packages = walk  # type: ignore[attr-defined]


def _is_command() -> bool:
    """Whether this process is a command of the package, and no other program that calls it."""
    file = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    return file.name in _PROGRAMS or (file.name == "__main__.py" and file.parent.name == "neuroxai")


def _needs_little(config: Any) -> bool:
    """Whether a configuration names components of this package and the known ones of MONAI alone."""
    if isinstance(config, dict):
        target = config.get("_target_", "neuroxai.")
        known = isinstance(target, str) and (target in _KNOWN or target.startswith("neuroxai."))
        return known and all(map(_needs_little, config.values()))
    if isinstance(config, list):
        return all(map(_needs_little, config))
    called = re.findall(r"monai\.[\w.]+(?:\(.*\))?", config) if isinstance(config, str) else []
    return set(called) <= _CALLED


@contextmanager
def _collections_off() -> Iterator[None]:
    """Do not look for garbage among the thousands of modules, again and again while they are made."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


class _Anything(ModuleType):
    """A module that has a class of any name, and the submodules that stand in, too."""

    def __getattr__(self, name: str) -> ModuleType | type:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (), {})


@contextmanager
def _stand_ins(names: Sequence[str], of: Callable[[str], ModuleType] | None = None) -> Iterator[None]:
    """Let modules that are not imported yet be others meanwhile; None, as Python has it: as if not installed."""
    added = {name: of(name) if of else None for name in names if name not in sys.modules}
    sys.modules.update(added)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in added:
            sys.modules.pop(name, None)
