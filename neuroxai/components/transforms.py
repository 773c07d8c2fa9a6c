"""Transforms that MONAI lacks: a strict reader, resampling into the network's space, whole-voxel shifts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from neuroxai.errors import InputError, SpaceError, one_of
from neuroxai.evaluation.fit_measures import plateaus_of
from neuroxai.io import read_volume
from neuroxai.space import Space, Volume

NORMALISATIONS = ("minmax", "maximum", "zscore")


class LoadScand(MapTransform):
    """Read scans strictly (see `neuroxai.io.read_volume`) as tensors of shape (1, x, y, z) with their affine.

    The scan's own grid is kept beside the image as ``scan_shape`` (3,) and ``scan_affine`` (4, 4), so that heatmaps
    find their way back, the file's path as ``source``, and as ``plateaus`` the share of neighbours that are equal.

    Parameters
    ----------
    keys : str or sequence of str
        Items that hold paths.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the paths replaced by images."""
        result = dict(data)
        for key in self.key_iterator(result):
            path = str(result[key])
            volume = read_volume(path)
            affine = torch.from_numpy(volume.space.affine.copy())
            result["source"] = path
            result["plateaus"] = plateaus_of(volume.data)
            result["scan_shape"] = torch.tensor(volume.space.shape)
            result["scan_affine"] = affine
            result[key] = MetaTensor(torch.from_numpy(volume.data[None]), affine=affine)
        return result


class ResampleToSpaced(MapTransform):
    """Bring images into the network's space by world coordinates (linear, anti-aliased).

    Grids that differ by flips, permutations or whole voxels are copied without interpolation.

    Parameters
    ----------
    keys : str or sequence of str
        Images of shape (1, x, y, z) with an affine, as `LoadScand` gives them.
    space : Space
        The network's grid.
    least_coverage : float
        Share of the middle of the network's grid that must lie in the scan's field of view.

    Raises
    ------
    SpaceError
        If the scan covers less than that: it is not in the space the network was trained in.
    """

    def __init__(self, keys: KeysCollection, space: Space, least_coverage: float = 0.5) -> None:
        super().__init__(keys)
        self.space = space
        self.least_coverage = least_coverage

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the images resampled."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            scan = Space(image.shape[1:], np.asarray(image.affine))
            share = coverage(scan, self.space)
            if share < self.least_coverage:
                raise SpaceError(
                    f"{result.get('source', 'scan')}: covers {share:.0%} of the network's field of view, expected "
                    f"{self.least_coverage:.0%} or more; the scan has {scan.describe()}, the network "
                    f"{self.space.describe()}. Register the scan to the network's template first"
                )
            volume = Volume(np.asarray(image[0]), scan).resampled_to(self.space)
            if not volume.data.any():
                raise InputError(
                    f"{result.get('source', 'scan')}: holds nothing but zeros inside the network's field of view; "
                    "check its affine or register it to the network's template"
                )
            result[key] = MetaTensor(
                torch.from_numpy(np.ascontiguousarray(volume.data[None])),
                affine=torch.from_numpy(self.space.affine.copy()),
            )
        return result


class NormaliseScand(MapTransform):
    """Bring intensities to a common scale, each scan by itself (so that nothing leaks between scans).

    What it makes of a 0 is kept beside the image as ``zero``: inside the brain, and where the background is 0.

    Parameters
    ----------
    keys : str or sequence of str
        Images; brain-extracted ones have 0 outside the brain.
    method : {"minmax", "maximum", "zscore"}
        "minmax" to [0, 1] (Boehle 2019); "maximum" divides by the largest value (Eitel 2019, 2021); "zscore" takes off
        the mean and divides by the standard deviation of what is not 0, and leaves 0 as it is.

    Raises
    ------
    InputError
        If the method is unknown, a scan has no contrast left, or values that are too large for it.
    """

    def __init__(self, keys: KeysCollection, method: str = "minmax") -> None:
        super().__init__(keys)
        if method not in NORMALISATIONS:
            raise one_of("normalisation", method, NORMALISATIONS)
        self.method = method

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with the images scaled."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            inside = image[image != 0] if self.method == "zscore" else image
            low, high = image.min(), image.max()
            if not bool(high > low) or (self.method == "zscore" and not bool(inside.std() > 0)):
                raise InputError(f"{result.get('source', 'scan')}: has no contrast in the network's field of view")
            # what became of a 0, for the comparison with the training scans
            zero = (0.0, 0.0)
            if self.method == "minmax":
                zero = (float(-low / (high - low)),) * 2
                result[key] = (image - low) / (high - low)
            elif self.method == "maximum":
                result[key] = image / high
            else:
                zero = (float(-inside.mean() / inside.std()), 0.0)
                result[key] = torch.where(image != 0, (image - inside.mean()) / inside.std(), torch.zeros_like(image))
            result["zero"] = zero
            if not bool(torch.isfinite(result[key]).all()) or not bool(result[key].max() > result[key].min()):
                raise InputError(
                    f"{result.get('source', 'scan')}: its values go from {float(low):.3g} to {float(high):.3g}, too "
                    f"far for single precision: scaled by {self.method!r} they are no numbers. Look for single huge "
                    "values"
                )
        return result


class RandShiftd(RandomizableTransform, MapTransform):
    """Shift images by a random whole number of voxels along one or more axes; zeros come in from outside.

    Boehle 2019 shifts by -2 to 2 voxels along the sagittal axis (axis 0 in RAS), Eitel 2019 within the axial plane
    (axes 0 and 1, each for itself); each shift is as likely as the others.

    Parameters
    ----------
    keys : str or sequence of str
        Images of shape (channels, x, y, z).
    max_shift : int
        Largest shift in voxels, in either direction.
    axis : {0, 1, 2} or sequence of them
        Spatial axis or axes.
    """

    def __init__(self, keys: KeysCollection, max_shift: int = 2, axis: int | Sequence[int] = 0) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob=1.0)
        axes = (axis,) if isinstance(axis, int) else tuple(axis)
        if max_shift < 0 or not axes or len(set(axes)) < len(axes) or not set(axes) <= {0, 1, 2}:
            raise InputError(
                f"RandShiftd: got max_shift {max_shift} and axis {axis}, expected >= 0 and one or more of 0, 1 and 2"
            )
        self.max_shift = max_shift
        self.axes = axes
        self._shifts = [0] * len(axes)

    def randomize(self, data: Any = None) -> None:
        """Draw the shifts."""
        super().randomize(data)
        self._shifts = [int(self.R.randint(-self.max_shift, self.max_shift + 1)) for _ in self.axes]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return `data` with all images shifted alike."""
        result = dict(data)
        self.randomize()
        for key in self.key_iterator(result):
            for axis, shift in zip(self.axes, self._shifts, strict=True):
                result[key] = _shifted(result[key], shift, axis + 1)
        return result


def coverage(scan: Space, space: Space, margin: float = 0.15) -> float:
    """Share of the middle of `space` (a margin left off each side) that lies in the scan's field of view."""
    axes = [np.linspace(margin * (n - 1), (1 - margin) * (n - 1), 12) for n in space.shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    voxels = scan.voxels(space.world(points))
    return float(((voxels >= -0.5) & (voxels <= np.array(scan.shape) - 0.5)).all(axis=1).mean())


def _shifted(image: torch.Tensor, shift: int, axis: int) -> torch.Tensor:
    if shift == 0:
        return image
    moved = torch.roll(image, shift, dims=axis)
    size = image.shape[axis]
    start, stop = (0, min(shift, size)) if shift > 0 else (max(size + shift, 0), size)
    moved.narrow(axis, start, stop - start).zero_()
    return moved
