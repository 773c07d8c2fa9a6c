"""Measures of a prepared scan's quality; what they mean is decided in `neuroxai.preprocess.qc.flags`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.deformation import Displacement, jacobian_determinant, sample, to_voxels
from neuroxai.errors import SpaceError
from neuroxai.io import Orientation
from neuroxai.io.orientation import TOLERANCE
from neuroxai.masks import bounding_box
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.qc import coverage, similarity
from neuroxai.preprocess.qc.coverage import far_shares, pieces_share
from neuroxai.preprocess.template import Template
from neuroxai.space import Volume

Measure = float | str | None


def measure(
    *,
    scan: Volume,
    brain: Volume,
    prepared: Volume,
    prepared_brain: Volume,
    template: Template,
    mapping: Mapping,
    orientation: Orientation | None = None,
) -> dict[str, Measure]:
    """Measure a scan, its preparation and its mapping to the template.

    Parameters
    ----------
    scan, brain : Volume
        The native scan and its brain mask, on one grid.
    prepared, prepared_brain : Volume
        The scan and the carried brain mask on the output grid.
    template : Template
        The T1w template and its mask on the output grid.
    mapping : Mapping
        Between the output grid's world and the scan's.
    orientation : Orientation, optional
        The header's affines (`neuroxai.io.read_orientation`); None for scans that come without a NIfTI header.

    Returns
    -------
    dict of str to float, str or None
        None where something cannot be measured. Keys:

        - ``pearson``, ``mutual_information``, ``tissue_contrast``: likeness to the template inside its brain;
          ``dice``: overlap of the brain masks.
        - ``brain_ml``: brain volume in native space. ``brain_pieces_share``: share outside the largest piece.
          ``brain_leak``, ``brain_missing``: share of the carried mask in its largest piece more than 10 mm outside the
          template's, and of the template's in its largest piece more than 10 mm from the mask.
        - ``cut_left``, ``cut_right``, ``cut_posterior``, ``cut_anterior``, ``cut_inferior``, ``cut_superior``: share
          of the brain's surface on that face of the native grid. ``outside_scan``: share of the template's brain
          beyond the scan; ``outside_grid``: of the native brain beyond the output grid.
        - ``orientation``: "agree", "sform only", "qform only", "differ", "mirrored" (one of the two swaps left and
          right against the other), "unknown" or "no header"; ``orientation_mm``: distance between the two.
        - ``determinant``, ``scale_least``, ``scale_most``, ``shear``, ``rotation_degrees``: of the affine.
        - ``folded``: share of the template's brain where the warp's Jacobian is not above 0.
        - ``slice_mm``: largest voxel edge. ``head_share``: volume of tissue around the brain over the brain's volume.
          ``noise``: see `neuroxai.preprocess.qc.similarity.noise`.

    Raises
    ------
    SpaceError
        If scan and mask, or the four on the output grid, do not share a grid.
    InputError
        If the template's mask is empty.
    """
    if not scan.space.matches(brain.space):
        raise SpaceError(f"the scan ({scan.space.describe()}) and its brain mask ({brain.space.describe()}) differ")
    for name, other in (
        ("carried mask", prepared_brain),
        ("template", template.t1),
        ("template's mask", template.brain),
    ):
        if not prepared.space.matches(other.space):
            raise SpaceError(
                f"the prepared scan ({prepared.space.describe()}) and the {name} ({other.space.describe()}) differ"
            )
    inside = np.asarray(brain.data) != 0
    where = np.asarray(template.brain.data) != 0
    values: dict[str, Measure] = {
        "pearson": similarity.pearson(prepared.data, template.t1.data, where),
        "mutual_information": similarity.normalised_mutual_information(prepared.data, template.t1.data, where),
        "tissue_contrast": similarity.tissue_contrast(prepared.data, template.t1.data, where),
        "dice": similarity.dice(prepared_brain.data, where),
        "brain_ml": float(inside.sum()) * brain.space.voxel_volume / 1000,
        "brain_pieces_share": 0.0,
    }
    values["brain_leak"], values["brain_missing"] = far_shares(prepared_brain, template.brain)
    values |= {f"cut_{face}": share for face, share in coverage.cut_faces(brain).items()}
    values |= _affine(mapping.affine)
    values["outside_scan"] = coverage.outside_scan(template.brain, scan.space, mapping)
    values["outside_grid"] = coverage.outside_grid(brain, prepared.space, mapping)
    values["orientation"], values["orientation_mm"] = _orientation(orientation)
    values["folded"] = None if mapping.warp is None else _folded(mapping.warp, template.brain)
    values["slice_mm"] = max(scan.space.spacing)
    values["head_share"] = _head(scan.data, inside)
    # the brain's box alone: a large field of view would only cost time
    box = bounding_box(inside)
    values["brain_pieces_share"] = pieces_share(inside[box])
    values["noise"] = similarity.noise(scan.data[box], inside[box])
    return values


def decompose(affine: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], float, float]:
    """Return determinant, stretch along the three axes, shear and rotation (degrees) of an affine.

    The 3 x 3 part is a rotation times a symmetric stretch (polar decomposition). The stretch's diagonal is the
    scaling along the template's axes; shear is its largest off-diagonal over the mean scaling.
    """
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    u, s, vt = np.linalg.svd(linear)
    stretch = vt.T @ np.diag(s) @ vt
    rotation = u @ vt
    if np.linalg.det(rotation) < 0:
        # a mirror shows in the determinant; the rest is described as if left and right were swapped first
        return float(np.linalg.det(linear)), *decompose(linear @ np.diag([-1.0, 1.0, 1.0]))[1:]
    scales = np.diag(stretch).copy()
    shear = float(np.abs(stretch - np.diag(scales)).max() / scales.mean())
    angle = float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    return float(np.linalg.det(linear)), scales, shear, angle


def _affine(affine: NDArray[np.float64]) -> dict[str, Measure]:
    determinant, scales, shear, angle = decompose(affine)
    return {
        "determinant": determinant,
        "scale_least": float(scales.min()),
        "scale_most": float(scales.max()),
        "shear": shear,
        "rotation_degrees": angle,
    }


def _orientation(orientation: Orientation | None) -> tuple[str, float | None]:
    if orientation is None:
        return "no header", None
    if not orientation.known:
        return "unknown", None
    distance = orientation.disagreement
    if distance is None:
        return ("qform only" if orientation.sform is None else "sform only"), None
    if not orientation.same_handedness:
        return "mirrored", distance
    return ("agree" if distance <= TOLERANCE else "differ"), distance


def _folded(warp: Displacement, template_brain: Volume) -> float:
    jacobian = jacobian_determinant(warp)
    found = np.argwhere(np.asarray(template_brain.data) != 0)
    if template_brain.space.matches(warp.space):
        at: NDArray[Any] = jacobian[tuple(found.T)]
    else:
        at = sample(jacobian, to_voxels(warp.space, template_brain.space.world(found).T), mode="nearest")
    return float((at <= 0).mean()) if len(found) else 0.0


def _head(data: NDArray[Any], inside: NDArray[np.bool_]) -> float | None:
    """Voxels outside the brain above 15 % of the brain's median, over the brain's voxels."""
    if not inside.any():
        return None
    middle = float(np.median(data[inside]))
    return float(((np.asarray(data) > 0.15 * middle) & ~inside).sum() / inside.sum()) if middle > 0 else None
