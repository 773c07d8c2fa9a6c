"""A reference as a small JSON file that ships with a bundle; no code in it, nothing about a single person in the clear.

The controls' identifiers are salted digests, and their deviations are sorted within each region, so that no row of the
file is a person. Who knows an identifier can still ask whether it is among them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, one_of
from neuroxai.io import read_json, write_json
from neuroxai.statistics.design import SCALES, Design
from neuroxai.statistics.reference import Reference

FORMAT = "neuroxai reference"
_VERSIONS = (1, 2)  # 2: some regions of a reference of logarithms are linear, which readers of 1 would not see


def write_reference(path: str | os.PathLike[str], reference: Reference) -> Path:
    """Write a reference; deviations keep 7 significant digits, everything else is exact."""
    design = reference.design
    return write_json(
        path,
        {
            "format": FORMAT,
            "version": _VERSIONS[bool(reference.linear)],
            "measure": reference.measure,
            "scale": reference.scale,
            "facts": dict(reference.provenance),
            "controls": reference.controls,
            "adjusted": list(design.adjusted),
            "age_mean": design.age_mean,
            "age_range": list(design.age_range) if design.age_range else None,
            "sexes": list(design.sexes),
            "false_alarms": reference.false_alarms,
            "salt": reference.salt,
            "members": sorted(reference.members),
            "inverse": reference.inverse.tolist(),
            "regions": [
                {
                    "name": name,
                    **({"scale": "linear"} if name in reference.linear else {}),
                    "coefficients": _plain(reference.coefficients[:, k]),
                    "sd": _plain(reference.sd[k : k + 1])[0],
                    "ordered": [None if v is None else float(f"{v:.7g}") for v in _plain(reference.ordered[:, k])],
                }
                for k, name in enumerate(reference.regions)
            ],
        },
    )


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read a reference.

    Raises
    ------
    InputError
        If the file is absent, is no reference, is of another version, or is damaged.
    """
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(f"{path}: is no reference; make one with `neuroxai compare ... --save-reference FILE`")
    if record.get("version") not in _VERSIONS:
        raise InputError(f"{path}: version {record.get('version')} of the format, expected 1 or 2; make it again")
    try:
        regions = record["regions"]
        ages = record["age_range"]
        reference = Reference(
            regions=tuple(str(region["name"]) for region in regions),
            measure=str(record["measure"]),
            provenance=dict(record["facts"]),
            design=Design(
                None if record["age_mean"] is None else float(record["age_mean"]),
                None if ages is None else (float(ages[0]), float(ages[1])),
                tuple(str(sex) for sex in record["sexes"]),
            ),
            controls=int(record["controls"]),
            members=frozenset(str(member) for member in record["members"]),
            coefficients=_numbers([region["coefficients"] for region in regions]).T,
            sd=_numbers([region["sd"] for region in regions]),
            inverse=_numbers(record["inverse"]),
            ordered=_numbers([region["ordered"] for region in regions]).T,
            false_alarms=float(record["false_alarms"]),
            salt=str(record["salt"]),
            # files from before there were scales
            scale=record.get("scale", "linear"),
            linear=frozenset(str(region["name"]) for region in regions if region.get("scale") == "linear"),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: is damaged ({type(error).__name__}: {error}); make the reference again") from None
    if reference.scale not in SCALES:
        raise one_of(f"{path}: scale", reference.scale, SCALES)
    width, count = reference.design.width, len(reference.regions)
    shapes = [reference.coefficients.shape, reference.inverse.shape, reference.ordered.shape[1:]]
    if shapes != [(width, count), (width, width), (count,)] or len(set(reference.regions)) != count or not count:
        raise InputError(f"{path}: is damaged (its tables do not fit each other); make the reference again")
    return reference


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _numbers(values: Any) -> NDArray[np.float64]:
    """Nested lists to float64; null is NaN."""
    return np.array(values, dtype=np.float64)
