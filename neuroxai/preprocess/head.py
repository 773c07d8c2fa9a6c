"""A scan on its way: bias field corrected, and the brain where it is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.preprocess import extraction
from neuroxai.preprocess.engine import Engine
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.template import Template
from neuroxai.space import Volume

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
                f"the brain found ({how}) has {volume:.0f} ml, wanted {LEAST_BRAIN_ML:g} to {MOST_BRAIN_ML:g} ml; is "
                "this a scan of a whole head? Give the brain with --mask, or choose another --brain"
            )
        return replace(self, brain=brain, how=how)


def head_of(
    scan: Volume,
    options: PrepareOptions,
    engine: Engine,
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
    engine : Engine
        What corrects the bias field.
    mask : ndarray of bool, optional
        The user's own brain mask.
    extract : bool
        False: the brain will come from elsewhere.
    """
    head = Head(scan)
    if mask is not None:
        head = head.with_brain(mask, "given")
    elif extraction.is_skull_stripped(scan):
        head = head.with_brain(scan.data > scan.data.min(), "stripped")
    elif extract and options.brain in ("auto", "deepbet", "none") and _deepbet(options.brain):
        head = head.with_brain(extraction.extract_brain(scan).data, "deepbet")
    if not options.bias_correction:
        return head
    where = head.brain if head.brain is not None else scan.data > scan.data.mean()
    return replace(head, scan=Volume(scan.data / engine.bias_field(scan, where), scan.space))


def by_template(head: Head, mapping: Mapping, template: Template) -> Head:
    """Take the brain from the template through a registration."""
    return head.with_brain(extraction.mask_by_registration(template, mapping, head.scan.space).data, "template")


def _deepbet(asked: str) -> bool:
    there = extraction.deepbet_available()
    if asked == "deepbet" and not there:
        raise InputError("deepbet is not installed; run `pip install 'neuroxai[brain]'`, or choose --brain template")
    return there
