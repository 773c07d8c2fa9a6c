"""Where is the brain? Given, in a scan without a skull, found by deepbet, or the template's by registration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.preprocess.bias import bias_field
from neuroxai.preprocess.intensity import is_skull_stripped
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.registration import Engine
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume

LEAST_BRAIN_ML, MOST_BRAIN_ML = 400.0, 2800.0
"""What a mask of a brain can hold, in ml; outside of it the extraction has failed."""


@dataclass(frozen=True, eq=False)
class Head:
    """A corrected scan and its brain.

    Parameters
    ----------
    scan : Volume
        Intensities on the scan's own grid.
    brain : ndarray of bool or None
        The brain, where it is known.
    how : {"given", "stripped", "deepbet", "template", ""}
        Where the brain comes from.
    """

    scan: Volume
    brain: NDArray[np.bool_] | None = None
    how: str = ""

    @property
    def mask(self) -> Volume:
        """The brain on the scan's grid.

        Raises
        ------
        InputError
            If it is unknown.
        """
        if self.brain is None:
            raise InputError("the brain of this scan is unknown; give it with --mask")
        return Volume(self.brain, self.scan.space)

    @property
    def extracted(self) -> Volume:
        """The scan with 0 outside the brain; the whole scan where the brain is unknown."""
        if self.brain is None:
            return self.scan
        return Volume(np.where(self.brain, self.scan.data, np.float32(0.0)), self.scan.space)

    def with_brain(self, brain: NDArray[np.bool_], how: str) -> Head:
        """Return the head with its brain found.

        Raises
        ------
        InputError
            If that cannot be a brain.
        """
        volume = float(brain.sum()) * self.scan.space.voxel_volume / 1000.0
        if not LEAST_BRAIN_ML <= volume <= MOST_BRAIN_ML:
            raise InputError(
                f"the brain found ({how}) has {volume:.0f} ml, expected {LEAST_BRAIN_ML:g} to {MOST_BRAIN_ML:g} ml; is "
                "this a scan of a whole head? Give the brain with --mask, or choose another --brain"
            )
        return replace(self, brain=brain, how=how)


def head_of(
    scan: Volume,
    options: PrepareOptions,
    mask: NDArray[np.bool_] | None = None,
    extract: bool = True,
) -> Head:
    """Find a scan's brain, as far as no registration is needed for it, and correct its bias field.

    Parameters
    ----------
    scan : Volume
        As it came from the scanner.
    options : PrepareOptions
        The run's choices.
    mask : ndarray of bool, optional
        The user's own brain mask.
    extract : bool
        False: the brain will come from elsewhere.
    """
    head = Head(scan)
    if mask is not None:
        head = head.with_brain(mask, "given")
    elif is_skull_stripped(scan):
        head = head.with_brain(scan.data > scan.data.min(), "stripped")
    elif extract and options.brain in ("auto", "deepbet", "none") and _deepbet(options.brain):
        head = head.with_brain(extract_brain(scan).data, "deepbet")
    if not options.bias_correction:
        return head
    where = head.brain if head.brain is not None else scan.data > scan.data.mean()
    return replace(head, scan=Volume(scan.data / bias_field(scan, where), scan.space))


def by_template(head: Head, mapping: Mapping, template: Template) -> Head:
    """Take the brain from the template through a registration."""
    return head.with_brain(mask_by_registration(template, mapping, head.scan.space).data, "template")


def _deepbet(asked: str) -> bool:
    there = deepbet_available()
    if asked == "deepbet" and not there:
        raise InputError("deepbet is not installed; run `pip install 'neuroxai[brain]'`, or choose --brain template")
    return there


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


RIM = 6.0
"""Millimetres around the template's brain that count where the scan still has its skull."""


def located(head: Head, template: Template, engine: Engine, seed: int) -> Head:
    """Find the brain by registration where nothing else has found it.

    The head is registered with its skull, judged within the template's brain and a rim around it; the template's mask
    then shows the brain.
    """
    if head.brain is not None:
        return head
    rough = engine.affine(template.t1, head.scan, seed=seed, fixed_mask=_rim(template.brain))
    return by_template(head, Mapping(rough), template)


def align(head: Head, partner: Head, engine: Engine, seed: int) -> tuple[Head, NDArray[np.float64]]:
    """Align a scan to another of the same person, and take over its brain where the scan's own is unknown.

    Returns
    -------
    (Head, ndarray of shape (4, 4))
        The scan with its brain, and the matrix from the partner's world points to the scan's.
    """
    matrix = engine.rigid(partner.extracted, head.extracted, seed=seed)
    if head.brain is None and partner.brain is not None:
        brain = Mapping(matrix).carry_back(
            Volume(partner.brain.astype(np.float32), partner.scan.space), head.scan.space
        )
        head = head.with_brain(brain.data >= 0.5, partner.how)
    return head, matrix


def _rim(brain: Volume) -> Volume:
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~brain.data.astype(bool), sampling=brain.space.spacing)
    return Volume(np.asarray(distance) <= RIM, brain.space)
