r"""Time and peak memory of preparing one scan, by arm and voxel size, and what each step takes of it.

Each is the whole of `neuroxai prepare` for one scan, files and quality figure included, in a process of its own with
one thread; its peak is all that this process ever held, libraries included. Beside it, in the same run, what one would
write by hand in antspyx on the same scan: N4 (shrink factor 4) and `ants.registration` by its defaults, Affine or SyN,
to the same template at the voxel size expected; no brain extraction, checks, or files. Imports are not timed::

    python scripts/benchmarks/prepare.py scan.nii.gz --spacing 2 1 --repeats 3 --processor

Without a scan, one of those in the folder NEUROXAI_TEST_DATA is taken. `--processor` takes the processor's time in
place of the clock's: the same on an idle machine, and less disturbed on a busy one.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

ARMS = ("none", "linear", "nonlinear")
PARTNERS = {"linear": "Affine", "nonlinear": "SyN"}
DEFAULT = "t1w/ds002748/sub-01_T1w.nii.gz"
GIB = 2**30
Clock = Callable[[], float]
# what is called in the course of a preparation, and the step it belongs to; of nested ones the outer counts
STEPS = {
    "neuroxai.preprocess.pipeline.read_scan": "reading",
    "neuroxai.preprocess.brain.extract_brain": "brain",
    "neuroxai.preprocess.pipeline.located": "brain",
    "neuroxai.preprocess.brain.bias_field": "bias field",
    "neuroxai.preprocess.registration.ants.AntsEngine.affine": "linear",
    "neuroxai.preprocess.registration.ants.AntsEngine.deformable": "non-linear",
    "neuroxai.preprocess.pipeline._on_grid": "grid",
    "neuroxai.preprocess.outputs.measure": "quality",
    "neuroxai.report.quality_figure": "figure",
    "neuroxai.io.write_volume": "writing",
    "neuroxai.preprocess.mapping.Mapping.save": "writing",
}
SHOWN = tuple(dict.fromkeys(STEPS.values()))


class Shares:
    """Seconds by step, gathered by wrapping what is called."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = dict.fromkeys(SHOWN, 0.0)
        self._inside = False

    def wrapped(self, call: Callable[..., Any], step: str) -> Callable[..., Any]:
        """Time a function's outermost calls."""

        def timed(*arguments: Any, **options: Any) -> Any:
            if self._inside:
                return call(*arguments, **options)
            self._inside, begin = True, self.clock()
            try:
                return call(*arguments, **options)
            finally:
                self._inside = False
                self.seconds[step] += self.clock() - begin

        return timed


def ours(scan: Path, arm: str, spacing: float, clock: Clock) -> dict[str, float]:
    """Prepare a scan in this process; seconds in all and by step."""
    from importlib import import_module

    import neuroxai.report
    from neuroxai.preprocess import PrepareOptions, outputs
    from neuroxai.preprocess.brain import deepbet_available
    from neuroxai.preprocess.registration import create
    from neuroxai.preprocess.sources import Source

    engine = create("ants")
    if deepbet_available():  # its network is loaded once a process, not once a scan
        from neuroxai.preprocess.brain import _network

        _network()
    shares = Shares(clock)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for name, step in STEPS.items():
            where, last = name.rsplit(".", 1)
            try:
                owner: Any = import_module(where)
            except ModuleNotFoundError:
                module, kind = where.rsplit(".", 1)
                owner = getattr(import_module(module), kind)
            call = shares.wrapped(getattr(owner, last), step)
            stack.enter_context(patch.object(owner, last, call))
        job = outputs.Job(
            Path(folder), PrepareOptions(arm=arm, spacing=spacing), engine.name, (None, None), False,
            neuroxai.report.quality_figure,
        )  # fmt: skip
        outputs._tools(job.engine, job.template, spacing)  # once a process, too
        begin = clock()
        result = outputs.work(job, Source("sub-01", None, scan))
        taken = clock() - begin
    if result.record is None:
        raise SystemExit(result.error)
    return {**shares.seconds, "other": taken - sum(shares.seconds.values()), "seconds": taken}


