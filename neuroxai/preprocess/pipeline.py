"""One scan from the scanner's grid to a network's: the steps in their order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neuroxai.errors import InputError
from neuroxai.preprocess.centring import centring
from neuroxai.preprocess.engine import Engine
from neuroxai.preprocess.head import Head, by_template, head_of
from neuroxai.preprocess.intensity import scale
from neuroxai.preprocess.lesion_filling import fill_lesions, white_matter
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.reading import read_mask, read_scan
from neuroxai.preprocess.registration import align, located, register
from neuroxai.preprocess.sources import Source
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume


@dataclass(frozen=True, eq=False)
class Prepared:
    """A prepared scan with all that was found on the way.

    Parameters
    ----------
    image, mask : Volume
        Scaled intensities (0 outside the brain) and the brain, on the network's grid.
    scan : Volume
        The scan as it was read.
    head : Head
        The scan with bias field corrected and lesions filled, and its brain, on its own grid.
    mapping : Mapping
        Between the two grids.
    lesions : Volume or None
        Mask of lesions on the network's grid.
    facts : dict
        What the record tells: where the brain comes from, whether a T1w scan took part, the series' acquisition.
    """

    image: Volume
    mask: Volume
    scan: Volume
    head: Head
    mapping: Mapping
    lesions: Volume | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def native_brain(self) -> Volume:
        """The brain on the scan's own grid."""
        if self.head.brain is None:
            raise ValueError("a prepared scan has its brain")
        return Volume(self.head.brain, self.head.scan.space)


def prepare_scan(source: Source, options: PrepareOptions, engine: Engine, template: Template, grid: Space) -> Prepared:
    """Prepare one scan.

    Brain, bias field, filling of lesions, registration (FLAIR by way of its T1w), one interpolation onto the grid,
    brain extraction, scaling.

    Parameters
    ----------
    source : Source
        The scan's files.
    options : PrepareOptions
        The run's choices.
    engine : Engine
        What corrects the bias field and registers.
    template : Template
        What is registered to.
    grid : Space
        The grid wanted.

    Raises
    ------
    InputError, SpaceError
        If the scan or a mask cannot be used.
    """
    scan, facts = read_scan(source.scan, source.series)
    mask = None if source.mask is None else read_mask(source.mask, scan.space, "brain mask").data
    lesions = None if source.lesions is None else read_mask(source.lesions, scan.space, "lesion mask", True)
    by_t1w = source.t1w is not None and options.arm != "none"
    head = head_of(scan, options, engine, mask, extract=not by_t1w)
    to_scan = np.eye(4)
    if by_t1w and source.t1w is not None:
        anatomy = located(head_of(read_scan(source.t1w)[0], options, engine), template, engine, options.seed)
        head, to_scan = align(head, anatomy, engine, options.seed)
        head = _filled(head, lesions, options)
    else:
        anatomy = head = _filled(located(head, template, engine, options.seed), lesions, options)
    if options.arm == "none":
        mapping = Mapping(centring(scan.space, grid, head.brain if options.centre == "brain" else None), None, None)
    else:
        anatomy, mapping = register(anatomy, template, engine, options.arm, options.seed)
        mapping = Mapping(to_scan @ mapping.affine, mapping.warp, mapping.inverse_warp)
        if head.how == "template":  # the last registration knows best
            head = anatomy if not by_t1w else by_template(head, mapping, template)
    facts |= {"BrainFrom": head.how, "ByT1w": by_t1w}
    return _on_grid(scan, head, mapping, lesions, options, grid, facts)


def _filled(head: Head, lesions: Volume | None, options: PrepareOptions) -> Head:
    """Fill lesions with the intensities of white matter, found in the scan itself."""
    if lesions is None or not lesions.data.any():
        return head
    brain = Volume(head.brain, head.scan.space)
    white = white_matter(head.scan, brain, modality=options.modality)
    filled = fill_lesions(head.scan, lesions, white, seed=options.seed, variant=options.filling)
    return replace(head, scan=filled)


def _on_grid(
    scan: Volume,
    head: Head,
    mapping: Mapping,
    lesions: Volume | None,
    options: PrepareOptions,
    grid: Space,
    facts: dict[str, Any],
) -> Prepared:
    def carried(mask: Volume) -> Volume:
        share = mapping.carry(Volume(mask.data.astype(np.float32), mask.space), grid)
        return Volume(share.data >= 0.5, grid)

    brain = carried(Volume(head.brain, head.scan.space))
    if not brain.data.any():
        raise InputError("no part of the brain lies on the network's grid; look at the scan's header and orientation")
    image = mapping.carry(head.scan, grid)
    where = brain.data if options.brain != "none" else np.ones_like(brain.data)
    image = Volume(scale(image.data, where, options.scaling), grid)
    return Prepared(image, brain, scan, head, mapping, carried(lesions) if lesions is not None else None, facts)
