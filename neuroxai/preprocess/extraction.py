"""Where is the brain? By deepbet's network, or by the template's mask through a registration."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from neuroxai.errors import InputError
from neuroxai.preprocess.background import is_skull_stripped
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume

__all__ = ["deepbet_available", "extract_brain", "is_skull_stripped", "mask_by_registration"]


class Carrier(Protocol):
    """The way between template and scan."""

    def carry_back(self, prepared: Volume, native: Space) -> Volume:
        """Bring a picture from the template's world to a native grid."""
        ...


def deepbet_available() -> bool:
    """Tell whether deepbet is installed."""
    return find_spec("deepbet") is not None


def extract_brain(scan: Volume) -> Volume:
    """Mask the brain by deepbet (Fisch 2024), on the processor.

    The network was trained on T1-weighted heads of adults; it proved right on FLAIR, too. It sees the scan with its
    axes turned to RAS, so the mask does not depend on how the voxels are stored.

    Parameters
    ----------
    scan : Volume
        A head, in any orientation.

    Returns
    -------
    Volume
        Truth values on the scan's grid: one piece without holes.

    Raises
    ------
    InputError
        If deepbet is not installed, or finds no brain.
    """
    if not deepbet_available():
        raise InputError("deepbet is not installed; run `pip install 'neuroxai[brain]'`, or give a brain mask")
    turned = scan.reoriented("RAS")
    network = _network()
    try:
        likely = network.run_model(np.array(turned.data, dtype=np.float32))
        mask = np.asarray(network.postprocess(likely > 0.5), dtype=bool)
    except (AssertionError, ValueError):
        # deepbet's own checks for nothing found, and the largest piece of none
        mask = np.zeros(turned.space.shape, dtype=bool)
    if not mask.any():
        raise InputError("deepbet found no brain in the scan; look at it, or give a brain mask")
    return Volume(mask, turned.space).reoriented(scan.space.orientation)


def mask_by_registration(template: Template, mapping: Carrier, space: Space) -> Volume:
    """Carry the template's brain mask to a scan.

    Parameters
    ----------
    template : Template
        What the scan is registered to.
    mapping : Mapping
        The way between them (`neuroxai.preprocess.mapping`); anything with its ``carry_back``.
    space : Space
        The scan's grid.

    Returns
    -------
    Volume
        Truth values: voxels of which half or more belongs to the brain.
    """
    share = mapping.carry_back(Volume(template.brain.data.astype(np.float32), template.brain.space), space)
    return Volume(share.data >= 0.5, space)


@lru_cache(maxsize=1)
def _network() -> Any:
    from deepbet import BrainExtraction

    return BrainExtraction(no_gpu=True)