def partner(scan: Path, arm: str, spacing: float, clock: Clock) -> dict[str, float]:
    """Run plain antspyx on a scan in this process."""
    import ants
    import numpy as np

    from neuroxai.preprocess.template import load_template

    template = load_template(spacing=spacing).t1
    lps = np.diag([-1.0, -1.0, 1.0])
    fixed = ants.from_numpy(
        template.data,
        origin=list(lps @ template.space.affine[:3, 3]),
        spacing=list(template.space.spacing),
        direction=lps @ template.space.affine[:3, :3] / np.asarray(template.space.spacing),
    )
    begin = clock()
    corrected = ants.n4_bias_field_correction(ants.image_read(str(scan)), shrink_factor=4)
    after = clock()
    with tempfile.TemporaryDirectory() as folder:
        ants.registration(fixed, corrected, type_of_transform=PARTNERS[arm], outprefix=f"{folder}/to", random_seed=1)
    return {"bias field": after - begin, "registration": clock() - after, "seconds": clock() - begin}


def measured(what: str, arguments: argparse.Namespace, arm: str, spacing: float) -> dict[str, float]:
    """Run one of the two in a process of its own; seconds, and its peak in GiB."""
    command = [sys.executable, __file__, str(arguments.scan), "--child", what, arm, f"{spacing:g}"]
    command += ["--processor"] if arguments.processor else []
    one = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **one})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path, nargs="?", help="a T1w head, NIfTI")
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    parser.add_argument("--spacing", type=float, nargs="+", default=[2.0, 1.0], help="mm")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--processor", action="store_true", help="processor time in place of the clock's")
    parser.add_argument("--no-partner", action="store_true")
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "ARM", "MM"), help="print one process's figures as JSON")
    options = parser.parse_args()
    if options.scan is None:
        if "NEUROXAI_TEST_DATA" not in os.environ:
            parser.error("name a scan, or the folder of scans in NEUROXAI_TEST_DATA")
        options.scan = Path(os.environ["NEUROXAI_TEST_DATA"]) / DEFAULT
    if options.child:
        what, arm, spacing = options.child
        clock = time.process_time if options.processor else time.perf_counter
        found = (ours if what == "ours" else partner)(options.scan, arm, float(spacing), clock)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
        print(json.dumps({**found, "peak": used / GIB}))
        return
    kind = "processor time" if options.processor else "time by the clock"
    print(f"{options.scan.name}, one thread, {platform.machine()}, {kind}, median of {options.repeats}\n")
    columns = ["mm", "arm", "s", *SHOWN, "other", "GiB", "antspyx: s", "N4", "registration", "GiB", "s, ours over it"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for spacing in options.spacing:
        for arm in options.arms:
            runs: dict[str, list[dict[str, float]]] = {"ours": [], "antspyx": []}
            against = arm in PARTNERS and not options.no_partner
            for _ in range(options.repeats):
                runs["ours"].append(measured("ours", options, arm, spacing))
                if against:
                    runs["antspyx"].append(measured("antspyx", options, arm, spacing))
            mine, other = ({k: statistics.median(r[k] for r in many) for k in many[0]} if many else {}
                           for many in runs.values())  # fmt: skip
            cells = [f"{spacing:g}", arm, f"{mine['seconds']:.1f}"]
            cells += [f"{mine[step]:.1f}" for step in (*SHOWN, "other")] + [f"{mine['peak']:.2f}"]
            if other:
                cells += [f"{other[name]:.1f}" for name in ("seconds", "bias field", "registration")]
                cells += [f"{other['peak']:.2f}", f"{mine['seconds'] / other['seconds']:.2f}"]
            else:
                cells += ["-"] * 5
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
