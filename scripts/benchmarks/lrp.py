"""Time and peak memory of relevance propagation over a plain forward + backward pass of the same network.

Both run interleaved in one process; the plain pass is the faster of NCDHW and channels_last_3d. Ratios of medians are
printed as a markdown table. Run on an otherwise idle machine::

    OMP_NUM_THREADS=2 python scripts/benchmarks/lrp.py --shape 96 114 96 --batch 1 4 --repeats 7
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from neuroxai.lrp import LRP, composites

METHODS = {
    "epsilon": composites.epsilon(),
    "z+": composites.z_plus(),
    "alpha-beta, beta 1": composites.alpha_beta(1.0),
}


def network(shape: tuple[int, int, int]) -> nn.Sequential:
    """Build the convolutional network of Boehle 2019 for a grid, with the weights of a fixed seed."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    channels = 1
    for filters, pool in zip((8, 16, 32, 64), (2, 3, 2, 3), strict=True):
        layers += [nn.Conv3d(channels, filters, 3), nn.BatchNorm3d(filters), nn.ReLU(), nn.MaxPool3d(pool)]
        channels = filters
    features = nn.Sequential(*layers, nn.Flatten()).eval()
    with torch.no_grad():
        width = features(torch.zeros(1, 1, *shape)).shape[1]
    head = [nn.Dropout(0.4), nn.Linear(width, 128), nn.ReLU(), nn.Dropout(0.4), nn.Linear(128, 2)]
    return nn.Sequential(*features, *head).eval().requires_grad_(False)


def plain(model: nn.Module, x: Tensor) -> Tensor:
    """Forward pass and backward pass to the input."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(model(x)[:, 1].sum(), x)[0]


def runners(shape: tuple[int, int, int], batch: int) -> dict[str, Callable[[], Tensor]]:
    """Return what is compared, by name."""
    model = network(shape)
    last = network(shape).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    x = torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(1))
    x_last = x.to(memory_format=torch.channels_last_3d)
    found: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain(model, x),
        "plain, channels last": lambda: plain(last, x_last),
    }
    for name, composite in METHODS.items():
        lrp = LRP(model, composite)
        found[name] = lambda lrp=lrp: lrp.attribute(x, target=1)  # type: ignore[misc]
    return found


def seconds(found: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    for call in found.values():
        call()
    for _ in range(repeats):
        for name, call in found.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in taken.items()}


def measured(shape: tuple[int, int, int], batch: int, name: str) -> float:
    """Peak resident memory that one call adds, in MiB; in a child process, for the peak never falls."""
    command = [sys.executable, __file__, "--shape", *map(str, shape), "--batch", str(batch), "--peak", name]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak(shape: tuple[int, int, int], batch: int, name: str) -> float:
    """Return the peak that one call adds in this process, in MiB, after a warm-up on a small grid."""
    small = (78, 78, 78)
    runners(small, 1)[name]()
    call = runners(shape, batch)[name]
    try:
        with open("/proc/self/clear_refs", "w") as file:  # resets the peak to the present size
            file.write("5")
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> float:
    with open("/proc/self/status") as file:
        return float(next(line for line in file if line.startswith(key)).split()[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 114, 96))
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 4))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(options.shape)
    if options.peak:
        print(peak(shape, options.batch[0], options.peak))
        return
    print(f"AD network at {'x'.join(map(str, shape))}, float32, {platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.repeats}\n")
    print("| batch | method | seconds | over forward + backward | extra peak MiB | over forward + backward |")
    print("|---|---|---|---|---|---|")
    for batch in options.batch:
        times = seconds(runners(shape, batch), options.repeats)
        memory = {name: measured(shape, batch, name) for name in times}
        best = min(("plain", "plain, channels last"), key=times.__getitem__)
        for name in times:
            row = (f"{times[name]:.3f}", f"{times[name] / times[best]:.2f}")
            print(f"| {batch} | {name} | {' | '.join(row)} | {memory[name]:.0f} | {memory[name] / memory[best]:.2f} |")


if __name__ == "__main__":
    main()
