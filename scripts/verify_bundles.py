"""Run everything that a model zoo asks of a bundle, offline and on the CPU, on a copy, and print a table.

Each bundle is trained for two epochs on tiny phantoms at 5 mm, evaluated, run, explained and exported as users do
it, in processes of their own. Example::

    python scripts/verify_bundles.py                                          # all bundles, some minutes
    python scripts/verify_bundles.py bundles/brain_t1w_alzheimers_classification --quick

Exit code 0 if all checks pass, 1 if one fails, 2 if there is no such bundle.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks for a GPU

from bundle_checks import exports, federated, files, processes, properties, runs
from bundle_checks.phantoms import make_cohort
from bundle_checks.trial import Problem, Trial

REPOSITORY = Path(__file__).resolve().parents[1]
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


def find_bundles(named: Sequence[Path]) -> list[Path]:
    """Return the bundles named, or all of the repository; they are known by their metadata."""
    found = list(named) or sorted(path.parents[1] for path in REPOSITORY.glob("bundles/*/configs/metadata.json"))
    for bundle in found:
        if not (bundle / "configs" / "metadata.json").is_file():
            raise SystemExit(f"error: {bundle} is no bundle: it has no configs/metadata.json")
    return found


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="*", type=Path, help="folders of bundles (default: all of the repository)")
    parser.add_argument("--quick", action="store_true", help=f"leave out: {', '.join(SLOW)}")
    parser.add_argument("--only", action="append", choices=CHECKS, metavar="CHECK", help="one check; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="bundles at a time (default: all cores)")
    options = parser.parse_args()
    try:
        bundles = find_bundles(options.bundle)
    except SystemExit as error:
        print(error, file=sys.stderr)
        return 2
    begin = time.perf_counter()
    with ProcessPoolExecutor(max(1, min(options.jobs, len(bundles)))) as pool:
        checks = [name for name in CHECKS if name in (options.only or CHECKS)]
        found = list(pool.map(verify, bundles, [options.quick] * len(bundles), [checks] * len(bundles)))
    results = {bundle.resolve().name: outcomes for bundle, outcomes in zip(bundles, found, strict=True)}
    print(table(results))
    failed = sum(one.problem is not None for outcomes in found for one in outcomes)
    print(f"\n{len(bundles)} bundle(s), {failed} failed check(s), {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
