"""What makes a folder of results a BIDS dataset: whose data it is of, shared sidecars, what BIDS has no name for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.errors import InputError
from neuroxai.io.names import BidsName

DESCRIPTION = "dataset_description.json"
EXPLAIN, PREDICT = "neuroxai explain", "neuroxai predict"
_NAMES = {EXPLAIN: "Explained decisions", PREDICT: "Predicted classes"}
IGNORED = (
    "*_heatmap.*",
    "*_regions.*",
    "*_logjacobian.*",
    "*_biasfield.*",
    "*_xfm.*",
    "*datalist*.json",
    "/explain*.json",
    "/failed.tsv",
    "/index.html",
    "/predictions.*",
    "/quality.*",
    "/regions.*",
    "figures",
    "group",
    "prepared",
    "report",
    "series",
)
"""Patterns of ``.bidsignore`` for all that the commands write and BIDS has no name for."""

TEMPLATE = "MNI152 template that comes with nilearn (ICBM 152, 2009a, nonlinear, symmetric)"
_REFERENCES = {
    "centred": "The scan's own, moved into the middle of a common grid; no registration",
    "orig": "orig",
}
_OWN = "The scan as it was given, on its own grid"
_MASKS = {"brain": "Brain", "lesion": "Lesion", "effect": "ROI"}


def sources_of(folder: Path | None) -> dict[str, Any]:
    """Return the entries of a description that say which folder the results were made from; none if it is unknown.

    >>> sources_of(Path("/data/bids"))
    {'SourceDatasets': [{'URL': 'file:///data/bids'}]}
    """
    return {} if folder is None else {"SourceDatasets": [{"URL": folder.resolve().as_uri()}]}


def from_template(scan: Path) -> bool:
    """Whether a scan was simulated in the template's anatomy, which no real scan looks like."""
    record = io.read_beside(scan)
    return record.get("Simulated") is True and "Source" not in record


def describe(folder: Path, source: Path | None, maker: str = EXPLAIN) -> None:
    """Write the description of explanations or predictions, and ``.bidsignore``; somebody else's is left alone.

    Parameters
    ----------
    folder : pathlib.Path
        Of the results; unlike those of other commands it takes results of several methods.
    source : pathlib.Path or None
        The cohort's folder.
    maker : str
        `EXPLAIN` or `PREDICT`.
    """
    path = folder / DESCRIPTION
    if not path.exists() or is_explained(path):
        about = {"Name": _NAMES[maker], "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
        made = {"GeneratedBy": [{"Name": maker, "Version": __version__}], **sources_of(source)}
        io.write_json(path, {**about, **made})
    complete(folder)


def is_explained(description: Path) -> bool:
    """Say whether `neuroxai explain` or `predict` has written a description."""
    try:
        return any(one["Name"] in _NAMES for one in io.read_json(description)["GeneratedBy"])
    except (InputError, KeyError, TypeError):
        return False


def complete(folder: Path, template: str = TEMPLATE) -> None:
    """Write ``.bidsignore``, and beside the participants the sidecars that images of one kind share.

    By BIDS' principle of inheritance ``space-MNI152_desc-brain_mask.json`` holds for every subject's image of these
    entities and this suffix. Lines that a person added to ``.bidsignore`` stay.

    Parameters
    ----------
    folder : pathlib.Path
        Of the results.
    template : str
        What images of space MNI152 are aligned to.
    """
    kinds: dict[str, tuple[BidsName, set[str]]] = {}
    for image in sorted(folder.glob("sub-*/**/anat/*.nii.gz")):
        name = BidsName.parse(image.name)
        if image.name.startswith(".") or name.suffix not in ("mask", "T1w", "FLAIR") or "space" not in name.entities:
            continue
        shared = BidsName("", "", {k: v for k, v in name.entities.items() if k != "res"}, name.suffix, ".json")
        kinds.setdefault(str(shared), (shared, set()))[1].update(filter(None, [name.entities.get("res")]))
    for file, (shared, resolutions) in kinds.items():
        io.write_json(folder / file, _sidecar(shared, resolutions, template))
    path = folder / ".bidsignore"
    there = path.read_text().splitlines() if path.is_file() else []
    if missing := [line for line in IGNORED if line not in there]:
        io.write_text(path, "\n".join([*there, *missing]) + "\n")


def _sidecar(image: BidsName, resolutions: set[str], template: str) -> dict[str, Any]:
    entities = image.entities
    reference = {"MNI152": template, **_REFERENCES}.get(str(entities["space"]), _OWN)
    values: dict[str, Any] = {"SpatialReference": reference}
    if resolutions:
        values["Resolution"] = {one: f"{one.replace('p', '.')} mm, isotropic" for one in sorted(resolutions)}
    if image.suffix == "mask":
        values["Type"] = _MASKS.get(str(entities.get("label") or entities.get("desc")), "ROI")
    return values
