"""Registration by ANTs (Avants 2008, 2011), through its Python package."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from neuroxai.deformation import Displacement
from neuroxai.errors import InputError
from neuroxai.preprocess.registration.base import Engine, Matrix, flipped, from_centred, geometry
from neuroxai.preprocess.registration.initialisation import Pair, isotropic, masked, scaled, start
from neuroxai.space import Space, Volume

# down to 8, 4 and 2 mm; at 2 mm few steps: they cost ten times those before and move the brain by tenths of a mm
_LINEAR = {
    "aff_iterations": (200, 100, 20),
    "aff_shrink_factors": (4, 2, 1),
    "aff_smoothing_sigmas": (2, 1, 0),
    "aff_random_sampling_rate": 0.1,
}
# local correlation over 5 voxels (Avants 2008): mutual information of whole brains stops after ten steps
_SYN = {"syn_metric": "CC", "syn_sampling": 2, "grad_step": 0.2, "flow_sigma": 3, "total_sigma": 0}
_SYN_ITERATIONS = {8: 60, 4: 15, 2: 0}  # steps while the grid is about so many mm; none below


class AntsEngine(Engine):
    """ANTs: rigid and affine by Mattes mutual information, deformable by SyN. See `Engine`.

    One thread, for sums in one order. ANTs takes the number of threads at its first use in a process: one who has used
    it before, with several, gets results that differ in the last digits.
    """

    name: ClassVar[str] = "ants"
    package: ClassVar[str] = "antspyx"

    def deformable(
        self,
        fixed: Volume,
        moving: Volume,
        affine: Matrix,
        seed: int = 0,
        fixed_mask: Volume | None = None,
        moving_mask: Volume | None = None,
    ) -> tuple[Displacement, Displacement]:
        """Refine an affine map by a diffeomorphism: `Engine.deformable`."""
        spacing = float(min(fixed.space.spacing))
        one = masked(fixed, fixed_mask, "fixed")
        two = isotropic(masked(moving, moving_mask, "moving"), spacing)
        levels = int(np.ceil(np.log2(max(8.0 / spacing, 1.0)) - 1e-6)) + 1
        millimetres = [spacing * 2**level for level in reversed(range(levels))]
        steps = tuple(next((n for mm, n in _SYN_ITERATIONS.items() if size > 0.75 * mm), 0) for size in millimetres)
        options = {"type_of_transform": "SyNOnly", "random_seed": seed + 1, "reg_iterations": steps, **_SYN}
        pictures = Volume(scaled(one.data), one.space), Volume(scaled(two.data), two.space)
        with self._registered(*pictures, affine, options) as prefix:
            return (
                _read_field(f"{prefix}1Warp.nii.gz", fixed.space),
                _read_field(f"{prefix}1InverseWarp.nii.gz", fixed.space),
            )

    @contextmanager
    def _one_thread(self) -> Iterator[None]:
        name = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
        before = os.environ.get(name)
        os.environ[name] = "1"
        try:
            yield
        finally:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before

    def _linear(self, both: Pair, seed: int, scale: bool) -> Matrix:
        import ants

        masks: dict[str, Any] = {}
        if both.fixed_where is not None:
            masks["mask"] = _to_ants(Volume(both.fixed_where, both.fixed.space))
        if both.moving_where is not None:
            masks["moving_mask"] = _to_ants(Volume(both.moving_where, both.moving.space))
        options = {"type_of_transform": "Affine" if scale else "Rigid", "random_seed": seed + 1, **_LINEAR, **masks}
        with self._registered(both.fixed, both.moving, start(both, scale), options) as prefix:
            found = ants.read_transform(f"{prefix}0GenericAffine.mat")
        parameters = np.array(found.parameters, dtype=np.float64)
        centre = np.array(found.fixed_parameters, dtype=np.float64)
        return flipped(from_centred(parameters[:9].reshape(3, 3), parameters[9:], centre))

    @contextmanager
    def _registered(self, fixed: Volume, moving: Volume, first: Matrix, options: dict[str, Any]) -> Iterator[str]:
        """Run a registration from a first map and yield the path prefix of what it wrote, within the block.

        ANTs takes and gives transforms as files alone: they live in a folder of their own that goes with the block.
        """
        import ants

        with self._one_thread(), tempfile.TemporaryDirectory(prefix="neuroxai-") as folder:
            world = flipped(first)
            transform = ants.create_ants_transform(
                "AffineTransform", dimension=3, matrix=world[:3, :3], offset=world[:3, 3]
            )
            begin = str(Path(folder) / "begin.mat")
            ants.write_transform(transform, begin)
            prefix = str(Path(folder) / "to")
            try:
                ants.registration(
                    _to_ants(fixed), _to_ants(moving), initial_transform=begin, outprefix=prefix, **options
                )
            except RuntimeError as error:
                raise InputError(
                    f"ANTs could not register the pictures ({str(error).splitlines()[0][:160]}); look at both: "
                    "do they show the same part of the body?"
                ) from None
            yield prefix


def _to_ants(volume: Volume) -> Any:
    import ants

    origin, spacing, direction = geometry(volume.space)
    data = np.ascontiguousarray(volume.data, dtype=np.float32)
    return ants.from_numpy(data, origin=origin, spacing=spacing, direction=direction)


def _read_field(path: str, space: Space) -> Displacement:
    import ants

    vectors = ants.image_read(path).numpy()
    field = np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=np.float32)
    field[:2] *= -1  # LPS to RAS
    return Displacement(field, space)
