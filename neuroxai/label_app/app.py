"""The app: every trained bundle of a folder as a model of the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from monailabel.interfaces.app import MONAILabelApp

from neuroxai._version import __version__
from neuroxai.errors import NeuroxaiError
from neuroxai.explain.bundle import classifier_metadata
from neuroxai.io.dicom.web import Address
from neuroxai.label_app.scans import ScanStore, scans_of
from neuroxai.label_app.task import ExplanationTask

_log = logging.getLogger(__name__)


class NeuroxaiApp(MONAILabelApp):  # type: ignore[misc]
    """Explanations of every trained bundle in the folder ``bundles`` of the app's configuration.

    Parameters
    ----------
    app_dir, studies : str
        As MONAI Label has them: the app's folder, and one for what it would write of its own, which stays empty.
    conf : dict of str to str
        ``bundles``: a bundle, or a folder of bundles. ``scans``: the user's. ``sent``: folder for what viewers send.
        ``device``: cpu, cuda or auto. ``archive``: where Segmentations are sent.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.bundles = Path(conf["bundles"])
        self.store = ScanStore(scans_of(Path(conf["scans"])), Path(conf["sent"]))
        self.archive = Address.of(conf.get("archive", ""))
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

    def init_datastore(self) -> ScanStore:
        """Return the store that only reads: MONAI Label's own writes where the scans lie, through links too (0.8.5)."""
        return self.store

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

    def task(self, model: str) -> ExplanationTask | None:
        """Return the task of a bundle; None if there is no such bundle."""
        found: ExplanationTask | None = self._infers.get(model)
        return found

    def cleanup_sessions(self) -> None:
        """Remove what was sent and not asked for any more; MONAI Label calls this every five minutes."""
        self.store.sweep()


def candidates(folder: Path) -> Iterator[Path]:
    """Yield what may be bundles: the folder itself, or the folders in it that have configurations."""
    if (folder / "configs").is_dir():
        yield folder
        return
    for one in sorted(folder.iterdir()) if folder.is_dir() else ():
        if (one / "configs").is_dir():
            yield one
