r"""Seconds a scan and peak memory of whole commands, beside those of another checkout in the same run.

A cohort of random brains of 1 mm (names of one file each, so that many cost no disk), a network of the Alzheimer's
bundle with random weights, and the commands as a user calls them, each in a process of its own, ours and theirs in
turns. Two sizes of the cohort are run: what a scan costs is the difference, the rest is the start::

    git worktree add /tmp/before 15d9873
    OMP_NUM_THREADS=1 python scripts/benchmarks/cohort.py --against /tmp/before --scans 20 --spacing 2
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from explain import BUNDLE, trained
from neuroxai import io
from neuroxai.preprocess.template import load_template
from neuroxai.space import Volume

OURS = Path(__file__).resolve().parents[2]
COMMANDS = ("explain", "scores alone", "predict")


def cohort(folder: Path, count: int) -> Path:
    """Make a cohort of `count` scans of 1 mm, all of them one file."""
    brain = load_template(spacing=1.0).brain
    noise = np.random.default_rng(0).random(brain.data.shape, dtype=np.float32)
    # twelve bits, as scanners give them: noise of all bits does not pack, and real scans do
    values = np.rint(brain.data * (600 + 200 * noise)).astype(np.float32)
    scan = io.write_volume(folder / "scan.nii.gz", Volume(values, brain.space))
    for n in range(count):
        name = folder / f"cohort{count}" / f"sub-{n:05d}" / "anat" / f"sub-{n:05d}_desc-brain_T1w.nii.gz"
        name.parent.mkdir(parents=True)
        os.link(scan, name)
    return folder / f"cohort{count}"


def run(code: Path, command: str, bundle: Path, source: Path, out: Path) -> tuple[float, float, float]:
    """Run a command of a checkout; return seconds, seconds of processor, and peak memory in MiB."""
    name, *more = {"scores alone": ["explain", "--scores-only"]}.get(command, [command])
    target = out / "predictions.tsv" if name == "predict" else out
    arguments = [sys.executable, "-P", "-m", "neuroxai", name, str(bundle), str(source), "--out", str(target), *more]
    start = time.perf_counter()
    with open(os.devnull, "w") as nothing:
        process = os.posix_spawn(
            sys.executable,
            [*arguments, "--desc", "brain"],
            {**os.environ, "PYTHONPATH": str(code)},
            file_actions=[(os.POSIX_SPAWN_DUP2, nothing.fileno(), 1), (os.POSIX_SPAWN_DUP2, nothing.fileno(), 2)],
        )
        _, status, used = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout; ours alone without")
    parser.add_argument("--scans", type=int, default=20, help="of the larger cohort; the smaller one has 2")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size of the network's grid in mm")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    codes = {"ours": OURS, **({"theirs": options.against.resolve()} if options.against else {})}
    print(f"seconds a scan of 1 mm, network at {options.spacing:g} mm, {options.scans} scans less 2\n")
    print("| command | code | wall | processor | start | MiB, 2 scans | MiB, all |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundles = {
            code: trained(folder / code, options.spacing, place / "bundles" / BUNDLE.name)
            for code, place in codes.items()
        }
        sizes = {count: cohort(folder, count) for count in (2, options.scans)}
        for command in options.commands:
            taken: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
            for repeat in range(options.repeats):
                for count, source in sizes.items():
                    for code, place in codes.items():
                        out = folder / f"{command}-{code}-{count}-{repeat}"
                        taken.setdefault((code, count), []).append(run(place, command, bundles[code], source, out))
            costs = {}
            for code in codes:
                few, all_of = (
                    [statistics.median(column) for column in zip(*taken[code, count], strict=True)] for count in sizes
                )
                more = options.scans - 2
                wall, processor = ((b - a) / more for a, b in zip(few[:2], all_of[:2], strict=True))
                costs[code] = wall, processor
                row = f"{wall:.3f} | {processor:.3f} | {few[0] - 2 * wall:.1f} | {few[2]:.0f} | {all_of[2]:.0f}"
                print(f"| {command} | {code} | {row} |", flush=True)
            if len(costs) > 1:
                ratios = [theirs / ours for ours, theirs in zip(costs["ours"], costs["theirs"], strict=True)]
                print(f"| {command} | theirs over ours | {ratios[0]:.2f} | {ratios[1]:.2f} | | | |", flush=True)


if __name__ == "__main__":
    main()
