"""What the runs of a study left behind, for its analysis: tables and maps by arm, split and repetition."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from neuroxai import io
from neuroxai.derivatives.study_runs import read_result
from neuroxai.errors import InputError, one_of
from neuroxai.evaluation.classification import METRICS
from neuroxai.space import Volume
from neuroxai.studies.reading import study_of
from neuroxai.studies.runs import Run
from neuroxai.studies.spec import Study
from neuroxai.studies.trained import atlas_label


@dataclass(frozen=True)
class FinishedRun:
    """A finished run: what it was and where it stands."""

    run: Run
    folder: Path
    #: whether it is the best of its search, or there was none
    chosen: bool = True


class Results:
    """Read what the runs of a study wrote.

    Parameters
    ----------
    study : Study
        The declaration.
    out : pathlib.Path
        The study's folder.
    done : sequence of FinishedRun
        Finished runs, in the order of arms, splits, repetitions and draws.
    cohorts : mapping of str to Path
        Folders of the source cohorts, by name.
    """

    def __init__(self, study: Study, out: Path, done: Sequence[FinishedRun], cohorts: Mapping[str, Path]) -> None:
        self.study, self.out, self.done, self.cohorts = study, out, list(done), dict(cohorts)

    def __repr__(self) -> str:
        counts = Counter(done.run.arm for done in self.done)
        arms = ", ".join(f"{arm} ({number})" for arm, number in counts.items()) or "none"
        return f"Results({self.study.name}: finished runs by arm: {arms}; in {self.out})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.runs.to_html(index=False)}"

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: arm, split, repetition, draw, chosen, run, test metrics, epochs, steps, drawn values.

        Metrics: balanced_accuracy, sensitivity, specificity, accuracy, roc_auc, scans; ``validation_score`` is what
        draws are ranked by; drawn values stand in columns ``drawn_NAME``.
        """
        rows = []
        for done in self.done:
            run, result = done.run, read_result(done.folder)
            rows.append({
                "arm": run.arm, "split": run.split, "repetition": run.repetition,
                "draw": run.draw, "chosen": done.chosen, "run": run.identifier,
                **{name: result.parts["test"][name] for name in (*METRICS, "scans")},
                "epochs": result.epochs, "best_epoch": result.best_epoch, "steps": result.steps,
                "validation_score": result.validation_score,
                **{f"drawn_{name}": value for name, value in run.drawn.items()},
            })  # fmt: skip
        return pd.DataFrame(rows)

    @cached_property
    def timings(self) -> pd.DataFrame:
        """One row per run: seconds of training (all epochs, with validation), apart since no two runs agree in them."""
        rows = []
        for done in self.done:
            path = done.folder / "bundle" / "models" / "times.tsv"
            seconds = float(io.read_tsv(path, numbers=("seconds",))["seconds"].sum()) if path.is_file() else 0.0
            run = done.run
            rows.append({"arm": run.arm, "split": run.split, "repetition": run.repetition, "draw": run.draw,
                         "run": run.identifier, "seconds": seconds})  # fmt: skip
        return pd.DataFrame(rows)

    def chosen(self, arm: str | None = None) -> list[FinishedRun]:
        """Return the runs that count: of an arm or all, the best draw where hyper-parameters were searched for."""
        if arm is not None and arm not in self.study.arms:
            raise one_of("arm", arm, self.study.arms)
        return [done for done in self.done if done.chosen and arm in (None, done.run.arm)]

    def predictions(self, done: FinishedRun, part: str = "test") -> pd.DataFrame:
        """Return a run's predictions: participant_id, session_id, true, predicted, probability_CLASS, score."""
        return io.read_tsv(done.folder / f"predictions_{part}.tsv")

    def history(self, done: FinishedRun) -> pd.DataFrame:
        """Return the figures of each epoch; empty for a network that was not trained."""
        path = done.folder / "bundle" / "models" / "history.tsv"
        return io.read_tsv(path) if path.is_file() else pd.DataFrame()

    def scans(self, done: FinishedRun, explanation: str, part: str = "test") -> pd.DataFrame:
        """Return what an explanation came to on each scan.

        Columns participant_id, session_id, true, predicted, cell (TP, FP, TN, FN), probability, sum, positive, and
        where the truth is known truth_voxels, coverage, relevance_in_truth, roc_auc, density_ratio, relevance_mass.
        """
        return io.read_tsv(self._place(done, explanation, part) / "scans.tsv")

    def regions(
        self, done: FinishedRun, explanation: str, atlas: str | None = None, part: str = "test"
    ) -> pd.DataFrame:
        """Return region scores, a row per scan and region.

        Columns participant_id, session_id, index, name, sum, absolute, positive, negative, density, voxels; the first
        atlas of the study where none is named.
        """
        chosen = atlas or self.study.atlases[0]
        return io.read_tsv(self._place(done, explanation, part) / f"regions_{atlas_label(chosen)}.tsv")

    def mean_map(self, done: FinishedRun, explanation: str, group: str, part: str = "test") -> Volume | None:
        """Return a group's mean heatmap (all, TP, FP, TN, FN, class-NAME, filter-N or patch-N-filter-N), or None."""
        path = self._place(done, explanation, part) / f"mean_{group}.nii.gz"
        return io.read_volume(path) if path.is_file() else None

    def mean_scan(self, done: FinishedRun, part: str = "test") -> Volume | None:
        """Return the mean of a part's scans as the network takes them, to draw maps over."""
        path = done.folder / "explained" / part / "mean_scan.nii.gz"
        return io.read_volume(path) if path.is_file() else None

    def groups(self, done: FinishedRun, explanation: str, part: str = "test") -> list[str]:
        """Return the groups that have a mean heatmap."""
        found = self._place(done, explanation, part).glob("mean_*.nii.gz")
        return sorted(p.name.removeprefix("mean_").removesuffix(".nii.gz") for p in found)

    def participants(self, cohort: str = "main") -> pd.DataFrame:
        """Return a source cohort's participants.tsv."""
        return io.read_tsv(self.cohorts[cohort] / "participants.tsv", required=("participant_id",))

    def datalist(self, done: FinishedRun) -> dict[str, Any]:
        """Return the parts of a run's split."""
        found: dict[str, Any] = io.read_object(done.run.datalist, "datalist")
        return found

    def _place(self, done: FinishedRun, explanation: str, part: str) -> Path:
        if explanation not in self.study.explain:
            raise one_of("explanation", explanation, self.study.explain)
        return done.folder / "explained" / part / explanation


