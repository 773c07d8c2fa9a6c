"""One trained bundle as a MONAI Label task."""

from __future__ import annotations

import re
import tempfile
import threading
import time
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from neuroxai import attribution, io
from neuroxai.atlas import NAMES
from neuroxai.atlas.named import find
from neuroxai.attribution.baselines import FROM_CONTROLS
from neuroxai.attribution.registry import METHODS
from neuroxai.derivatives.prepared import native_record
from neuroxai.errors import HeaderWarning, InputError, NeuroxaiError, UnfitError, one_of
from neuroxai.explain import OpenBundle
from neuroxai.explain.controls import beside
from neuroxai.explain.preparation import preparation
from neuroxai.explain.provenance import stability_in
from neuroxai.explain.weights import read_record
from neuroxai.label_app.answer import HEATMAPS, FileForm, answer, labels_of, options_of
from neuroxai.label_app.scans import UnreadableScanError
from neuroxai.preprocess import prepare_one
from neuroxai.space import mni152

AUTOMATIC, AS_IS = "automatic", "as it is"
REFUSE, ACCEPT = "refuse", "accept"  # scans that are far from those that the network was trained on
# memory stays that of one scan, and what is done with warnings holds for the whole process
_ONE_AT_A_TIME = threading.Lock()
_PATH = re.compile(r"(?<![\w.:/])/(?:[^\s/:;,'\"]+/)+")


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
        self.on_template = "space" in read_record(str(model.checkpoint))
        own = model.defaults.method
        methods = [own, *(name for name in _methods(model.checkpoint) if name != own)]
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=labels_of(),
            dimension=3,
            description=f"{model.description or model.name} (research use only)",
            # the first of each list is what a viewer offers
            config={
                "method": methods,
                "method_options": "",
                "target": [self.classes[1], *(c for c in self.classes if c != self.classes[1]), "predicted"],
                "atlas": ["builtin", *_at_hand(), "none"],
                "heatmap": list(HEATMAPS),
                "prepare": [AUTOMATIC, AS_IS, *_arms()],
                "unfit": [REFUSE, ACCEPT],
            },
        )

    def is_valid(self) -> bool:
        """Say that the bundle can be used: it was opened before it was listed."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Explain the scan at ``request["image"]``, a file or a folder with the DICOM files of a series.

        Parameters
        ----------
        request : mapping
            ``image``; options as those of ``/info``, the first of each where none is given; ``result_extension``,
            ``result_dtype``, ``result_compress`` as viewers ask for them (`FileForm`), ``dicom`` for a DICOM
            Segmentation. Anything else is passed over.

        Returns
        -------
        (str, dict)
            A temporary file, which the caller removes, and what the answer says (`answer`).

        Raises
        ------
        UnreadableScanError
            For a file that is no scan.
        NeuroxaiError
            For a scan or an option that cannot be used. Messages name no path of this machine.
        """
        begin = time.perf_counter()
        scan = Path(str(request["image"]))
        try:
            with (
                _ONE_AT_A_TIME,
                tempfile.TemporaryDirectory(prefix="neuroxai-") as folder,
                warnings.catch_warnings(record=True) as said,
            ):
                warnings.simplefilter("ignore")
                warnings.simplefilter("always", HeaderWarning)  # it names the scan, which the log must not
                path, reply = self._answered(scan, Path(folder), request)
        except NeuroxaiError as error:
            reason = self._spoken(error, scan)
            if isinstance(error, UnfitError):
                ways = f". In a viewer: the model's options `prepare` ({', '.join(_arms())}) and `unfit` ({ACCEPT})"
                raise UnfitError(reason + ways) from None
            raise (UnreadableScanError if _is_unreadable(scan) else type(error))(reason) from None
        reply["warnings"] = sorted({self._spoken(one.message, scan) for one in said})
        reply["latencies"] = {"total": round(time.perf_counter() - begin, 2)}
        return str(path), reply

    def _answered(self, scan: Path, folder: Path, request: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        keys = ("method", "target", "atlas", "heatmap", "prepare", "unfit")
        chosen = {key: self._one(key, request.get(key)) for key in keys}
        form = FileForm.of(request)
        if request.get("dicom"):
            form = FileForm(".dcm", origin=io.read_origin(scan) if scan.is_dir() else None)
        if scan.is_dir():
            volume, _ = io.read_series(scan)
            scan = io.write_volume(folder / "series.nii.gz", volume)
        native = native_record(scan)
        way, why = self._way(scan, native is not None, chosen["prepare"])
        flags = None if native is None else list(native.flags)
        explained_scan = scan
        if way != AS_IS:
            prepared = prepare_one(
                scan, folder / "prepared", preparation(self.explainer.bundle, way), participant="sub-scan"
            )
            explained_scan, flags = prepared.path, prepared.flags
        explained = self.explainer.explain(
            explained_scan,
            chosen["method"],
            options_of(request),
            chosen["target"],
            None if chosen["atlas"] == "none" else chosen["atlas"],
            chosen["unfit"] == ACCEPT,
        )
        path, reply = answer(explained, self.classes, chosen["heatmap"], way != AS_IS, form)
        reply["result"] = f"{reply['result']} Scan: {way} ({why})."
        stability = stability_in(self.explainer.model.checkpoint.parent, explained.run)
        return path, reply | {
            "prepare": way,
            "prepare_reason": why,
            "quality_flags": flags,
            "stability": stability,  # of the method: a scan's own takes the trainings themselves
        }

    def _way(self, scan: Path, prepared: bool, asked: str) -> tuple[str, str]:
        """Return how a scan is taken, and why so."""
        if asked != AUTOMATIC:
            return asked, "as was asked"
        if prepared:
            return AS_IS, "it was prepared before"
        if not self.on_template:
            return AS_IS, "the bundle keeps no grid that it was trained on"
        space = io.read_space(scan)
        side = round(min(space.spacing), 3)
        if 0.5 <= side <= 16 and mni152(side).matches(space.reoriented()):
            return AS_IS, "it lies on a grid of the template"
        if not _arms():
            raise InputError(
                f"{scan}: does not lie on a grid of the template, and nothing that registers it is installed; run "
                f"`neuroxai prepare`, or choose the model's option `prepare` ({AS_IS})"
            )
        return _arms()[0], "it does not lie on a grid of the template"

    def _spoken(self, message: object, scan: Path) -> str:
        bundle = self.explainer.bundle
        known = {str(scan): "the scan", f"{scan.parent}/": "", str(bundle): bundle.name}
        return re.sub(r"sub-scan_\S+?\.nii\.gz", "the prepared scan", spoken(message, known))

    def _one(self, key: str, value: Any) -> str:
        """Return the value asked for, if it is one that is offered; viewers may send the whole list back."""
        offered = self._config[key]
        if value is None or value == "" or isinstance(value, list):
            return str(offered[0])
        if value not in offered:
            raise one_of(key, value, offered)
        return str(value)


def spoken(message: object, known: Mapping[str, str] | None = None) -> str:
    """Return a message without paths of this machine, which tell a viewer nothing, and short enough to be read."""
    text = str(message)
    for path, name in (known or {}).items():
        text = text.replace(path, name)
    return _PATH.sub("", text).encode("utf-8", "replace").decode()[:2000]


def _methods(checkpoint: Path) -> list[str]:
    """Names of methods that can be run: some need the bundle's reference of controls."""
    if beside(checkpoint).is_file():
        return list(attribution.names())
    return [name for name in attribution.names() if METHODS[name].options().get("baselines") not in FROM_CONTROLS]


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
        if scan.is_dir():
            io.read_series(scan)
        else:
            io.read_volume(scan)
    except NeuroxaiError:
        return True
    return False
