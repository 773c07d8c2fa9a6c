r"""Processor seconds a scan and peak memory of whole commands, beside another checkout and a script written by hand.

A cohort of random brains of 1 mm (names of one file each, so that many cost no disk), a network of the Alzheimer's
bundle with random weights, and the commands as a user calls them. Ours and theirs run at the same time, each in a
process of its own, which takes the same turns of a busy machine; a cohort of two sizes is run, and what a scan costs is
the difference, the rest is the start. Then what the two wrote is compared, value by value::

    git worktree add ../before 15d9873
    OMP_NUM_THREADS=1 python scripts/benchmarks/cohort.py --against ../before --head head_T1w.nii.gz

How time and memory grow with tiny scans (they lie on the grid of the network, which takes 5 mm at most), ours alone::

    OMP_NUM_THREADS=1 python scripts/benchmarks/cohort.py --growth 100 1000 4000 --spacing 5
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from _common import waited
from by_hand import NAME as BY_HAND

from explain import BUNDLE, trained
from neuroxai import io
from neuroxai.preprocess.template import load_template
from neuroxai.space import Volume

OURS = Path(__file__).resolve().parents[2]
EXPLAIN = ("explain", "{bundle}", "{scans}", "--out", "{out}", "--desc", "brain")
COMMANDS: dict[str, tuple[str, ...]] = {
    "explain": EXPLAIN,
    "scores alone": (*EXPLAIN, "--scores-only"),
    "predict": ("predict", "{bundle}", "{scans}", "--out", "{out}", "--desc", "brain"),
    "score": ("score", "{explained}", "--out", "{out}/regions.tsv"),
    "report": ("report", "{explained}", "--out", "{out}"),
    "prepare": ("prepare", "{heads}", "{out}", "--arm", "linear"),
}
AFTER_EXPLAIN = ("score", "report")
#: What a script written by hand is held against: one pass forward and one backward.
AS_BY_HAND = (*EXPLAIN, "--method", "gradient_x_input")
Used = tuple[float, float, float]


def cohort(folder: Path, count: int, scan: Path, suffix: str) -> Path:
    """Make a cohort of `count` scans, all of them one file."""
    for n in range(count):
        name = folder / f"sub-{n:05d}" / "anat" / f"sub-{n:05d}_{suffix}.nii.gz"
        name.parent.mkdir(parents=True)
        os.link(scan, name)
    return folder


def random_brain(folder: Path, spacing: float) -> Path:
    """Write a brain of random values of the template's shape."""
    brain = load_template(spacing=spacing).brain
    noise = np.random.default_rng(0).random(brain.data.shape, dtype=np.float32)
    # twelve bits, as scanners give them: noise of all bits does not pack, and real scans do
    values = np.rint(brain.data * (600 + 200 * noise)).astype(np.float32)
    return io.write_volume(folder / "scan.nii.gz", Volume(values, brain.space))


def start(code: Path, arguments: Sequence[str], log: Path) -> Callable[[], Used]:
    """Start a command; what is returned waits for it: seconds, seconds of processor, and peak memory in MiB."""
    begin = time.perf_counter()
    with log.open("w") as output:
        process = os.posix_spawn(
            sys.executable,
            [sys.executable, *arguments],
            {**os.environ, "PYTHONPATH": str(code)},
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), stream) for stream in (1, 2)],
        )
    ended = ThreadPoolExecutor(1).submit(lambda: (waited(process), time.perf_counter() - begin))

    def wait() -> Used:
        (code, processor, memory), seconds = ended.result()
        if code:
            raise SystemExit(f"{' '.join(arguments)}: ended with {code}\n{log.read_text()}")
        return seconds, processor, memory

    return wait


