"""What precedes the registration arms: finding the brain, aligning FLAIR to its T1w, the template's white matter."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from neuroxai.preprocess.engine import Engine
from neuroxai.preprocess.head import Head, by_template
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume

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


@lru_cache(maxsize=1)
def white_matter_prior() -> Volume:
    """Return the white matter of the MNI152 template that nilearn carries, 2 mm."""
    from nilearn import datasets

    image = datasets.load_mni152_wm_template(resolution=2)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), Space(image.shape, image.affine))
