"""The template that scans are registered to: nilearn's MNI152 by default, or the user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_volume
from neuroxai.preprocess.intensity import foreground, is_skull_stripped
from neuroxai.space import Space, Volume, mni152


@dataclass(frozen=True, eq=False)
class Template:
    """A skull-stripped picture and its brain mask on one grid.

    Parameters
    ----------
    name : str
        For records.
    t1 : Volume
        Float32; 0 outside the brain.
    brain : Volume
        Truth values.
    """

    name: str
    t1: Volume
    brain: Volume


def load_template(
    path: str | os.PathLike[str] | None = None, mask: str | os.PathLike[str] | None = None, spacing: float = 2
) -> Template:
    """Load a template.

    Parameters
    ----------
    path : path_like, optional
        A T1-weighted template; without one, the skull-stripped ICBM152 2009a that comes with nilearn, brought to the
        package's standard grid (`neuroxai.space.mni152`). A template by path keeps its own grid.
    mask : path_like, optional
        Its brain mask, on the same grid. May be left out if the template is skull-stripped.
    spacing : float
        Of nilearn's template, mm.

    Returns
    -------
    Template

    Raises
    ------
    InputError
        If a mask comes without a template, is needed and absent, or is empty.
    SpaceError
        If the mask lies on another grid.
    """
    if path is None:
        if mask is not None:
            raise InputError(f"a template's mask ({mask}) without the template; name both, or neither")
        return _nilearn(spacing)
    t1 = read_volume(path)
    if mask is not None:
        marked = read_volume(mask)
        if not marked.space.matches(t1.space):
            raise SpaceError(
                f"{mask} lies on {marked.space.describe()}, its template {path} on {t1.space.describe()}; resample the "
                "mask to the template's grid"
            )
        brain = marked.data > 0.5
    elif is_skull_stripped(t1):
        brain = foreground(t1)
    else:
        raise InputError(
            f"{path} is a template with its skull, so its brain mask must be named, too; or name a skull-stripped one"
        )
    if not brain.any():
        raise InputError(f"{mask}: holds no voxel above 0.5, expected a brain mask of 0 and 1")
    low = min(float(t1.data[brain].min()), 0.0)
    return _cut(Path(path).name.removesuffix(".gz").removesuffix(".nii"), Volume(t1.data - low, t1.space), brain)


def _nilearn(spacing: float) -> Template:
    # at 1 mm, as it is stored: nilearn's own resampling leaves traces of splines all over the background
    stored = _packaged()
    inside = stored.data > 0.2  # as its load_mni152_brain_mask has it
    grid = mni152(spacing)
    t1 = Volume(stored.data * inside, stored.space).resampled_to(grid)
    brain = Volume(inside.astype(np.float32), stored.space).resampled_to(grid)
    return _cut("MNI152 (nilearn)", t1, brain.data >= 0.5)


def _packaged() -> Volume:
    """Read what nilearn's load_mni152_template returns; to import it takes longer than a page of a report."""
    found = find_spec("nilearn")
    folder = Path(found.submodule_search_locations[0] if found and found.submodule_search_locations else "")
    file = folder / "datasets" / "data" / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
    if file.is_file():
        volume = read_volume(file)
        return Volume(volume.data / volume.data.max(), volume.space)
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(1)
    return Volume(np.asarray(image.dataobj, dtype=np.float32), Space(image.shape, image.affine))


def _cut(name: str, t1: Volume, brain: np.ndarray) -> Template:
    data = np.where(brain, t1.data, 0).astype(np.float32)
    return Template(name, Volume(data, t1.space), Volume(brain, t1.space))
