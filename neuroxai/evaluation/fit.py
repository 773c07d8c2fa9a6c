"""How a scan compares with those that a network was trained on.

A network answers whatever it is given. What training scans look like on the network's grid, after normalisation and
before augmentation, is kept as a `FitRecord` beside the weights; every later scan is measured in the same way.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.derivatives.predictions import FAR, FAR_FROM, FITS, NEARLY, NEARLY_FROM
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation.fit_measures import (
    MEASURES,
    QUANTILES,
    Array,
    CoarsePose,
    ScanSummary,
    block_of,
    from_linear,
    linear,
    measures_of,
    pose_of,
)

LEVELS = (FITS, NEARLY, FAR)

MOST_SCANS = 100  # training scans measured; more would hardly change medians and spreads
_FORMAT = 2
_LATER = {"contrast"}  # measures that records of format 1 do not have


@dataclass(frozen=True)
class Fit:
    """How a scan compares with the training scans.

    Parameters
    ----------
    level : {"fits", "nearly", "far"}
    distance : float
        Length of all deviations together, in standard deviations of the training scans.
    unlike : tuple of str
        What is unlike, worst first; empty where the scan fits.
    measures : mapping of str to float
        The figures.
    """

    level: str
    distance: float
    unlike: tuple[str, ...]
    measures: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class FitRecord:
    """What the scans that a network was trained on look like.

    Parameters
    ----------
    scans : int
        How many were measured.
    shape : tuple of int
        The network's grid.
    spacing : tuple of float
        Its voxels' size in mm.
    presence, image : ndarray
        Share of voxels that are not 0 and mean intensity of each block, over the scans.
    quantiles : ndarray
        Mean quantiles of the intensities that are not 0.
    centre, spread : mapping of str to float
        Median and standard deviation of each measure, each scan against the others.
    """

    scans: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    presence: Array
    image: Array
    quantiles: NDArray[np.float64]
    centre: Mapping[str, float]
    spread: Mapping[str, float]

    @classmethod
    def of(cls, scans: Sequence[ScanSummary], spacing: Sequence[float]) -> FitRecord:
        """Describe training scans.

        Raises
        ------
        InputError
            If there are fewer than two.
        """
        number = len(scans)
        if number < 2:
            raise InputError(f"what fits is learnt from training scans: got {number}, expected 2 or more")
        presence = np.mean([one.presence for one in scans], axis=0, dtype=np.float64)
        image = np.mean([one.image for one in scans], axis=0, dtype=np.float64)
        quantiles = np.mean([one.quantiles for one in scans], axis=0)
        maps: tuple[Array, Array] = np.asarray(presence, np.float32), np.asarray(image, np.float32)
        pose = pose_of(*maps, spacing)
        # each scan against the mean of the others: against a mean that holds itself any scan looks well
        share = 1 / (number - 1)
        table = [
            measures_of(
                one,
                presence + (presence - one.presence) * share,
                image + (image - one.image) * share,
                quantiles + (quantiles - one.quantiles) * share,
                pose,
            )
            for one in scans
        ]
        centre, spread = {}, {}
        for name, measure in MEASURES.items():
            values = np.array([linear(name, row[name]) for row in table])
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
            width = max(middle - low if measure.side <= 0 else 0, high - middle if measure.side >= 0 else 0) / 1.645
            centre[name] = float(middle)
            spread[name] = max(float(width), measure.least) * (1 + 2 / number)
        return cls(number, scans[0].shape, tuple(map(float, spacing)), *maps, quantiles, centre, spread)

    @cached_property
    def _pose(self) -> CoarsePose:
        return pose_of(self.presence, self.image, self.spacing)

    def compare(self, scan: ScanSummary) -> Fit:
        """Compare a scan with the training scans.

        Raises
        ------
        SpaceError
            If it is on another grid.
        """
        if scan.shape != self.shape:
            raise SpaceError(f"the scan is on a grid of {scan.shape} voxels, the training scans on {self.shape}")
        measures = measures_of(scan, self.presence, self.image, self.quantiles, self._pose)
        beyond = {}
        for name in self.centre:
            measure = MEASURES[name]
            deviation = (linear(name, measures[name]) - self.centre[name]) / self.spread[name]
            beyond[name] = abs(deviation) if measure.side == 0 else max(0.0, measure.side * deviation)
        distance = math.sqrt(sum(value**2 for value in beyond.values()))
        level = FAR if distance >= FAR_FROM else NEARLY if distance >= NEARLY_FROM else FITS
        worst = sorted(beyond, key=lambda name: -beyond[name])[:3] if level != FITS else []
        unlike = tuple(
            MEASURES[name].text.format(value=measures[name], usual=from_linear(name, self.centre[name]))
            for name in worst
            if beyond[name] >= max(1.5, beyond[worst[0]] / 4)
        )
        return Fit(level, distance, unlike, measures)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the maps as compressed bytes of 8 bit."""
        return {
            "format": _FORMAT if self.centre.keys() == MEASURES.keys() else 1,
            "scans": self.scans,
            "shape": list(self.shape),
            "spacing": list(self.spacing),
            "presence": _packed(self.presence),
            "image": _packed(self.image),
            "quantiles": [float(f"{value:.6g}") for value in self.quantiles],
            "centre": {name: float(f"{value:.6g}") for name, value in self.centre.items()},
            "spread": {name: float(f"{value:.6g}") for name, value in self.spread.items()},
        }

    @classmethod
    def from_dict(cls, values: Any) -> FitRecord:
        """Rebuild a record from `to_dict`.

        Raises
        ------
        InputError
            If it is none, or of a later version.
        """
        try:
            if values["format"] not in (1, _FORMAT):
                raise InputError(
                    f"what training scans look like is kept in format {values['format']!r}, expected {_FORMAT} or 1; "
                    "update neuroxai, or train the bundle again"
                )
            shape, spacing = tuple(map(int, values["shape"])), tuple(map(float, values["spacing"]))
            names = [name for name in MEASURES if values["format"] > 1 or name not in _LATER]
            coarse = tuple(-(-n // size) for n, size in zip(shape, block_of(spacing), strict=True))
            return cls(
                int(values["scans"]),
                shape,
                spacing,
                _unpacked(values["presence"], coarse),
                _unpacked(values["image"], coarse),
                np.array([float(value) for value in values["quantiles"]]).reshape(QUANTILES.shape),
                {name: float(values["centre"][name]) for name in names},
                {name: float(values["spread"][name]) for name in names},
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError, zlib.error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"the bundle's record of what training scans look like is damaged ({error!r}); copy model.json again"
            ) from None


def _packed(values: Array) -> dict[str, Any]:
    low, high = float(values.min()), float(values.max())
    scaled = np.round((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
    return {"low": low, "high": high, "bytes": base64.b64encode(zlib.compress(scaled.tobytes(), 9)).decode("ascii")}


def _unpacked(values: Mapping[str, Any], shape: tuple[int, ...]) -> Array:
    # never more than the grid asks for, whatever a stranger's file unpacks to
    raw = zlib.decompressobj().decompress(base64.b64decode(values["bytes"], validate=True), math.prod(shape) + 1)
    scaled = np.frombuffer(raw, dtype=np.uint8).reshape(shape).astype(np.float32)
    low, high = float(values["low"]), float(values["high"])
    return np.asarray(low + scaled / 255 * (high - low), dtype=np.float32)
