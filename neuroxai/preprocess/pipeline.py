"""One scan from the scanner's grid to a network's: the steps in their order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.preprocess.brain import Head, align, by_template, head_of, located
from neuroxai.preprocess.intensity import scale
from neuroxai.preprocess.lesions import fill_lesions, white_matter, white_matter_prior
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.options import PrepareOptions
from neuroxai.preprocess.registration import Engine
from neuroxai.preprocess.sources import Source, header_flagged, read_mask, read_scan
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
    unfilled : Volume or None
        Where lesions were filled: the corrected scan before.
    acquisition : dict
        What the record says: where the brain comes from, whether a T1w scan took part, the series' acquisition.
    """

    image: Volume
    mask: Volume
    scan: Volume
    head: Head
    mapping: Mapping
    lesions: Volume | None = None
    unfilled: Volume | None = None
    acquisition: dict[str, Any] = field(default_factory=dict)

    @property
    def native_brain(self) -> Volume:
        """The brain on the scan's own grid."""
        return self.head.mask


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
        What registers.
    template : Template
        What is registered to.
    grid : Space
        The target grid.

    Raises
    ------
    InputError, SpaceError
        If the scan or a mask cannot be used.
    """
    with header_flagged():
        scan, acquisition = read_scan(source.scan, source.series)
    mask = None if source.mask is None else read_mask(source.mask, scan.space, "brain mask").data
    lesions = None if source.lesions is None else read_mask(source.lesions, scan.space, "lesion mask", True)
    by_t1w = source.t1w is not None and options.arm != "none"
    head = head_of(scan, options, mask, extract=not by_t1w)
    anatomy, to_scan = head, np.eye(4)
    if by_t1w and source.t1w is not None:
        anatomy = head_of(read_scan(source.t1w)[0], options)
    anatomy = located(anatomy, template, engine, options.seed)
    if by_t1w:
        head, to_scan = align(head, anatomy, engine, options.seed)
    else:
        head = anatomy
    _check_lesions(lesions, head)
    needed = options.arm != "none" or (lesions is not None and lesions.data.any())
    linear = Mapping(engine.affine(template.t1, anatomy.extracted, seed=options.seed) if needed else np.eye(4))
    unfilled = head.scan
    head = _filled(head, lesions, linear.compose(to_scan), options)
    anatomy = anatomy if by_t1w else head
    if options.arm == "none":
        mapping = Mapping(centring(scan.space, grid, head.brain if options.centre == "brain" else None))
    else:
        mapping = linear
        if options.arm == "nonlinear":
            warps = engine.deformable(template.t1, anatomy.extracted, linear.affine, seed=options.seed)
            mapping = Mapping(linear.affine, *warps)
        mapping = mapping.compose(to_scan)
        if head.how == "template":  # the last registration knows best
            head = by_template(head, mapping, template)
    acquisition |= {"BrainFrom": head.how, "ByT1w": by_t1w}
    prepared = _on_grid(scan, head, mapping, lesions, options, grid, acquisition)
    return prepared if head.scan is unfilled else replace(prepared, unfilled=unfilled)


def _check_lesions(lesions: Volume | None, head: Head) -> None:
    if lesions is None or head.brain is None or not lesions.data.any():
        return
    if not (lesions.data & head.brain).any():
        raise InputError(
            f"no voxel of the lesion mask ({int(lesions.data.sum())}) lies in the brain; is it the mask of this scan?"
        )


def _filled(head: Head, lesions: Volume | None, mapping: Mapping, options: PrepareOptions) -> Head:
    """Fill lesions with intensities of the scan's own white matter, looked for where the template has it."""
    if lesions is None or not lesions.data.any() or head.brain is None:
        return head
    prior = mapping.carry_back(white_matter_prior(), head.scan.space)
    white = white_matter(head.scan, head.mask, prior, options.modality)
    return replace(head, scan=fill_lesions(head.scan, lesions, white, options.seed, options.filling))


def _on_grid(
    scan: Volume,
    head: Head,
    mapping: Mapping,
    lesions: Volume | None,
    options: PrepareOptions,
    grid: Space,
    acquisition: dict[str, Any],
) -> Prepared:
    def carried(mask: Volume) -> Volume:
        share = mapping.carry(Volume(mask.data.astype(np.float32), mask.space), grid)
        return Volume(share.data >= 0.5, grid)

    brain = carried(head.mask)
    if not brain.data.any():
        raise InputError("no part of the brain lies on the network's grid; look at the scan's header and orientation")
    image = mapping.carry(head.scan, grid)
    where = brain.data if options.brain != "none" else np.ones_like(brain.data)
    image = Volume(scale(image.data, where, options.scaling), grid)
    return Prepared(
        image, brain, scan, head, mapping, carried(lesions) if lesions is not None else None, acquisition=acquisition
    )


def centring(native: Space, grid: Space, brain: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return the rigid matrix that takes the grid's world points to the scan's, middle onto middle.

    The grid's axes follow the scan's own, so that an oblique scan is not turned and nothing is interpolated but for the
    voxel size; where that is the same along an axis, the shift is a whole number of voxels.

    Parameters
    ----------
    native : Space
        The scan's grid.
    grid : Space
        The target grid, axes along the world's (RAS).
    brain : ndarray of bool, shape ``native.shape``, optional
        What comes into the middle: its bounding box; without it the field of view.

    Returns
    -------
    ndarray, shape (4, 4)
    """
    ordered = native.reoriented("RAS")
    centre = (np.array(ordered.shape) - 1) / 2
    if brain is not None:
        from neuroxai.space import Volume

        voxels = np.argwhere(Volume(brain, native).reoriented("RAS").data)
        centre = (voxels.min(0) + voxels.max(0)) / 2
    middle = (np.array(grid.shape) - 1) / 2
    same = np.abs(np.array(ordered.spacing) - grid.spacing) < 1e-3
    centre = np.where(same, middle + np.rint(centre - middle), centre)
    turn = ordered.affine[:3, :3] / ordered.spacing
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = ordered.world(centre) - turn @ grid.world(middle)
    return matrix
