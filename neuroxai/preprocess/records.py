"""What stands in a folder of prepared scans: names, the run's record, each scan's record, what is finished."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.derivatives.dataset import sources_of
from neuroxai.derivatives.prepared import transform_name
from neuroxai.io.dicom import series_digest
from neuroxai.io.names import BidsName, resolution_label
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.registration import Engine
from neuroxai.preprocess.sources import Source

GENERATOR = "neuroxai prepare"


def space_label(arm: str) -> str:
    """Return the label of the prepared scans' space: without registration they lie on the grid, not on the brain."""
    return "centred" if arm == "none" else "MNI152"


def output_files(folder: Path, source: Source, options: PrepareOptions) -> dict[str, Path]:
    """Where a scan's results stand, by role; ``record`` is written last."""
    participant, session, space = source.participant_id, source.session_id or "", space_label(options.arm)
    grid = BidsName(participant, session, {"space": space, "res": resolution_label(options.spacing)}, "mask")
    scan = grid.replaced(options.modality, desc="brain" if options.brain != "none" else "head")
    names = {
        "scan": scan,
        "mask": grid.replaced(desc="brain"),
        "lesions": grid.replaced(label="lesion"),
        "native_mask": BidsName(participant, session, {"space": options.modality, "desc": "brain"}, "mask"),
        "record": scan.replaced(extension=".json"),
    }
    files = {role: io.inside(folder, name.place) for role, name in names.items()}
    # image first, target second: the warp's inverse goes the other way
    for role, kind, labels in (
        ("affine", "affine", (options.modality, space)),
        ("warp", "warp", (options.modality, space)),
        ("inverse_warp", "warp", (space, options.modality)),
    ):
        files[role] = io.inside(folder, transform_name(participant, session, *labels, kind))
    for role, what in (("figure", "quality"), ("filling", "filling")):
        name = BidsName(participant, session, {"desc": what}, options.modality, ".png")
        files[role] = io.inside(folder, f"figures/{name}")
    return files


def versions(options: PrepareOptions, engine: Engine) -> dict[str, str]:
    """Return the versions of what takes part in a preparation."""
    names = ["numpy", "scipy", "nibabel", "nilearn", engine.package]
    if options.brain in ("auto", "deepbet", "none"):
        names.append("deepbet")
    found = {"neuroxai": __version__, "python": platform.python_version()}
    return found | {name: version for name in names if (version := _version(name)) is not None}


@cache
def _version(package: str) -> str | None:
    """Return the version of an installed package: read once a process, not with each scan."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def claim(folder: Path, choices: dict[str, Any], cohort: Path | None = None) -> None:
    """Take a folder for prepared scans, see `neuroxai.io.claim`; where no scan came of other choices, they give way."""
    about = {
        "Name": "Prepared structural MRI",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        **sources_of(cohort),
    }
    io.claim(folder, GENERATOR, choices, about, "prepared cohort", begun=any(folder.glob("sub-*")))


def inputs_of(source: Source) -> dict[str, Any]:
    """Return the checksum of every file that a result depends on, by role, and how axes run where the user said it."""
    found: dict[str, Any] = {role: io.sha256(path) for role, path in sorted(source.files().items())}
    if source.dicom:
        found["scan"] = series_digest(source.scan, source.series)
    # the same file is another scan where the user says that its axes run otherwise
    given = {role: codes for role, path in source.files().items() if (codes := io.given_orientation(path))}
    return found | ({"orientation": given} if given else {})
