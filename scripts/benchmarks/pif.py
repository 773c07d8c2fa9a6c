r"""Time of a patch-individual filter layer over an ordinary convolution that does the same operations.

The ordinary convolution has one set of filters for all patches: the same multiplications and additions on the same
numbers. It is timed with the cutting of the patches (cut straight into the batch axis, then convolved) and without it
(handed patches cut beforehand). The last column is the layer as a loop over patches. All run interleaved in one
process, from NCDHW and from channels_last_3d inputs; the ratios are of medians.

The layer copies its patches, so the figures depend on the allocator: glibc's default returns such buffers to the system
at once and pays for fresh pages at each call, which training with its larger buffers hides. Run on an otherwise idle
machine (with `--processor` the processor's time is taken, which a busy machine disturbs less)::

    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 MALLOC_TOP_PAD_=268435456 OMP_NUM_THREADS=2 \\
        python scripts/benchmarks/pif.py --batch 4 12 --repeats 15
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _common import DEVICE, finish
from torch import Tensor, nn

from neuroxai.layers import PatchIndividualFilter

# Study 5 (Eitel 2021): grid in front of the layer, channels in, filters of each patch; patches of 5 x 5 x 5
SIZES = {
    "ADNI A, B": ((10, 13, 10), 64, 3),
    "MS A": ((10, 13, 10), 64, 4),
    "UK Biobank A": ((15, 19, 15), 64, 6),
    "UK Biobank B": ((8, 10, 8), 64, 6),
}
FORMATS = {"NCDHW": torch.contiguous_format, "channels last": torch.channels_last_3d}


def cut_by_hand(layer: PatchIndividualFilter, x: Tensor) -> Tensor:
    """Cut all patches into the batch axis, (batch * patches, channels, 5, 5, 5), channels last in memory."""
    found = []
    for strain in layer.strains:
        grid = strain.inputs
        pad = [0, 0]
        for n, start, count, size in reversed(list(zip(grid.shape, grid.start, grid.counts, grid.patch, strict=True))):
            pad += [-start, start + count * size - n]
        y = F.pad(x.movedim(1, -1), pad)
        for axis, size in enumerate(grid.patch, start=1):
            y = y.unfold(axis, size, size)  # (batch, *counts, channels, *patch)
        y = y.movedim(4, -1)
        found.append(y.reshape(len(x), len(grid), *y.shape[4:]))
    return torch.cat(found, 1).flatten(0, 1).movedim(-1, 1)


def looped(layer: PatchIndividualFilter, x: Tensor) -> Tensor:
    """Run one convolution after the other."""
    pieces = torch.cat([strain.inputs.split(x) for strain in layer.strains], 1)
    bias = layer.bias
    return torch.stack([F.conv3d(p, w, b) for p, w, b in zip(pieces.unbind(1), layer.weight, bias, strict=True)], 2)


def runners(
    shape: tuple[int, int, int], channels: int, filters: int, batch: int, backward: bool
) -> dict[str, Callable[[], object]]:
    """Return what is compared, by name."""
    layer = PatchIndividualFilter(3, channels, filters, shape, 5, reassemble=False).to(DEVICE)
    found: dict[str, Callable[[], object]] = {}
    for name, form in FORMATS.items():
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(batch, channels, *shape, generator=generator).to(DEVICE).contiguous(memory_format=form)
        cut = torch.cat([s.inputs.split(x) for s in layer.strains], 1).flatten(0, 1).contiguous(memory_format=form)
        ordinary = nn.Conv3d(channels, filters, 3).to(DEVICE, memory_format=form)  # type: ignore[call-overload]
        x.requires_grad_(backward)
        cut.requires_grad_(backward)
        calls: dict[str, Callable[[], Tensor]] = {
            f"cut and ordinary, {name}": lambda o=ordinary, x=x: o(cut_by_hand(layer, x)),  # type: ignore[misc]
            f"ordinary, {name}": lambda ordinary=ordinary, cut=cut: ordinary(cut),  # type: ignore[misc]
            f"layer, {name}": lambda x=x: layer(x),  # type: ignore[misc]
            f"loop, {name}": lambda x=x: looped(layer, x),  # type: ignore[misc]
        }
        for key, call in calls.items():
            found[key] = (lambda call=call: call().sum().backward()) if backward else call  # type: ignore[misc]
    return found


def seconds(
    found: dict[str, Callable[[], object]], repeats: int, backward: bool, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    with torch.set_grad_enabled(backward):
        for turn in range(repeats + 1):  # the first does not count
            for name, call in found.items():
                finish()
                start = clock()
                call()
                finish()
                if turn:
                    taken[name].append(clock() - start)
    return {name: statistics.median(t) for name, t in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=(4, 12))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--processor", action="store_true", help="processor time in place of the clock's")
    options = parser.parse_args()
    clock = time.process_time if options.processor else time.perf_counter
    print(f"float32, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"median of {options.repeats}\n")
    print("| size | batch | pass | input | layer ms | / (cut + ordinary) | / ordinary | / loop |")
    print("|---|---|---|---|---|---|---|---|")
    for size, (shape, channels, filters) in SIZES.items():
        for batch in options.batch:
            for backward in (False, True):
                found = runners(shape, channels, filters, batch, backward)
                times = seconds(found, options.repeats, backward, clock)
                for form in FORMATS:
                    layer = times[f"layer, {form}"]
                    ratios = [layer / times[f"{name}, {form}"] for name in ("cut and ordinary", "ordinary", "loop")]
                    row = " | ".join([f"{layer * 1e3:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
                    what = "forward + backward" if backward else "forward"
                    print(f"| {size} | {batch} | {what} | {form} | {row} |", flush=True)


if __name__ == "__main__":
    main()
