"""Time and peak memory of all attribution methods over a plain forward + backward pass, and over Captum's own.

All run interleaved in one process on the network of Boehle 2019; the plain pass is the faster of NCDHW and
channels_last_3d. Ratios of medians are printed as a markdown table. Run on an otherwise idle machine::

    OMP_NUM_THREADS=2 python scripts/benchmarks/attribution.py --shape 96 114 96 --repeats 5
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable
from itertools import islice, product
from typing import Any

import captum.attr
import torch
from _common import (
    DEVICE,
    SMALLEST,
    Runners,
    Shape,
    fastest_plain,
    measured,
    network,
    peak,
    plain_runners,
    scans,
    seconds,
)
from torch import Tensor, nn
from torch.nn.functional import interpolate

from neuroxai import attribution
from neuroxai.space import mni152

BLOCKS = 4  # regions of region_occlusion along each axis
LOOP, FEW = "occlusion, one by one", "captum: occlusion, 8 patches"


def regions(shape: Shape, count: int) -> Tensor:
    """Return a label image of blocks, 1 to BLOCKS ** 3; if a count is given, of so many parts of a brain at 2 mm."""
    if count:
        from atlas import parcellation

        return torch.tensor(parcellation(mni152(2), count).labels)
    axes = [torch.arange(n) * BLOCKS // n for n in shape]
    return (axes[0][:, None, None] * BLOCKS + axes[1][:, None]) * BLOCKS + axes[2] + 1


def one_by_one(model: nn.Module, x: Tensor, patch: int, patches: int) -> None:
    """Occlude some patches, one forward pass of the whole network each."""
    corners = product(*(range(0, n, patch) for n in x.shape[2:]))
    with torch.no_grad():
        for corner in islice(corners, patches):
            occluded = x.clone()
            occluded[(slice(None), slice(None), *(slice(c, c + patch) for c in corner))] = 0
            model(occluded)


def grad_cam(model: nn.Module, x: Tensor) -> Tensor:
    """Captum's Grad-CAM of the last convolution block, on the scan's grid."""
    layer = [m for m in model.modules() if isinstance(m, nn.ReLU)][3]
    found: Tensor = captum.attr.LayerGradCam(model, layer).attribute(x, target=1, relu_attributions=True)
    return interpolate(found, size=x.shape[2:], mode="trilinear")


def of_captum(model: nn.Module, x: Tensor) -> dict[str, Callable[[], Any]]:
    """Return Captum's own methods by our names."""
    half = (1, *(math.ceil(n / 2) for n in x.shape[2:]))
    steps = {"n_steps": 50, "internal_batch_size": len(x)}

    def leaf() -> Tensor:
        return x.clone().requires_grad_(True)

    return {
        "saliency": lambda: captum.attr.Saliency(model).attribute(leaf(), target=1),
        "gradient_x_input": lambda: captum.attr.InputXGradient(model).attribute(leaf(), target=1),
        "guided_backprop": lambda: captum.attr.GuidedBackprop(model).attribute(leaf(), target=1),
        "integrated_gradients": lambda: captum.attr.IntegratedGradients(model).attribute(leaf(), target=1, **steps),
        "deep_lift": lambda: captum.attr.DeepLift(model).attribute(leaf(), target=1),
        "grad_cam": lambda: grad_cam(model, leaf()),
        FEW: lambda: captum.attr.Occlusion(model).attribute(x, half, half, target=1),
    }


def runners(shape: Shape, batch: int, methods: list[str], patch: int, loop: int, count: int = 0) -> Runners:
    """Return what is compared, by name."""
    model, x, found = network(shape), scans(shape, batch), plain_runners(shape, batch)
    needed: dict[str, dict[str, Any]] = {"occlusion": {"patch": patch}, "region_swap": {"baselines": 0.0}}
    for name in filter(attribution.takes_regions, methods):
        needed.setdefault(name, {})["labels"] = regions(shape, count).to(DEVICE)
    theirs = of_captum(model, x)
    for name in methods:
        method = attribution.create(name, model, **needed.get(name, {}))
        found[name] = lambda method=method: method.attribute(x, target=1)  # type: ignore[misc]
        if name in theirs:
            found[f"captum: {name}"] = theirs[name]
        if name == "occlusion":
            found[LOOP] = lambda: one_by_one(model, x[:1], patch, loop)
            found[FEW] = theirs[FEW]
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 114, 96))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--methods", nargs="+", default=list(attribution.names()), choices=attribution.names())
    parser.add_argument("--patch", type=int, default=12, help="edge of the occluded patches")
    parser.add_argument("--regions", type=int, default=0, help="irregular regions at 2 mm, in place of blocks")
    parser.add_argument("--loop", type=int, default=32, help="patches of the one-by-one loop that are run")
    parser.add_argument("--processor", action="store_true", help="take the time of the processor")
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape, batch, patch = tuple(options.shape), options.batch, options.patch
    patches = math.prod(math.ceil(n / patch) for n in shape)
    loop = min(options.loop, patches)
    if options.peak:
        small, large = (
            runners(grid, count, [options.peak] if options.peak in attribution.names() else [], patch, 1)[options.peak]
            for grid, count in ((SMALLEST, 1), (shape, batch))
        )
        print(peak(small, large))
        return
    times = seconds(runners(shape, batch, options.methods, patch, loop, options.regions), options.repeats,
                    time.process_time if options.processor else time.perf_counter)  # fmt: skip
    best = fastest_plain(times)
    # what is run for some patches only is scaled to all of them
    times["captum: occlusion"] = times.pop(FEW, math.nan) * (patches + 1) / 9
    one_pass = times.pop(LOOP, math.nan) / loop
    given = ("--shape", *shape, "--batch", batch, "--patch", patch, "--peak")
    ours = [name for name in times if not name.startswith("captum: ")]
    memory = {name: math.nan if options.no_memory else measured(__file__, (*given, name)) for name in ours}
    print(f"AD network at {'x'.join(map(str, shape))}, batch {batch}, float32, {platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.repeats}\n")
    print(
        "| method | seconds | over forward + backward | extra peak MiB | over forward + backward | over Captum's time |"
    )
    print("|---|---|---|---|---|---|")
    for name in ours:
        captum_s = times.get(f"captum: {name}", math.nan)
        over = "" if math.isnan(captum_s) else f"{times[name] / captum_s:.3g}"
        row = (f"{times[name]:.3f}", f"{times[name] / times[best]:.2f}", f"{memory[name]:.0f}")
        print(f"| {name} | {' | '.join(row)} | {memory[name] / memory[best]:.2f} | {over} |")
    if "occlusion" in times:
        whole = one_pass * patches * batch
        print(
            f"\nOcclusion, {patches} patches of {patch}^3: {whole / times['occlusion']:.0f} times faster than one ",
            end="",
        )
        print(
            f"forward pass a patch ({whole:.1f} s, scaled from {loop} patches). Captum's time is scaled from 8 patches."
        )
    if "region_occlusion" in times:
        print(f"\nRegion occlusion: {options.regions or BLOCKS**3} regions.")


if __name__ == "__main__":
    main()
