"""The quickstart's known-truth figures over cohorts, trainings and threads, and how far they differ.

Each cohort's seed is run as ``quickstart.sh --seed S`` runs it; the first cohort is trained with each training seed and
each number of threads. A run that is finished is not made again. Written to --out: ``runs.tsv`` (a row a run), and
printed, with the range of each figure::

    python scripts/experiments/quickstart_range.py --cohorts 1 2 3 4 --trainings 1 2 3 4 --threads 1 2 --out range
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from neuroxai.io import read_json, write_tsv

QUICKSTART = Path(__file__).resolve().parents[1] / "quickstart.sh"


def planned(cohorts: Sequence[int], trainings: Sequence[int], threads: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return (cohort seed, training seed, threads) of each run, each once."""
    own = [(seed, seed, threads[0]) for seed in cohorts]
    more = [(cohorts[0], training, count) for training in trainings for count in threads]
    return list(dict.fromkeys([*own, *more]))


def figures(metrics: Path) -> dict[str, Any]:
    """Read a report's figures: held-out accuracy, and the known truth of patients and controls."""
    record = read_json(metrics)
    truth = record["known_truth"]
    row = {"balanced_accuracy": record["classification"]["balanced_accuracy"]["value"]}
    for group in ("patients", "controls"):
        row[f"density_ratio_{group}"] = truth["density_ratio"][group]["value"]
        row[f"relevance_mass_{group}"] = truth["relevance_mass"][group]["mean"]
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs that are missing, and print all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, nargs="+", default=[1, 2, 3, 4], help="seeds of cohort and split")
    parser.add_argument("--trainings", type=int, nargs="+", default=[1, 2, 3, 4], help="seeds of the training")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="OMP_NUM_THREADS")
    parser.add_argument("--out", type=Path, default=Path("range"))
    given = parser.parse_args(arguments)
    rows = []
    for cohort, training, threads in planned(given.cohorts, given.trainings, given.threads):
        folder = given.out.resolve() / f"cohort-{cohort}_training-{training}_threads-{threads}"
        metrics = folder / "explained" / "report" / "metrics.json"
        if not metrics.is_file():
            options = ["--out", folder, "--cohort", given.out.resolve() / f"cohort-{cohort}"]
            command = ["bash", QUICKSTART, *options, "--seed", cohort, "--training-seed", training]
            environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
            subprocess.run([str(part) for part in command], env=environment, stdout=sys.stderr, check=True)
        rows.append({"cohort": cohort, "training": training, "threads": threads, **figures(metrics)})
    table = pd.DataFrame(rows)
    write_tsv(given.out / "runs.tsv", table)
    print(table.round(3).to_string(index=False))
    print(table.drop(columns=["cohort", "training", "threads"]).agg(["min", "median", "max"]).round(3).to_string())


if __name__ == "__main__":
    main()
