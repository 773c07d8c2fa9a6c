"""What a first call of an attribution method costs more than a later one: the run that is recorded.

CPU seconds of one thread, medians; the forward pass and the recording (with the copy of the model that it needs) run
interleaved, so that whatever else the machine does falls on both::

    OMP_NUM_THREADS=1 python scripts/benchmarks/record.py --network densenet121 --shape 64 64 64
    OMP_NUM_THREADS=1 python scripts/benchmarks/record.py --network vit --shape 96 112 96
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from _common import network, scans

from neuroxai.attribution import create
from neuroxai.graph.eval_copy import eval_copy
from neuroxai.graph.record import record


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print one row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="densenet121", help="a name of neuroxai.networks, densenet121 or vit")
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 64, 64))
    parser.add_argument("--method", default="lrp_epsilon", help="a name of neuroxai.attribution")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    model, x = network(tuple(options.shape), options.network), scans(tuple(options.shape), 1)
    taken: dict[str, list[float]] = {"forward": [], "record": [], "first": [], "later": []}
    with torch.no_grad():
        model(x)
    record(eval_copy(model), (x,))
    for _ in range(options.repeats):
        with torch.no_grad():
            taken["forward"].append(cpu_seconds(lambda: model(x)))
        taken["record"].append(cpu_seconds(lambda: record(eval_copy(model), (x,))))
        method = create(options.method, model)
        for name in ("first", "later"):
            taken[name].append(cpu_seconds(lambda: method.attribute(x, 1)))  # noqa: B023
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    more = seconds["first"] - seconds["later"]
    print("| network | grid | forward | copy and record | over forward | first call less a later one | over forward |")
    print("|---|---|---|---|---|---|---|")
    row = [options.network, "x".join(map(str, options.shape)), f"{seconds['forward']:.3f}", f"{seconds['record']:.3f}"]
    row += [f"{seconds['record'] / seconds['forward']:.2f}", f"{more:.3f}", f"{more / seconds['forward']:.2f}"]
    print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
