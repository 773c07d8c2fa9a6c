"""Run a study: cohorts, splits, trainings, explanations, analysis; what is done is kept, what failed is reported."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai._version import __version__
from neuroxai.derivatives.study_runs import RESULT, RunRecord, read_error, read_result, write_run
from neuroxai.errors import InputError
from neuroxai.processes import check_jobs, cluster
from neuroxai.studies import data
from neuroxai.studies.check import check, order, search_space
from neuroxai.studies.cohort_folder import CohortFolder
from neuroxai.studies.data import Progress
from neuroxai.studies.results import FinishedRun, Results, write_tables
from neuroxai.studies.runner import run_all
from neuroxai.studies.runs import Run, digest, make_run
from neuroxai.studies.search import draw, settings_of
from neuroxai.studies.spec import Study
from neuroxai.studies.trained import is_finished


@dataclass(frozen=True)
class RunOptions:
    """How runs are worked on; no result depends on it.

    Parameters
    ----------
    jobs : int
        Runs (and scans) at a time; -1 for one per core.
    scheduler : str, optional
        Address of a Dask scheduler instead.
    gpus : sequence of str
        GPUs of this machine to share out.
    retry : bool
        Try runs again that failed before.
    progress : callable, optional
        Called with (what, finished, all).
    """

    jobs: int = 1
    scheduler: str | None = None
    gpus: Sequence[str] = ()
    retry: bool = False
    progress: Progress | None = None

    def __post_init__(self) -> None:
        check_jobs(self.jobs)


@dataclass
class Summary:
    """What `run_study` did: counts of runs, and what failed."""

    folder: str
    runs: int = 0
    made: int = 0
    kept: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    scans_failed: list[str] = field(default_factory=list)
    report: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def run_study(
    study: Study,
    out: str | os.PathLike[str],
    cohorts: Mapping[str, Path] | None = None,
    options: RunOptions | None = None,
) -> Summary:
    """Run a study, or go on with it.

    Parameters
    ----------
    study : Study
        The declaration.
    out : path_like
        New, empty, or of an earlier call of the same study. Runs of equal settings are kept, whatever else changed.
    cohorts : mapping of str to Path, optional
        Folders in the place of declared cohorts.
    options : RunOptions, optional
        Parallel work, and whether to retry.

    Raises
    ------
    InputError
        If the study cannot be run; nothing is written then.
    """
    options = options or RunOptions()
    check(study, cohorts)
    folder = Path(out).resolve()
    with cluster(options.scheduler) as client:
        claim(folder, study, cohorts or {})
        return _Engine(study, folder, dict(cohorts or {}), options, client).run()


class _Engine:
    def __init__(self, study: Study, out: Path, given: dict[str, Path], options: RunOptions, client: Any) -> None:
        self.study, self.out, self.given, self.options, self.client = study, out, given, options, client
        self.summary = Summary(os.fspath(out))
        self.made: dict[str, CohortFolder] = {}
        self.splits: dict[tuple[str, int], Path] = {}
        self.best: dict[tuple[str, int, int], Run] = {}
        self.runs: list[Run] = []
        self.errors: dict[str, str] = {}
        self.sources: dict[str, Path] = {}

    def run(self) -> Summary:
        self._make_cohorts()
        for level in order(self.study):
            self._train(level)
        self._explain()
        done = self._done()
        write_tables(self.study, self.out, done, self.sources)
        if done:
            from neuroxai.studies import analyses
            from neuroxai.studies.page import write_report

            # what takes long and is kept; the page is made of what is written
            measure = getattr(analyses.get(self.study.analysis), "measure", None)
            if measure is not None:
                results = Results(self.study, self.out, done, self.sources)
                self.summary.scans_failed += measure(results, self.options.jobs, self.options.progress)

            self._report("writing the report", 0, 1)
            self.summary.report = str(write_report(self.out))
            self._report("writing the report", 1, 1)
        for item in done:
            for scan in io.read_object(item.folder / RESULT, "result of a run", {"failed": list})["failed"]:
                text = f"{scan['participant_id']} {scan['session_id']}".strip() + f": {scan['error']}"
                if text not in self.summary.scans_failed:
                    self.summary.scans_failed.append(text)
        self.summary.runs = len({run.identifier for run in self.runs})
        failed = {run.identifier: run for run in self.runs if run.identifier in self.errors}
        self.summary.failed = [
            {"run": run.identifier, "title": run.title, "error": self.errors[name], "log": str(self._log(run))}
            for name, run in failed.items()
        ]
        return self.summary

    def _log(self, run: Run) -> Path:
        return self.out / "runs" / run.identifier / "log.txt"

    def _make_cohorts(self) -> None:
        study, options = self.study, self.options
        for name in dict.fromkeys(arm.cohort for arm in study.arms.values()):
            source = data.make_source(study, name, self.given.get(name), self.out, options.jobs, options.progress)
            base_splits = data.split(study, name, source, self.out)
            self.sources[name] = source.folder
            self.summary.scans_failed.extend(source.failed)
            for arm_name, arm in study.arms.items():
                if arm.cohort != name:
                    continue
                made = data.make_arm(study, arm, source, self.out, options.jobs, options.scheduler, options.progress)
                if made is not source:
                    self.summary.scans_failed.extend(f for f in made.failed if f not in self.summary.scans_failed)
                self.made[arm_name] = made
                for number, base_split in enumerate(base_splits):
                    seed = study.split.seed + number
                    self.splits[arm_name, number] = data.arm_split(base_split, made, arm, self.out, seed)

    def _train(self, arms: Sequence[str]) -> None:
        """Train the arms of a level; draws that need the figures of earlier ones come in rounds."""
        study = self.study
        cells = [
            (arm, split, repetition)
            for arm in arms
            for split in range(study.split.repeats)
            for repetition in range(study.repetitions)
        ]
        searched = {cell: study.search.draws if study.arms[cell[0]].train else 0 for cell in cells}
        found: dict[tuple[str, int, int], list[Run]] = {cell: [] for cell in cells}
        at_once = study.search.sampler == "random"
        for _ in range(1 if at_once or not study.search.draws else study.search.draws):
            batch: list[Run] = []
            for cell in cells:
                size = max(searched[cell], 1)
                for _ in range(size - len(found[cell]) if at_once else min(1, size - len(found[cell]))):
                    run = self._next(cell, found[cell], bool(searched[cell]))
                    found[cell].append(run)
                    batch.append(run)
            self._work(batch, explain=not study.search.draws)
        for cell, runs in found.items():
            self.runs.extend(runs)
            scores = [(self._score(run), -n, run) for n, run in enumerate(runs)]
            good = [item for item in scores if item[0] is not None]
            if good:
                self.best[cell] = max(good, key=lambda item: item[:2])[2]

    def _next(self, cell: tuple[str, int, int], before: Sequence[Run], searched: bool) -> Run:
        arm, split, repetition = cell
        study, values, chosen = self.study, {}, {}
        if searched:
            space = search_space(study, arm)
            stream = list(study.arms).index(arm) * 100_003 + split * 101 + repetition
            store = (
                self.out
                / "search"
                / f"{arm}_split-{split}_repetition-{repetition}_{digest([asdict(study.search), space], 6)}.log"
            )
            random = study.search.sampler == "random"
            scores = [None if random else self._score(run) for run in before]
            values = draw(study.search, space, stream, scores, store)
            chosen = settings_of(space, values)
        parent = study.arms[arm].pretrained
        needs = self.best.get((parent, split, repetition)) if parent else None
        # a parent without a finished run is no lack of a parent: the run must not be taken for one that has none
        begins_with = needs.identifier if needs else f"arm {parent}" if parent else ""
        run = make_run(
            study, arm, (split, repetition, len(before) if searched else None),
            (self.made[arm].folder, self.splits[arm, split]), values, chosen, begins_with,
        )  # fmt: skip
        if parent and needs is None:
            self.errors[run.identifier] = f"arm {parent}, whose weights it begins with, has no finished run"
        return run

    def _score(self, run: Run) -> float | None:
        place = self.out / "runs" / run.identifier
        return float(read_result(place).validation_score or 0.0) if (place / RESULT).is_file() else None

    def _explain(self) -> None:
        """Explain the runs that count, where a search had to be over before they were known."""
        if self.study.search.draws and self.study.explain:
            self._work(list(self.best.values()), explain=True, what="explaining")

    def _work(self, batch: Sequence[Run], explain: bool, what: str = "training") -> None:
        waiting: dict[Path, Run] = {}
        kept = 0
        for run in {r.identifier: r for r in batch}.values():
            place = self.out / "runs" / run.identifier
            if run.identifier in self.errors:
                continue
            record = self._record(run, explain)
            if self._finished(place, record):
                kept += 1
                continue
            if not self.options.retry and (failure := read_error(place)) is not None:
                self.errors[run.identifier] = f"{failure} (tried before; --retry tries again)"
                continue
            place.mkdir(parents=True, exist_ok=True)
            write_run(place, record)
            waiting[place] = run
        total = kept + len(waiting)
        if what == "training":
            self.summary.kept += kept
        self._report(what, kept, total)
        outcomes = run_all(list(waiting), self.options.jobs, self.options.gpus, self.study.processes, self.client)
        for number, outcome in enumerate(outcomes, start=kept + 1):
            if outcome.error:
                self.errors[waiting[outcome.folder].identifier] = outcome.error
            elif what == "training":
                self.summary.made += 1
            self._report(what, number, total)

    def _report(self, what: str, done: int, total: int) -> None:
        if self.options.progress is not None and total:
            self.options.progress(what, done, total)

    def _record(self, run: Run, explain: bool) -> RunRecord:
        study, arm = self.study, self.study.arms[run.arm]
        weights = self.out / "runs" / run.needs / "bundle" / "models" / "model.pt"
        return RunRecord(
            study=study.name, title=run.title, identifier=run.identifier,
            bundle=str(run.bundle), cohort=str(run.folder), datalist=str(run.datalist),
            settings=run.settings, pretrained=str(weights) if run.needs else None, train=run.train,
            processes=study.processes, threads=study.threads, parts=study.parts,
            explain={name: asdict(spec) for name, spec in study.explain.items()} if explain and arm.explain else {},
            atlases=study.atlases, lesions=study.cohorts[arm.cohort].lesions,
            version=__version__,
        )  # fmt: skip

    def _finished(self, place: Path, record: RunRecord) -> bool:
        return (
            (place / RESULT).is_file()
            and all((place / f"predictions_{part}.tsv").is_file() for part in record.parts)
            and all(
                is_finished(place / "explained" / part / name, spec, record.atlases)
                for part in record.parts
                for name, spec in record.explain.items()
            )
        )

    def _done(self) -> list[FinishedRun]:
        arms = list(self.study.arms)
        runs = sorted(self.runs, key=lambda r: (arms.index(r.arm), r.split, r.repetition, r.draw or 0))
        return [
            FinishedRun(
                run, self.out / "runs" / run.identifier, self.best.get((run.arm, run.split, run.repetition)) is run
            )
            for run in runs
            if run.identifier not in self.errors
        ]


def claim(folder: Path, study: Study, cohorts: Mapping[str, Path]) -> None:
    """Take a new or empty folder, or one of the same study."""
    record = folder / "study.json"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the study")
    if record.is_file():
        before = io.read_object(record, "study", {"study": dict})
        if before.get("study", {}).get("name") != study.name:
            raise InputError(
                f"{folder}: holds study {before.get('study', {}).get('name')!r}, now {study.name!r} is asked for; name "
                "a new folder"
            )
    elif folder.exists() and (strange := sorted(p.name for p in folder.iterdir() if ".tmp." not in p.name)):
        raise InputError(f"{folder}: is not empty (holds {strange[0]!r}) and is no study; name a new folder")
    expected = {
        "version": __version__,
        "cohorts": {name: str(Path(path).resolve()) for name, path in cohorts.items()},
        "study": json.loads(json.dumps(asdict(study))),
    }
    io.write_json(record, expected)