def write_tables(study: Study, out: Path, done: Sequence[FinishedRun], cohorts: Mapping[str, Path]) -> None:
    """Write results.tsv and timings.tsv, and what is needed to make the report again without the runs' plan."""
    results = Results(study, out, done, cohorts)
    if done:
        io.write_tsv(out / "results.tsv", results.runs)
        io.write_tsv(out / "timings.tsv", results.timings)
    index = [
        {**{k: str(v) if isinstance(v, Path) else v for k, v in asdict(item.run).items()}, "chosen": item.chosen}
        for item in done
    ]
    io.write_json(out / "runs.json", {"runs": index, "cohorts": {name: str(path) for name, path in cohorts.items()}})


def open_results(folder: Path) -> Results:
    """Open a study's folder.

    Raises
    ------
    InputError
        If it is none, or nothing has been run in it.
    """
    if not (folder / "study.json").is_file():
        raise InputError(f"{folder}: is no study (has no study.json); give the folder of `neuroxai study run --out`")
    if not (folder / "runs.json").is_file():
        raise InputError(f"{folder}: the study has not been run through; run it again to go on")
    study = study_of(
        io.read_object(folder / "study.json", "study", {"study": dict})["study"], str(folder / "study.json")
    )
    index: dict[str, Any] = io.read_object(folder / "runs.json", "list of runs", {"runs": list, "cohorts": dict})
    done = []
    for item in index["runs"]:
        try:
            chosen = item.pop("chosen")
            run = Run(**{**item, **{key: Path(item[key]) for key in ("bundle", "folder", "datalist")}})
        except (AttributeError, KeyError, TypeError):
            raise InputError(
                f"{folder / 'runs.json'}: {str(item)[:100]} is no run of a study; run the study again to go on"
            ) from None
        done.append(FinishedRun(run, folder / "runs" / run.identifier, chosen))
    return Results(study, folder, done, {name: Path(path) for name, path in index["cohorts"].items()})
