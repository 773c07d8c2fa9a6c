"""A cohort with broken scans over the workers of a local Dask cluster, one of them killed on the way.

Tiny random brains (names of one file each, so that many cost no disk), every thirty-third of them broken in one of
several ways. `explain` and `prepare` go over them by `--scheduler`; then one process goes over the good ones alone, or
over the first of them (`--alone 2`): they are one file under many names, so that all others must have the rows of the
first, but for the name. It is checked that the exit code is 1, that each broken scan is reported and no other, and that
both came to the same tables, byte for byte; printed are seconds, peak memory of the command, of the workers and of the
scheduler (with this script) when a tenth of the scans is done and at the end, and what running it again takes::

    OMP_NUM_THREADS=1 python scripts/benchmarks/cluster.py --scans 10000 --commands explain --alone 2
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask
import nibabel
import numpy as np
import pandas as pd
from _common import peak_of, waited
from distributed import Client, LocalCluster

from cohort import random_brain
from explain import trained

OURS = Path(__file__).resolve().parents[2]
COMMANDS = {
    "explain": ("explain", "{bundle}", "{scans}", "--out", "{out}", "--desc", "brain"),
    # without registration: what is tried is how a cohort is gone over
    "prepare": (
        "prepare",
        "{scans}",
        "{out}",
        *["--arm", "none", "--brain", "none", "--no-bias-correction", "--no-figures"],
    ),
}
TABLES = {"explain": ("predictions.tsv", "regions.tsv"), "prepare": ("quality.tsv",)}
EVERY = 33  # one scan in so many is broken


def spoiled(good: Path) -> Mapping[str, Callable[[Path], object]]:
    """Return ways to break a scan, each of which writes a file."""
    image, packed = nibabel.load(good), good.read_bytes()
    data = np.asarray(image.dataobj, np.float32)

    def saved(values: np.ndarray, affine: np.ndarray = image.affine) -> Callable[[Path], object]:
        return lambda path: nibabel.save(nibabel.Nifti1Image(values, affine), path)

    holes = data.copy()
    holes[holes.shape[0] // 2] = np.nan
    return {
        "cut off": lambda path: path.write_bytes(packed[: len(packed) // 2]),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("no image\n"),
        "damaged": lambda path: path.write_bytes(packed[:400] + bytes(len(packed) - 400)),
        "not a number": saved(holes),
        "constant": saved(np.ones_like(data)),
        "four dimensions": saved(np.stack([data, data], axis=-1)),
        "flat": saved(data[..., :1]),
    }


def cohort(folder: Path, count: int, scan: Path, suffix: str, alone: int) -> tuple[Path, Path, set[str]]:
    """Make a cohort and the good part of it, or the first so many of that; return both and who is broken."""
    ways = []
    for way, spoil in spoiled(scan).items():
        spoil(folder / f"{way.replace(' ', '_')}.nii.gz")
        ways.append(folder / f"{way.replace(' ', '_')}.nii.gz")
    broken: set[str] = set()
    for n in range(count):
        who = f"sub-{n:05d}"
        bad = n % EVERY == EVERY // 2
        places = ["all", "good"] if not bad and n - len(broken) < alone else ["all"]
        for place in places:
            file = folder / place / who / "anat" / f"{who}_{suffix}.nii.gz"
            file.parent.mkdir(parents=True)
            os.link(ways[n // EVERY % len(ways)] if bad else scan, file)
        if bad:
            broken.add(who)
    return folder / "all", folder / "good", broken


def command(words: list[str], log: Path, told: Callable[[int], object] = lambda _: None) -> tuple[int, float, float]:
    """Run our command, and tell its process; return its exit code, seconds and peak memory in MiB."""
    begin = time.perf_counter()
    with log.open("w") as output:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "neuroxai", *words],
            {**os.environ, "PYTHONPATH": str(OURS)},
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)],
        )
        told(process)
        code, _, memory = waited(process)
    return code, time.perf_counter() - begin, memory


@dataclass
class Watch:
    """Looks at peaks of memory while a cohort is gone over, and kills a worker once a quarter is done.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    out : pathlib.Path
        Where a folder a scan appears.
    count : int
        All scans.
    """

    client: Client
    out: Path
    count: int
    killed: int | None = None
    peaks: list[tuple[float, ...]] = field(default_factory=list)

    def begin(self, process: int) -> None:
        """Watch a command, until it has ended."""
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: int) -> None:
        while own := peak_of(process):
            done = len(list(self.out.glob("sub-*")))
            workers = sorted(self.client.run(os.getpid, on_error="ignore").values())
            if self.killed is None and done >= self.count // 4:
                self.killed = workers[0]
                os.kill(self.killed, signal.SIGKILL)
            if done >= self.count // 10:
                self.peaks.append((own, max(map(peak_of, workers), default=0.0), peak_of()))
            time.sleep(1)


def same(far: Path, near: Path) -> None:
    """End unless a table has, for each scan, the rows of one process's: its own, or those of the first, renamed."""
    lines = near.read_text().splitlines(keepends=True)
    own: dict[str, str] = {}
    for line in lines[1:]:
        who = line.split("\t")[0]
        own[who] = own.get(who, "") + line
    first = next(iter(own))
    people = pd.read_csv(far, sep="\t", usecols=["participant_id"])["participant_id"].unique()
    rows = (own.get(who, own[first].replace(first, who)) for who in people)
    assert far.read_text() == lines[0] + "".join(rows), f"{far.name} differs"


