"""Whether a scan fits the network: measured after preprocessing, against the record that training left."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from neuroxai.derivatives.dataset import from_template
from neuroxai.derivatives.predictions import FAR, FAR_FROM, FIT_COLUMNS
from neuroxai.errors import NeuroxaiError, UnfitError
from neuroxai.evaluation.fit import Fit, FitRecord
from neuroxai.evaluation.fit_measures import ScanSummary, summarise
from neuroxai.preprocess.mapping import native_of

_log = logging.getLogger("neuroxai")

NOT_KNOWN = (
    "fit not known: this bundle keeps no record of what its training scans look like, so a scan that does not fit "
    "the network is not noticed; train the bundle again for one"
)
SIMULATED = "The network was trained on simulated scans, which no real scan looks like, prepared or not"


class FitCheckd(MapTransform):
    """Compare scans with those that the network was trained on, and refuse what is far from them.

    The level (``fit``), the distance (``fit_distance``) and what is unlike (``unlike``) are kept beside the image, for
    tables and reports; empty where the bundle has no record, which is said once.

    Parameters
    ----------
    keys : str or sequence of str
        Images as the network takes them: (1, x, y, z), after all preprocessing.
    record : mapping
        Of `neuroxai.components.read_record`.
    accept : bool
        Let scans through that are far from the training scans; they stay flagged. An item's own ``accept_unfit``
        goes before.

    Raises
    ------
    UnfitError
        Naming what is unlike, and the ways out.
    """

    def __init__(self, keys: KeysCollection, record: Mapping[str, Any], accept: bool = False) -> None:
        super().__init__(keys)
        self.record = dict(record.get("fit") or {})
        self.accept = accept
        self._simulated = record.get("simulated") is True
        self._known = FitRecord.from_dict(self.record) if self.record else None
        if self._known is None:
            _log.warning(NOT_KNOWN)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the comparison beside the image."""
        result = dict(data)
        accept = bool(result.pop("accept_unfit", self.accept))
        result.update(dict.fromkeys(FIT_COLUMNS, ""))
        if self._known is None:
            return result
        source = str(result.get("source", "scan"))
        for key in self.key_iterator(result):
            try:
                fit = self._known.compare(summary_of(result, str(key), self._known.spacing))
            except UnfitError as error:
                raise UnfitError(f"{source}: {error}") from None
            if fit.level == FAR and not accept:
                raise UnfitError(refusal(source, fit, self._simulated))
            result.update(fit=fit.level, fit_distance=f"{fit.distance:.3g}", unlike="; ".join(fit.unlike))
        return result


def refusal(source: str, fit: Fit, simulated: bool = False) -> str:
    """Say why a scan is refused, and the ways out; `simulated`: whether all training scans were."""
    if simulated and not from_template(Path(source)):
        way_out = f"{SIMULATED}: train it on scans like this one"
    elif _is_prepared(source):
        way_out = "It is prepared, so the network was trained on scans of another kind: train it on scans like this one"
    else:
        way_out = (
            "Prepare it as the training scans were: `neuroxai prepare`, or `neuroxai explain ... --prepare linear` on "
            "the way"
        )
    return (
        f"{source}: does not fit the network: {'; '.join(fit.unlike)}. Its distance from the training scans is "
        f"{fit.distance:.3g}, expected less than {FAR_FROM:g}. {way_out}; with `--accept-unfit` the network answers "
        "all the same, and the result stays flagged"
    )


def _is_prepared(source: str) -> bool:
    try:
        return native_of(source) is not None
    except NeuroxaiError:
        return True


def summary_of(item: Mapping[Any, Any], key: str, spacing: Sequence[float]) -> ScanSummary:
    """Measure an item after `NormaliseScand`."""
    scale, background = item.get("zero", (0.0, 0.0))
    zero = float(scale), float(background)
    return summarise(np.asarray(item[key][0]), spacing, float(item.get("plateaus", 0.0)), zero)
