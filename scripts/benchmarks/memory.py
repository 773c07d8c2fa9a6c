r"""Peak memory of one training step of the published networks, with and without activation checkpointing.

A step is forward pass, loss, backward pass and Adam. Each is taken in a process of its own, and the figure is all that
this process ever held: weights, scans, activations, gradients, torch itself. A step that would take more than the limit
is stopped by the system and written as ">"; without checkpointing the wide networks want more than most machines have::

    OMP_NUM_THREADS=2 python scripts/benchmarks/memory.py --shape 182 218 182 --batch 4 --limit 12
"""

from __future__ import annotations

import argparse
import platform
import resource

import torch
import torch.nn.functional as F
from _common import measured

from neuroxai import networks

GIB = 2**30


def peak_of_step(name: str, shape: tuple[int, int, int], batch: int, checkpointing: bool, limit: float) -> float:
    """Train one step in this process; return its peak resident memory in GiB, infinite where the limit is hit."""
    most = int(limit * GIB)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    torch.manual_seed(0)
    model = networks.create(name, shape, checkpointing=checkpointing).train()
    optimiser = torch.optim.Adam(model.parameters())
    scans = torch.rand(batch, 1, *shape)
    labels = torch.arange(batch) % 2
    try:
        logits = model(scans)
        if logits.shape[1] == 1:
            loss = F.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
        else:
            loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error) and not isinstance(error, MemoryError):
            raise
        return float("inf")
    used: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if platform.system() == "Darwin" else 1024) / GIB


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(182, 218, 182))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--networks", nargs="+", default=networks.names(), choices=networks.names())
    parser.add_argument("--limit", type=float, default=12, help="GiB that a process may take")
    parser.add_argument("--without", action="store_true", help="for --peak: no checkpointing")
    parser.add_argument("--peak", choices=networks.names(), help="print the peak of this network alone, GiB")
    options = parser.parse_args()
    shape: tuple[int, int, int] = tuple(options.shape)
    if options.peak:
        print(peak_of_step(options.peak, shape, options.batch, not options.without, options.limit))
        return
    print(f"float32, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ", end="")
    print(f"{' x '.join(map(str, shape))}, batch {options.batch}, GiB at most {options.limit:g}\n")
    print("| network | checkpointing, GiB | without, GiB |")
    print("|---|---|---|")
    for name in options.networks:
        common = ["--peak", name, "--shape", *shape, "--batch", options.batch, "--limit", options.limit]
        peaks = [measured(__file__, [*common, *more]) for more in ([], ["--without"])]
        cells = [f"> {options.limit:g}" if peak == float("inf") else f"{peak:.2f}" for peak in peaks]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
