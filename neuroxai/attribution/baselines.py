"""What stands for "nothing": constants, images, several reference scans, or a reference made for each scan."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from neuroxai.errors import InputError

Source = Callable[[Tensor], Tensor]
"""Takes scans (batch, channels, *spatial), returns their references, (references, batch, channels, *spatial)."""
Baseline = float | str | Tensor | list[Tensor] | Source
Baselines = Baseline | tuple[Baseline, ...]
"""A constant ("zero" is 0), an image (channels, *spatial) for all samples, a list of such images, over which
attributions are averaged, or a `Source` ("blur" is `blurred`); a tuple of one per input for several inputs."""
FROM_CONTROLS = ("mean_control", "nearest_controls", "fitted_control", "healthy_twin")
BLUR = 0.05  # standard deviation of a blurred scan's Gaussian, in lengths of each axis
_NAMES = ("zero", "blur")
_EXPECTED = (
    "a finite number or one image as a torch.Tensor (channels, *spatial) is expected, or one of: "
    f"{', '.join((*_NAMES, *FROM_CONTROLS))}"
)


def check_baselines(baselines: object) -> None:
    """Refuse baselines that are neither finite numbers nor finite images, nor make such images of a scan."""
    for one in baselines if isinstance(baselines, tuple) else (baselines,):
        if isinstance(one, list) and one:
            for image in one:
                check_baselines(image)
        elif isinstance(one, Tensor):
            if not bool(torch.isfinite(one).all()):
                raise InputError(f"baselines of shape {tuple(one.shape)} hold NaN or infinite values; {_EXPECTED}")
        elif isinstance(one, str) and one in FROM_CONTROLS:
            raise InputError(
                f"baselines are {one!r}, which needs a reference of controls; give "
                f"neuroxai.attribution.ControlReference.baselines({one!r}), or explain a bundle that has a reference"
            )
        elif one not in _NAMES and not callable(one) and not _finite(one):
            raise InputError(f"baselines are {one!r}; {_EXPECTED}")


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def baselines_for(inputs: Sequence[Tensor], baselines: Baselines) -> list[tuple[Tensor, ...]]:
    """Return the baselines of a batch: for each reference, one per input, shaped like it.

    Raises
    ------
    InputError
        If images have not the channels and grid of the inputs, or several inputs not equally many references.
    """
    each = baselines if isinstance(baselines, tuple) else (baselines,) * len(inputs)
    if len(each) != len(inputs):
        raise InputError(f"baselines are {len(each)} for {len(inputs)} inputs; one per input is expected")
    found = [references_of(x, one) for x, one in zip(inputs, each, strict=True)]
    most = max(map(len, found))
    if any(len(images) not in (1, most) for images in found):
        raise InputError(f"baselines are {[len(images) for images in found]} images; one or equally many are expected")
    return [tuple(images[min(n, len(images) - 1)].clone() for images in found) for n in range(most)]


def blurred(x: Tensor) -> Tensor:
    """Return scans (batch, channels, *spatial) without their details, (1, *x.shape) (after Fong & Vedaldi 2017)."""
    from scipy.ndimage import gaussian_filter

    if x.ndim < 3:
        raise InputError(f"baselines are 'blur', which needs a grid; inputs have shape {tuple(x.shape)}")
    widths = (0, 0, *(BLUR * length for length in x.shape[2:]))
    return torch.from_numpy(gaussian_filter(x.cpu().numpy(), widths, mode="nearest")).to(x)[None]


def references_of(x: Tensor, baseline: Baseline) -> list[Tensor]:
    """Return the references of one input, each shaped like it, without copying what is constant."""
    baseline = blurred if isinstance(baseline, str) and baseline == "blur" else baseline
    if callable(baseline) and not isinstance(baseline, Tensor):
        made = baseline(x.detach())
        if made.ndim != x.ndim + 1 or made.shape[1:] != x.shape:
            raise InputError(
                f"baselines were made of shape {tuple(made.shape)}; (references, *{tuple(x.shape)}) is expected"
            )
        return [one.detach().to(x) for one in made]
    found = []
    for one in baseline if isinstance(baseline, list) else [baseline]:
        if isinstance(one, Tensor) and one.shape != x.shape[1:]:
            grid = f"the inputs' channels and grid {tuple(x.shape[1:])}"
            raise InputError(f"baselines have shape {tuple(one.shape)}; {grid} are expected")
        value = 0.0 if one == "zero" else one
        image = value.detach().to(x) if isinstance(value, Tensor) else x.new_tensor(float(value))
        found.append(image.expand_as(x))
    return found
