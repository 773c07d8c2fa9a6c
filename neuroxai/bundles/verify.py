"""Run everything that a model zoo asks of a bundle, offline and on the CPU, on a copy.

Each bundle is trained for two epochs on tiny phantoms at 5 mm, evaluated, run, explained and exported as users do
it, in processes of their own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from neuroxai.bundles.checks import exports, federated, files, processes, properties, runs
from neuroxai.bundles.checks.phantoms import make_cohort
from neuroxai.bundles.checks.trial import Problem, Trial
from neuroxai.errors import InputError, one_of

CHECKS: dict[str, Callable[[Trial], None]] = {
    "file set": files.file_set,
    "sources alone": files.sources_alone,
    "plain JSON, no local path": files.plain_json,
    "both spellings": files.spellings,
    "imports": files.imports,
    "metadata": properties.metadata,
    "network in and out": properties.network_data,
    "training": runs.training,
    "required properties": properties.required_properties,
    "second call": runs.second_call,
    "load without data": properties.load_without_data,
    "evaluation": runs.evaluate,
    "inference": runs.inference,
    "explanation": runs.explain,
    "TorchScript": exports.torchscript,
    ".pt2": exports.pt2,
    "ONNX": exports.onnx,
    "federated": federated.federated,
    "killed run resumes": runs.killed_run,
    "two processes": processes.two_processes,
    "two nodes": processes.two_nodes,
}
SLOW = ("killed run resumes", "two processes", "two nodes")  # left out by --quick


@dataclass(frozen=True)
class Outcome:
    """Result of one check of one bundle; `problem` is None where all is well, `seconds` where it was skipped."""

    check: str
    problem: str | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.seconds is None:
            return "skipped"
        return f"{'FAIL' if self.problem else 'ok'} {self.seconds:.1f} s"


def verify(bundle: Path, quick: bool = False, checks: Sequence[str] = tuple(CHECKS)) -> list[Outcome]:
    """Run the checks on a copy of a bundle, with a line of progress each.

    Parameters
    ----------
    bundle : pathlib.Path
        The bundle's folder; nothing is written to it.
    quick : bool
        Leave out the slow ones.
    checks : sequence of str
        Names of the checks to run.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="verify_bundles_") as scratch:
        trial = Trial(bundle.resolve(), Path(scratch), make_cohort(Path(scratch) / "cohort"))
        for name in checks:
            if quick and name in SLOW:
                found.append(Outcome(name))
                continue
            begin, problem = time.perf_counter(), None
            try:
                CHECKS[name](trial)
            except Problem as error:
                problem = str(error)
            except Exception as error:  # whatever a broken bundle raises is a failed check, and the others go on
                problem = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            found.append(Outcome(name, problem, time.perf_counter() - begin))
            print(f"{bundle.name}: {name}: {found[-1]}", file=sys.stderr, flush=True)
    return found


def table(results: dict[str, list[Outcome]]) -> str:
    """Format outcomes as a markdown table, checks by bundles, with the reasons of failures below."""
    lines = [f"| check | {' | '.join(results)} |", "|---" * (len(results) + 1) + "|"]
    for row in zip(*results.values(), strict=True):
        lines.append(f"| {row[0].check} | {' | '.join(map(str, row))} |")
    reasons = [f"{name}: {one.check}: {one.problem}" for name, found in results.items() for one in found if one.problem]
    return "\n".join([*lines, *(["", *reasons] if reasons else [])])


def verify_all(bundles: Sequence[Path], quick: bool, checks: Sequence[str], jobs: int) -> dict[str, list[Outcome]]:
    """Run checks on several bundles, so many at a time and each on the CPU; return the outcomes by name.

    Parameters
    ----------
    bundles : sequence of pathlib.Path
        Their folders.
    quick, checks
        As for `verify`.
    jobs : int
        Bundles at a time.

    Raises
    ------
    InputError
        If a folder is no bundle, or a check is unknown.
    """
    for bundle in bundles:
        if not (bundle / "configs" / "metadata.json").is_file():
            raise InputError(f"{bundle}: is no bundle (no configs/metadata.json); give a bundle's folder or name")
    for name in checks:
        if name not in CHECKS:
            raise one_of("check", name, CHECKS)
    chosen = [name for name in CHECKS if name in checks]
    with ProcessPoolExecutor(max(1, min(jobs, len(bundles))), initializer=_without_gpu) as pool:
        found = list(pool.map(verify, bundles, [quick] * len(bundles), [chosen] * len(bundles)))
    return {bundle.resolve().name: outcomes for bundle, outcomes in zip(bundles, found, strict=True)}


def _without_gpu() -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # read when torch first looks for a GPU
