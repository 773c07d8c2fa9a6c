"""One scan at a time through a bundle that stays open: what a server asks for again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroxai.atlas.named import find, is_name
from neuroxai.components.facts import provenance, scale_key
from neuroxai.components.inferer import AttributionInferer
from neuroxai.components.model import Model, open_model
from neuroxai.components.predictions import prediction_rows
from neuroxai.components.scores import Scores
from neuroxai.derivatives.heatmaps import Provenance, Run
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.records import to_json
from neuroxai.derivatives.scales import Scale, stored_scale
from neuroxai.errors import InputError, one_of, ours
from neuroxai.preprocess.mapping import native_of
from neuroxai.space import Space, Volume

KEPT = 4  # settings (method, target, atlas) whose inferer stays built


@dataclass(frozen=True)
class Explained:
    """What is said of one scan.

    Parameters
    ----------
    prediction : Prediction
        Row of ``predictions.tsv``: predicted class, one probability a class, the target's logit as ``score``, the fit.
    target : str
        The class that the heatmap is about.
    heatmap : Volume
        On the network's grid, where sums are taken.
    native : Volume
        On the scan's own grid.
    scanner : Volume or None
        Of a scan that `neuroxai prepare` made: on the grid that the scanner gave it.
    regions : pandas.DataFrame or None
        Region scores, None without atlas.
    facts : dict
        Method, options, checkpoint's checksum, versions; ready for JSON.
    scale : Scale or None
        That which the bundle keeps for such heatmaps.
    """

    prediction: Prediction
    target: str
    heatmap: Volume
    native: Volume
    scanner: Volume | None
    regions: Any
    facts: dict[str, Any]
    scale: Scale | None = None


class Explainer:
    """A trained bundle, open for one scan after another; the figures are those of ``neuroxai explain``.

    Calls from several threads wait for each other: methods hang hooks on the one network. A checkpoint that is trained
    anew is loaded anew.

    Parameters
    ----------
    bundle : path_like
        A trained bundle: one of ours, or any whose network takes a 3D scan and ends in logits.
    device : str
        Of the network.

    Raises
    ------
    InputError
        If the bundle is not trained, or is none.
    """

    def __init__(self, bundle: str | Path, device: str = "cpu") -> None:
        self.bundle = Path(bundle).resolve()
        self.device = device
        self._lock = threading.Lock()
        self._inferers: OrderedDict[str, tuple[AttributionInferer, Scores | None]] = OrderedDict()
        self._model: Model | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def model(self) -> Model:
        """The network with all that it takes to feed it."""
        checkpoint = self.bundle / "models" / "model.pt"
        try:
            status = checkpoint.stat()
        except FileNotFoundError:
            raise InputError(f"{checkpoint}: no such checkpoint; train the bundle first") from None
        stamp = (status.st_mtime_ns, status.st_size)
        if self._model is None or stamp != self._stamp:
            self._model, self._stamp = open_model(self.bundle, self.device), stamp
            self._inferers.clear()
        return self._model

    def __call__(
        self,
        scan: str | Path,
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
        target: str | None = None,
        atlas: str | None = "builtin",
        accept_unfit: bool = False,
    ) -> Explained:
        """Explain one scan.

        Parameters
        ----------
        scan : path_like
            NIfTI file.
        method, options : optional
            As for `neuroxai.attribution.create`; the bundle's own if left out.
        target : str, optional
            A class's name, or ``"predicted"``; the second class if left out.
        atlas : str or None
            Name or path of an atlas for region scores; None for none.
        accept_unfit : bool
            Answer for a scan that is far from the training scans too; its prediction says so.

        Raises
        ------
        InputError
            If the scan cannot be used, or method, class or atlas are unknown.
        UnfitError
            If it is far from the training scans.
        """
        with self._lock:
            return self._explain(Path(scan), method, dict(options or {}), target, atlas, accept_unfit)

    def _explain(
        self,
        scan: Path,
        method: str | None,
        options: dict[str, Any],
        target: str | None,
        atlas: str | None,
        accept_unfit: bool,
    ) -> Explained:
        model = self.model
        if method is None:
            method, options = model.method, {**model.options, **options}
        elif method == model.method:
            options = options or dict(model.options)
        chosen = _target(target, model.classes)
        item = {
            "image": str(scan),
            "participant_id": scan.name,
            "session_id": "",
            **({"accept_unfit": True} if accept_unfit else {}),
        }
        batch = model.prepared(item)
        inferer, scores = self._inferer(model, batch.space, method, options, chosen, atlas)
        try:
            output = inferer(batch.tensor, model.network)
        except Exception as error:
            known = ours(error)
            if known is None:
                raise
            raise known from None
        logits = output["logits"]
        if logits.ndim != 2 or max(logits.shape[1], 2) != len(model.classes):
            raise InputError(
                f"{self.bundle.name}: the network put out {tuple(logits.shape)}, wanted (1, {len(model.classes)}) "
                "logits; it is no classifier of whole scans, or its metadata name other classes"
            )
        who = {"participant_id": [""], "session_id": [""], **{name: [value] for name, value in batch.fit.items()}}
        (row,) = prediction_rows(who, logits, model.classes, output["target"])
        heatmap = Volume(output["heatmap"].float()[0, 0].cpu().numpy(), batch.space)
        native = heatmap.resampled_to(batch.scan)
        back = native_of(scan)
        scanner = None if back is None else back(heatmap)
        regions = None if scores is None else scores(output["heatmap"].float(), [batch.scan])[0]
        made = Provenance(**provenance(method, options, str(model.checkpoint), model.name, atlas, batch.space))
        facts = {
            **to_json(made),
            "start": inferer.start,
            "explained": chosen,
        }
        run = Run(**vars(made), start=inferer.start, explained=chosen)
        scale = stored_scale(model.checkpoint.parent, scale_key(run))
        return Explained(row, model.classes[int(output["target"][0])], heatmap, native, scanner, regions, facts, scale)

    def _inferer(
        self, model: Model, space: Space, method: str, options: dict[str, Any], target: int | str, atlas: str | None
    ) -> tuple[AttributionInferer, Scores | None]:
        """Return what computes heatmap and scores with these settings; the last few stay built."""
        from neuroxai import attribution

        if method not in attribution.names():
            raise one_of("attribution method", method, attribution.names())
        if atlas is not None and atlas != "builtin" and is_name(atlas):
            find(atlas)
        key = repr((method, sorted(options.items()), target, atlas, space.shape, space.affine.tobytes()))
        if key not in self._inferers:
            scores = None if atlas is None else Scores(atlas, None, space)
            regions = None
            if method == "region_occlusion":
                regions = (scores or Scores("builtin", None, space)).scorers.atlas.resampled_to(space)  # type: ignore[union-attr]
            inferer = AttributionInferer(method, options, target, model.start, regions=regions)
            self._inferers[key] = (inferer, scores)
            if len(self._inferers) > KEPT:
                self._inferers.popitem(last=False)
        self._inferers.move_to_end(key)
        return self._inferers[key]


def _target(name: str | None, classes: list[str]) -> int | str:
    if name is None:
        return 1
    if name == "predicted":
        return name
    if name not in classes:
        raise one_of("class", name, [*classes, "predicted"])
    return classes.index(name)