class Bench:
    """Cohorts, bundles and the codes that work on them, in a folder.

    Parameters
    ----------
    folder : pathlib.Path
        For all that is written.
    codes : mapping of str to pathlib.Path
        Checkouts.
    spacing : float
        Voxel size of the network's grid, mm.
    fine : float
        That of the scans.
    head : pathlib.Path, optional
        What is prepared.
    """

    def __init__(
        self, folder: Path, codes: Mapping[str, Path], spacing: float, fine: float = 1.0, head: Path | None = None
    ) -> None:
        self.folder, self.codes = folder, codes
        self.bundles = {
            name: trained(folder / name, spacing, code / "bundles" / BUNDLE.name) for name, code in codes.items()
        }
        self._brain, self._head = random_brain(folder, fine), head
        self._cohorts: dict[tuple[str, int], Path] = {}

    def out(self, command: str, code: str, count: int) -> Path:
        """Return where a command writes."""
        return self.folder / "out" / code / f"{command.replace(' ', '_')}-{count}"

    def run(self, command: str, words: Sequence[str], count: int) -> dict[str, Used]:
        """Run a command of all codes at the same time."""
        waiting = {name: start(code, self._words(command, words, name, count), self._log(command, name, count))
                   for name, code in self.codes.items()}  # fmt: skip
        return {name: wait() for name, wait in waiting.items()}

    def _words(self, command: str, words: Sequence[str], code: str, count: int) -> list[str]:
        out = self.out(command, code, count)
        places = {
            "bundle": self.bundles[code],
            "scans": self._of("scans", count) if "{scans}" in words else "",
            "heads": self._of("heads", count) if "{heads}" in words else "",
            "explained": self.out("explain", code, count),
            "out": out,
        }
        if command == BY_HAND:
            return [str(Path(__file__).with_name("by_hand.py")), *(word.format(**places) for word in words)]
        return ["-P", "-m", "neuroxai", *(word.format(**places) for word in words)]

    def _of(self, kind: str, count: int) -> Path:
        if (kind, count) not in self._cohorts:
            file, suffix = (self._brain, "desc-brain_T1w") if kind == "scans" else (self._head, "T1w")
            assert file is not None
            if kind == "heads" and not (self.folder / "head.nii.gz").exists():  # on the same disk, for links
                (self.folder / "head.nii.gz").write_bytes(file.read_bytes())
            file = self.folder / "head.nii.gz" if kind == "heads" else file
            self._cohorts[kind, count] = cohort(self.folder / f"{kind}-{count}", count, file, suffix)
        return self._cohorts[kind, count]

    def _log(self, command: str, code: str, count: int) -> Path:
        out = self.out(command, code, count)
        if command in ("score", BY_HAND):
            out.mkdir(parents=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        return out.with_suffix(".log")

    def beside(self, command: str, words: Sequence[str], sizes: tuple[int, int]) -> dict[str, tuple[float, float]]:
        """Print a line for each code: seconds a scan by the clock and the processor, the start, and memory."""
        few, many = (self.run(command, words, count) for count in sizes)
        costs = {}
        for code in few:
            wall, processor = (
                (b - a) / (sizes[1] - sizes[0]) for a, b in zip(few[code][:2], many[code][:2], strict=True)
            )
            costs[code] = wall, processor
            begin = few[code][1] - sizes[0] * processor
            memory = f"{few[code][2]:.0f} | {many[code][2]:.0f}"
            print(f"| {command} | {code} | {processor:.3f} | {wall:.3f} | {begin:.1f} | {memory} |", flush=True)
        if len(costs) > 1:
            ratios = [theirs / ours for ours, theirs in zip(costs["ours"], costs["theirs"], strict=True)]
            print(f"| {command} | theirs over ours | {ratios[1]:.2f} | {ratios[0]:.2f} | | | |", flush=True)
        return costs


def differences(ours: Path, theirs: Path) -> dict[str, tuple[float, int]]:
    """Return the largest difference of what two folders hold under the same names, and how many values were compared.

    Of images over the largest magnitude of the image, of tables over that of the column.
    """
    found: dict[str, tuple[float, int]] = {}
    for file in sorted(ours.rglob("*")):
        other = theirs / file.relative_to(ours)
        if not other.is_file() or "report" in file.parts:
            continue
        pairs = _values(file, other)
        for kind, one, two in pairs:
            most, count = found.get(kind, (0.0, 0))
            if one.shape != two.shape:
                found[kind] = float("inf"), count
                continue
            if not one.size:
                continue
            scale = np.abs(two).max(initial=0.0) or 1.0
            found[kind] = max(most, float(np.abs(one - two).max(initial=0.0) / scale)), count + one.size
    return found


def _values(one: Path, two: Path) -> Iterable[tuple[str, Any, Any]]:
    last = one.name.split("_")[-1]
    if one.name.endswith(".nii.gz"):
        images = [io.read_volume(path).data.astype(np.float64) for path in (one, two)]
        yield last, images[0], images[1]
    elif one.suffix == ".tsv":
        tables = [pd.read_csv(path, sep="\t") for path in (one, two)]
        for column in tables[0].columns.intersection(tables[1].columns):
            if all(pd.api.types.is_numeric_dtype(table[column]) for table in tables):
                columns = [table[column].dropna().to_numpy(float) for table in tables]
                yield f"{last}: {column}", columns[0], columns[1]


def compare(bench: Bench, commands: Iterable[str], count: Callable[[str], int]) -> None:
    """Print the largest differences between what ours and theirs wrote."""
    print("\n| command | what | largest difference, relative | values |\n|---|---|---|---|")
    for command in commands:
        places = [bench.out(command, code, count(command)) for code in ("ours", "theirs")]
        for what, (most, values) in differences(*places).items():
            print(f"| {command} | {what} | {most:.1e} | {values} |", flush=True)


def growth(options: argparse.Namespace) -> None:
    """Print how time and memory grow with the number of tiny scans, start included."""
    print(f"tiny scans ({options.spacing:g} mm), start included\n")
    print("| command | scans | processor, s | ms a scan | MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), {"ours": OURS}, options.spacing, options.spacing)
        for command in (each for each in options.commands if each != "prepare"):
            for count in options.growth:
                _, seconds, memory = bench.run(command, COMMANDS[command], count)["ours"]
                print(
                    f"| {command} | {count} | {seconds:.1f} | {1e3 * seconds / count:.1f} | {memory:.0f} |", flush=True
                )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout; ours alone without")
    parser.add_argument("--scans", type=int, default=12, help="of the larger cohort; the smaller one has 2")
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size of the network's grid in mm")
    parser.add_argument("--head", type=Path, help="a T1w head, to prepare one and two of; not prepared without")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--no-hand", action="store_true", help="leave out captum and nilearn by hand")
    parser.add_argument("--growth", type=int, nargs="+", metavar="SCANS", help="print how time and memory grow instead")
    options = parser.parse_args()
    if options.growth:
        growth(options)
        return
    codes = {"ours": OURS, **({"theirs": options.against.resolve()} if options.against else {})}
    commands = [each for each in COMMANDS if each in options.commands and (each != "prepare" or options.head)]
    if set(commands) & set(AFTER_EXPLAIN) and "explain" not in commands:
        parser.error("score and report need explain")
    threads = torch.get_num_threads()
    print(
        f"scans of 1 mm, network at {options.spacing:g} mm, {options.scans} scans less 2, {threads} threads a process\n"
    )
    print("| command | code | processor, s a scan | wall | start, processor | MiB, few scans | MiB, all |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), codes, options.spacing, head=options.head)
        sizes = {each: (1, 2) if each == "prepare" else (2, options.scans) for each in commands}
        for command in commands:
            bench.beside(command, COMMANDS[command], sizes[command])
        if not options.no_hand:
            alone = Bench(Path(name, "hand"), {"ours": OURS}, options.spacing)
            mine = alone.beside("explain --method gradient_x_input", AS_BY_HAND, (2, options.scans))["ours"]
            hand = alone.beside(BY_HAND, ("{bundle}", "{scans}", "{out}"), (2, options.scans))["ours"]
            ratios = f"{hand[1] / mine[1]:.2f} | {hand[0] / mine[0]:.2f}"
            print(f"| {BY_HAND} over ours | | {ratios} | | | |", flush=True)
        if len(codes) > 1:
            compare(bench, commands, lambda each: sizes[each][1])


if __name__ == "__main__":
    main()
