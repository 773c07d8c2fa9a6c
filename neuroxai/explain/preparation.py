"""How a scan as the scanner left it is prepared for a trained bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from neuroxai.explain.bundle import classifier_metadata, modality_of
from neuroxai.explain.weights import read_record, recorded_space
from neuroxai.preprocess import PrepareOptions, choose
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
