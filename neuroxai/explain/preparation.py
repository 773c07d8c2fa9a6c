"""How a scan as the scanner left it is prepared for a trained bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuroxai.errors import InputError
from neuroxai.explain.bundle import classifier_metadata, modality_of
from neuroxai.explain.weights import read_record, recorded_space
from neuroxai.io import read_object
from neuroxai.preprocess.options import SCALINGS, PrepareOptions, choose
from neuroxai.space import Space, mni152


def preparation(bundle: Path, arm: str = "linear") -> PrepareOptions:
    """Return the options of `neuroxai prepare` that suit a bundle: its network's voxel size and kind of scan.

    Parameters
    ----------
    bundle : Path
        A trained bundle.
    arm : str
        How the scan is registered.

    Raises
    ------
    InputError
        If the bundle is none of a classifier, or the arm is unknown.
    """
    metadata: dict[str, Any] = classifier_metadata(bundle)
    space: Space = recorded_space(read_record(str(bundle / "models" / "model.pt")), mni152(2.0))
    return choose(arm=arm, spacing=round(min(space.spacing), 3), modality=modality_of(metadata))


def choices_for(bundle: Path) -> dict[str, Any]:
    """Return what a bundle asks of prepared scans: voxel size, kind of scan, intensities; it need not be trained.

    Where it is trained, its record says so; else the grid of its metadata, and the default of its training.

    Parameters
    ----------
    bundle : Path
        The bundle's folder.

    Returns
    -------
    dict
        ``spacing`` in mm, ``modality`` and, where the bundle names one of `neuroxai.preprocess`, ``scaling``.

    Raises
    ------
    InputError
        If it is no bundle, or its grid is none of `neuroxai.space.mni152`.
    """
    metadata = read_object(bundle / "configs" / "metadata.json", "bundle's metadata", {"network_data_format": dict})
    record = read_record(str(bundle / "models" / "model.pt"))
    training = bundle / "configs" / "train.json"
    defaults = read_object(training, "configuration of a bundle") if training.is_file() else {}
    try:
        image = next(iter(metadata["network_data_format"]["inputs"].values()))
        shape = tuple(int(size) for size in image["spatial_shape"])
    except (LookupError, TypeError, ValueError, StopIteration, AttributeError) as error:
        raise InputError(f"{bundle}: metadata.json lacks network_data_format ({error!r}); restore it") from None
    trained = round(min(recorded_space(record, mni152(2.0)).spacing), 3) if "space" in record else None
    spacing = _spacing_of(shape) if trained is None else trained
    if spacing is None:
        raise InputError(
            f"{bundle}: takes a grid of {shape}, which is none of MNI152 at 0.5 to 8 mm; choose --spacing yourself, "
            "without --for"
        )
    scaling = (record.get("settings") or defaults).get("normalisation")
    return {
        "spacing": spacing,
        "modality": modality_of(metadata),
        **({"scaling": scaling} if scaling in SCALINGS else {}),
    }


def _spacing_of(shape: tuple[int, ...]) -> float | None:
    """Voxel size in mm of the package's grid of this shape, the simplest one."""
    sizes = sorted((n / 4 for n in range(2, 33)), key=lambda mm: (mm % 1 > 0, mm))
    return next((mm for mm in sizes if mni152(mm).shape == shape), None)
