"""The app: every trained bundle of a folder as a model of the server."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.app import MONAILabelApp

from neuroxai._version import __version__
from neuroxai.errors import NeuroxaiError
from neuroxai.explain.bundle import classifier_metadata
from neuroxai.label_app.launch import OWN_TEMPORARY
from neuroxai.label_app.task import ExplanationTask

_log = logging.getLogger(__name__)
_HOUR = 3600.0


class NeuroxaiApp(MONAILabelApp):  # type: ignore[misc]
    """Explanations of every trained bundle in the folder ``bundles`` of the app's configuration.

    Parameters
    ----------
    app_dir, studies : str
        As MONAI Label has them: the app's folder, the folder of scans.
    conf : dict of str to str
        ``bundles``: a bundle, or a folder of bundles. ``device``: cpu, cuda or auto.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.bundles = Path(conf.get("bundles", "."))
        self.device = conf.get("device", "auto")
        if self.device == "auto":
            self.device = "cuda" if torch.cuda.is_available() else "cpu"
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf),
            name="neuroxai",
            description="Classification of brain MRI, explained voxel by voxel. For research use only.",
            version=__version__,
        )

    def init_infers(self) -> dict[str, Any]:
        """Open every bundle that can be used, and say in the log why another cannot."""
        tasks = {}
        for bundle in candidates(self.bundles):
            try:
                classifier_metadata(bundle)
                tasks[bundle.name] = ExplanationTask(bundle, self.device)
            except NeuroxaiError as error:
                _log.warning("not listed: %s", error)
                continue
            _log.info("listed: %s (%s)", bundle.name, ", ".join(tasks[bundle.name].classes))
        if not tasks:
            _log.error("%s holds no trained bundle of a classifier; train one, or name another folder", self.bundles)
        return tasks

    def infer(self, request: Mapping[str, Any], datastore: Any = None) -> Any:
        """Explain a scan of the data store or one that was sent along; no other file of the machine.

        Raises
        ------
        HTTPException
            404 for an unknown model or scan, and what `ExplanationTask` raises.
        """
        _sweep()
        model, image = request.get("model"), str(request.get("image", ""))
        if model not in self._infers:
            raise HTTPException(404, f"unknown model {model!r}; choose one of: {', '.join(sorted(self._infers))}")
        if Path(image).is_absolute() or ".." in Path(image).parts:
            path = Path(image).resolve()
            if Path(tempfile.gettempdir()).resolve() not in path.parents or not path.is_file():
                raise HTTPException(404, f"{image}: is no scan of this server; name one of the data store, or send it")
            try:
                return super().infer(dict(request), datastore)
            except HTTPException:
                # MONAI Label takes what was sent away after an answer, and forgets it after a refusal (0.8.5)
                path.unlink(missing_ok=True)
                raise
        if image not in (datastore or self.datastore()).list_images():
            raise HTTPException(404, f"{image}: the data store has no such scan; GET /datastore lists them")
        return super().infer(dict(request), datastore)


def _sweep() -> None:
    """Take away what no request can still want: scans of persons must not gather on the disk."""
    own = os.environ.get(OWN_TEMPORARY)
    if own is None:  # started by somebody else, whose folder of temporary files is not ours to tidy
        return
    for path in Path(own).glob("*.nii*"):
        try:
            if time.time() - path.stat().st_mtime > _HOUR:
                path.unlink()
        except FileNotFoundError:
            continue


def candidates(folder: Path) -> Iterator[Path]:
    """Yield what may be bundles: the folder itself, or the folders in it that have configurations."""
    if (folder / "configs").is_dir():
        yield folder
        return
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (one / "configs").is_dir():
            yield one
