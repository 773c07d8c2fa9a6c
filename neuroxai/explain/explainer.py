"""A trained bundle that stays open: one scan after another to probability, heatmaps, region scores and files."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from neuroxai import attribution
from neuroxai.atlas.named import find, is_name
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.scales import stored_scale
from neuroxai.errors import InputError, ours
from neuroxai.explain.attribute import Attributor
from neuroxai.explain.bundle import Batch, Model, open_model
from neuroxai.explain.controls import against_controls, load_controls
from neuroxai.explain.explanation import Explanation, GivenScan, Making
from neuroxai.explain.options import ExplainOptions
from neuroxai.explain.predict import prediction_rows, single_item
from neuroxai.explain.provenance import scale_key
from neuroxai.explain.scores import Scores
from neuroxai.layers.convolution import FastConvolutions
from neuroxai.preprocess.mapping import native_of
from neuroxai.space import Space, Volume

KEPT = 4  # settings (method, target, atlas) whose attribution stays built


class OpenBundle:
    """A trained bundle, open for one scan after another; the figures are those of ``neuroxai explain``.

    Calls from several threads wait for each other: methods hang hooks on the one network. A checkpoint that is trained
    anew is loaded anew. A scan is the path of a NIfTI file, a nibabel image, or a MetaTensor (1, x, y, z) or (x, y, z).

    Parameters
    ----------
    bundle : path_like
        A trained bundle: one of ours, or any whose network takes a 3D scan and ends in logits.
    device : str
        Of the network; "auto" takes a GPU where there is one.
    """

    def __init__(self, bundle: str | os.PathLike[str], device: str = "auto") -> None:
        self.bundle = Path(bundle).resolve()
        self.device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Attributor, Scores | None]] = OrderedDict()
        self._model: Model | None = None
        self._stamp: tuple[int, int] | None = None

    @property
    def model(self) -> Model:
        """The network with all that it takes to feed it.

        Raises
        ------
        InputError
            If the bundle is not trained, or is none.
        """
        checkpoint = self.bundle / "models" / "model.pt"
        try:
            status = checkpoint.stat()
        except FileNotFoundError:
            raise InputError(f"{checkpoint}: no such checkpoint; train the bundle first") from None
        stamp = (status.st_mtime_ns, status.st_size)
        if self._model is None or stamp != self._stamp:
            self._model, self._stamp = open_model(self.bundle, self.device), stamp
            self._kept.clear()
        return self._model

    def predict(self, scan: Any, accept_unfit: bool = False) -> Prediction:
        """Return the class and the probabilities of one scan.

        Parameters
        ----------
        scan : path_like, nibabel image or MetaTensor
            The scan.
        accept_unfit : bool
            Answer for a scan that is far from the training scans too; its prediction says so.

        Raises
        ------
        InputError
            If the scan cannot be used.
        UnfitError
            If it is far from the training scans.
        """
        with self._lock, GivenScan(scan) as given:
            item, batch = self._prepared(given.path, accept_unfit)
            with torch.no_grad(), FastConvolutions():
                logits = self.model.network(batch.tensor)
            return self._row(item, batch, logits, 1)

    def explain(
        self,
        scan: Any,
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
        target: int | str | None = None,
        atlas: str | None = "builtin",
        accept_unfit: bool = False,
        against: str | None = None,
        **more: Any,
    ) -> Explanation:
        """Explain one scan.

        Parameters
        ----------
        scan : path_like, nibabel image or MetaTensor
            The scan.
        method, options : optional
            As for `neuroxai.attribution.create`; the bundle's own by default (of hidden layers, its own for these).
        target : int or str, optional
            A class's name or index, or ``"predicted"``; the second class by default.
        atlas : str or None
            Name or path of an atlas for region scores; None for none.
        accept_unfit : bool
            Answer for a scan that is far from the training scans too; its prediction says so.
        against : {"controls"}, optional
            Hold the scan against the bundle's reference of controls (`neuroxai bundle controls`), by integrated
            gradients from its healthy twin if no method is named.
        **more
            Further options of an explanation (`neuroxai.explain.ExplainOptions`): start, labels, score_space, ...

        Raises
        ------
        InputError
            If the scan cannot be used, or method, class or atlas are unknown.
        UnfitError
            If it is far from the training scans.
        """
        with self._lock, GivenScan(scan) as given:
            hidden = more.get("layer") is not None or more.get("conditions")
            model = self.model
            default = model.hidden_defaults if hidden else model.defaults
            settings = dict(options or {})
            if against is not None:
                chosen_against = against_controls(against, settings, method)
                method, settings = chosen_against["method"], chosen_against["options"]
            elif method is None:
                settings = {**default.options, **settings}
            elif method == default.method:
                settings = settings or dict(default.options)
            own = {"start": default.start} if method in (None, default.method) else {}
            asked = {**own, **more, "method": method or default.method, "options": settings}
            chosen = ExplainOptions.of({**asked, "target": target, "atlas": atlas, "accept_unfit": accept_unfit})
            return self._explained(given, chosen.for_classes(model.classes))

    def _explained(self, given: GivenScan, options: ExplainOptions) -> Explanation:
        model = self.model
        item, batch = self._prepared(given.path, options.accept_unfit)
        attributor, scores = self._built(batch.space, options)
        try:
            found = attributor(batch.tensor, model.network)
        except Exception as error:
            known = ours(error)
            if known is None:
                raise
            raise known from None
        options = replace(options, start=attributor.start)
        row = self._row(item, batch, found.logits, found.target)
        heatmap = Volume(found.heatmap.float()[0, 0].cpu().numpy(), batch.space)
        back = native_of(given.path)
        run = options.run(str(model.checkpoint), model.name, batch.space)
        return Explanation(
            prediction=row,
            target=model.classes[int(found.target[0])],
            on_network=heatmap,
            on_scan=heatmap.resampled_to(batch.scan),
            on_scanner=None if back is None else back(heatmap),
            regions=None if scores is None else scores(found.heatmap.float(), [batch.scan])[0],
            run=run,
            scale=stored_scale(model.checkpoint.parent, scale_key(run)),
            _making=Making(model, options, batch.space, batch.scan, found, given),
        )

    def _prepared(self, scan: Path, accept_unfit: bool) -> tuple[dict[str, Any], Batch]:
        item = {**single_item(scan), **({"accept_unfit": True} if accept_unfit else {})}
        return item, self.model.prepared(item)

    def _row(self, item: Mapping[str, Any], batch: Batch, logits: torch.Tensor, target: Any) -> Prediction:
        classes = self.model.classes
        if logits.ndim != 2 or max(logits.shape[1], 2) != len(classes):
            raise InputError(
                f"{self.bundle.name}: the network put out {tuple(logits.shape)}, expected (1, {len(classes)}) logits; "
                "it is no classifier of whole scans, or its metadata name other classes"
            )
        columns = {"participant_id": item["participant_id"], "session_id": item["session_id"], **batch.fit}
        (row,) = prediction_rows({name: [value] for name, value in columns.items()}, logits, classes, target)
        return row

    def _built(self, space: Space, options: ExplainOptions) -> tuple[Attributor, Scores | None]:
        """Return what computes heatmap and scores with these settings; the last few stay built."""
        atlas = options.atlas
        if atlas is not None and atlas != "builtin" and is_name(atlas):
            find(atlas)
        key = repr((options, space.shape, space.affine.tobytes()))
        if key not in self._kept:
            scores = None if atlas is None else Scores(atlas, options.labels, space, options.score_space)
            regions = None
            if attribution.takes_regions(options.method) or attribution.takes_baselines(options.method):
                regions = (scores or Scores("builtin", None, space)).scorers.atlas.resampled_to(space)  # type: ignore[union-attr]
            controls = partial(load_controls, self.model.checkpoint, space)
            self._kept[key] = Attributor(options, regions, controls), scores
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]


def open_bundle(path: str | os.PathLike[str], device: str = "auto") -> OpenBundle:
    """Open a trained bundle for prediction and explanation.

    Parameters
    ----------
    path : path_like
        The bundle's folder.
    device : str
        "auto", "cpu", "cuda".

    Raises
    ------
    InputError
        If it is no trained bundle of a 3D classifier; the message says what is missing.

    Examples
    --------
    >>> import neuroxai
    >>> bundle = neuroxai.open_bundle("bundle")  # doctest: +SKIP
    >>> found = bundle.explain("scan.nii.gz", method="lrp_alpha_beta")  # doctest: +SKIP
    >>> found.probabilities, found.regions.nlargest(3, "sum")  # doctest: +SKIP
    """
    opened = OpenBundle(path, device)
    assert opened.model  # refused now, not with the first scan
    return opened
