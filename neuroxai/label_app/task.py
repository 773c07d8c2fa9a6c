"""One trained bundle as a MONAI Label task."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from neuroxai import attribution
from neuroxai.atlas import NAMES
from neuroxai.atlas.named import find
from neuroxai.errors import InputError, NeuroxaiError, UnfitError, one_of
from neuroxai.explain import OpenBundle
from neuroxai.explain.preparation import preparation
from neuroxai.io import read_volume
from neuroxai.label_app.answer import HEATMAPS, answer, labels_of, options_of
from neuroxai.preprocess import PreparedScan, prepare_one

_log = logging.getLogger(__name__)
AS_IS = "as it is"
REFUSE, ACCEPT = "refuse", "accept"  # scans that are far from those that the network was trained on
_UNREADABLE = 400  # what was sent is no scan
_REFUSED = 422  # a scan that the model cannot take, or options that do not exist


class ExplanationTask(InferTask):  # type: ignore[misc]
    """Explain one scan by one bundle.

    To viewers it is a segmentation, the only kind of task that they show in three dimensions.

    Parameters
    ----------
    bundle : Path
        A trained bundle.
    device : str
        Of the network.
    """

    def __init__(self, bundle: Path, device: str) -> None:
        self.explainer = OpenBundle(bundle, device)
        model = self.explainer.model
        self.classes = model.classes
        own = model.defaults.method
        methods = [own, *(name for name in attribution.names() if name != own)]
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=labels_of(self.classes),
            dimension=3,
            description=f"{model.description or model.name} (research use only)",
            # the first of each list is what a viewer offers
            config={
                "method": methods,
                "method_options": "",
                "target": [self.classes[1], *(c for c in self.classes if c != self.classes[1]), "predicted"],
                "atlas": ["builtin", *_at_hand(), "none"],
                "heatmap": list(HEATMAPS),
                "prepare": [AS_IS, *_arms()],
                "unfit": [REFUSE, ACCEPT],
            },
        )

    def is_valid(self) -> bool:
        """Say that the bundle can be used: it was opened before it was listed."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Explain ``request["image"]``; options are those of ``/info``, the first of each where none is given.

        Raises
        ------
        HTTPException
            400 for a file that is no scan, 422 for a scan or an option that cannot be used; with the reason.
        """
        begin = time.perf_counter()
        keys = ("method", "target", "atlas", "heatmap", "prepare", "unfit")
        chosen = {key: self._one(key, request.get(key)) for key in keys}
        try:
            scan = Path(str(request["image"]))
            if chosen["prepare"] == AS_IS:
                path, reply = self._explained(scan, chosen, request)
            else:
                with tempfile.TemporaryDirectory(prefix="neuroxai-") as folder:
                    prepared = self._prepared(scan, Path(folder), chosen["prepare"])
                    path, reply = self._explained(prepared.path, chosen, request, scanner=True)
                reply["quality_flags"] = prepared.flags
        except NeuroxaiError as error:
            _log.warning("refused: %s", error)
            # paths of this machine tell a viewer nothing
            reason = str(error).replace(str(scan), "the scan")
            if isinstance(error, UnfitError):
                reason += f". In a viewer: the model's options `prepare` ({', '.join(_arms())}) and `unfit` ({ACCEPT})"
            raise HTTPException(_UNREADABLE if _is_unreadable(scan) else _REFUSED, reason) from None
        reply["prepare"] = chosen["prepare"]
        reply["latencies"] = {"total": round(time.perf_counter() - begin, 2)}
        return str(path), reply

    def _explained(
        self, scan: Path, chosen: Mapping[str, str], request: Mapping[str, Any], scanner: bool = False
    ) -> tuple[Path, dict[str, Any]]:
        explained = self.explainer.explain(
            scan,
            chosen["method"],
            options_of(request),
            chosen["target"],
            None if chosen["atlas"] == "none" else chosen["atlas"],
            chosen["unfit"] == ACCEPT,
        )
        return answer(explained, self.classes, chosen["heatmap"], scanner)

    def _prepared(self, scan: Path, folder: Path, arm: str) -> PreparedScan:
        """Bring a scan as the scanner left it to the network's template, at the network's resolution."""
        return prepare_one(scan, folder, preparation(self.explainer.bundle, arm), participant="sub-scan")

    def _one(self, key: str, value: Any) -> str:
        """Return the value asked for, if it is one that is offered; viewers may send the whole list back."""
        offered = self._config[key]
        if value is None or value == "" or isinstance(value, list):
            return str(offered[0])
        if value not in offered:
            raise HTTPException(_REFUSED, str(one_of(key, value, offered)))
        return str(value)


def _at_hand() -> list[str]:
    """Names of atlases of which there is a copy on this machine."""
    found = []
    for name in NAMES:
        try:
            if name != "builtin":
                find(name)
                found.append(name)
        except InputError:
            continue
    return found


def _arms() -> list[str]:
    """Ways to prepare a scan as the scanner left it, where what they need is installed."""
    if find_spec("ants"):
        return ["linear", "nonlinear"]
    return ["linear"] if find_spec("itk") else []


def _is_unreadable(scan: Path) -> bool:
    try:
        read_volume(scan)
    except NeuroxaiError:
        return True
    return False