def held(name: str, folder: Path, count: int, workers: int, bundle: Path, scan: Path, alone: int) -> None:
    """Run one command and print a line of the table; ends where something is not as it must be."""
    folder.mkdir()
    everything, good, broken = cohort(folder, count, scan, "desc-brain_T1w" if name == "explain" else "T1w", alone)
    far, near = folder / "far", folder / "near"

    def words(scans: Path, out: Path) -> list[str]:
        return [word.format(bundle=bundle, scans=scans, out=out) for word in COMMANDS[name]]

    # else each worker keeps where its seconds went, more of them all the time
    dask.config.set({"distributed.worker.profile.enabled": False})
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        watch = Watch(client, far, count)
        there = ["--scheduler", cluster.scheduler_address]
        code, seconds, _ = command([*words(everything, far), *there], folder / "far.log", watch.begin)
        log = (folder / "far.log").read_text()
        reported = {line.split()[1].rstrip(":") for line in log.splitlines() if line.startswith("failed: ")}
        assert code == 1, log[-2000:]
        assert reported == broken, (sorted(reported - broken)[:9], sorted(broken - reported)[:9], log[-2000:])
        assert watch.killed, "no worker was killed"
        tenth, end = watch.peaks[0], watch.peaks[-1]
        peaks = " | ".join(f"{early:.0f} / {late:.0f}" for early, late in zip(tenth, end, strict=True))
        print(f"{name}, {count} scans: {seconds:.0f} s, MiB {peaks}", file=sys.stderr, flush=True)
        _, again, _ = command([*words(everything, far), *there], folder / "again.log")
    code, single, own = command(words(good, near), folder / "near.log")
    assert code == 0, (folder / "near.log").read_text()[-2000:]
    for table in TABLES[name]:
        same(far / table, near / table)
    rows = len(pd.read_csv(far / TABLES[name][0], sep="\t"))
    assert rows == count - len(broken), rows
    print(f"| {name} | {count} | {len(broken)} | {rows} | {seconds:.0f} | {peaks} | {again:.0f} | {single:.0f} | "
          f"{own:.0f} |", flush=True)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=[1000])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--spacing", type=float, default=5.0, help="voxel size of the scans and the network in mm")
    parser.add_argument("--alone", type=int, default=sys.maxsize, help="good scans that one process goes over; all")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    print("| command | scans | broken | rows | s | MiB | MiB, workers | MiB, scheduler | again, s | alone, s | MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle, scan = trained(folder, options.spacing), random_brain(folder, options.spacing)
        for each in options.commands:
            for count in options.scans:
                held(each, folder / f"{each}-{count}", count, options.workers, bundle, scan, options.alone)


if __name__ == "__main__":
    main()
