"""What a study will cost: runs counted, time and disk extrapolated from a timed probe of each arm."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from neuroxai import io
from neuroxai.bundles.catalogue import bundle_folder
from neuroxai.cohort import label_scans, read_cohort
from neuroxai.derivatives.study_runs import read_result
from neuroxai.errors import InputError
from neuroxai.processes import settled_jobs
from neuroxai.studies import data
from neuroxai.studies.check import check
from neuroxai.studies.engine import RunOptions, run_study
from neuroxai.studies.spec import Arm, CohortSource, Search, Simulated, Split, Study

PROBE = 10
"""Subjects of the probe; their scans are simulated, since time does not depend on what a scan shows."""


@dataclass(frozen=True)
class Cost:
    """What one arm costs: runs, seconds and bytes each, and of its cohort once."""

    arm: str
    runs: int
    seconds_training: float
    seconds_explaining: float
    bytes_run: int
    seconds_cohort: float
    bytes_cohort: int


@dataclass(frozen=True)
class Estimate:
    """The cost of a study on this machine.

    Parameters
    ----------
    study : str
        Its name.
    arms : list of Cost
        By arm; a cohort that several share is counted with the first.
    jobs : int
        Runs at a time that the total assumes.
    """

    study: str
    arms: list[Cost]
    jobs: int

    @property
    def runs(self) -> int:
        """Trainings in all."""
        return sum(cost.runs for cost in self.arms)

    @property
    def hours(self) -> float:
        """Of all, at most."""
        each = sum(c.runs * c.seconds_training + c.seconds_explaining + c.seconds_cohort for c in self.arms)
        return each / self.jobs / 3600

    @property
    def gigabytes(self) -> float:
        """On disk."""
        return sum(c.runs * c.bytes_run + c.bytes_cohort for c in self.arms) / 1e9

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "runs": self.runs, "hours": self.hours, "gigabytes": self.gigabytes}

    def text(self) -> str:
        """Return a table for people."""
        lines = [f"{'arm':<20} {'runs':>5} {'training':>12} {'explaining':>12} {'cohort':>12} {'disk':>10}"]
        for c in self.arms:
            total = c.runs * c.bytes_run + c.bytes_cohort
            lines.append(
                f"{c.arm:<20} {c.runs:>5} {_span(c.seconds_training):>8} each {_span(c.seconds_explaining):>12} "
                f"{_span(c.seconds_cohort):>12} {_size(total):>10}"
            )
        lines.append(
            f"{self.study}: {self.runs} runs, at most {_span(self.hours * 3600)} with {self.jobs} at a time on this "
            f"machine, {_size(self.gigabytes * 1e9)}. Trainings are counted to their last epoch; early stopping ends "
            "them sooner."
        )
        return "\n".join(lines)


def estimate(study: Study, cohorts: Mapping[str, Path] | None = None, jobs: int = 1) -> Estimate:
    """Time one epoch, the explanation of a scan and the preparation of one for each arm, and extrapolate.

    Runs in a temporary folder; nothing is left behind.

    Raises
    ------
    InputError
        If the study cannot be run, or the probe fails (a grid too small for the network, say), with its reason.
    """
    check(study, cohorts)
    with TemporaryDirectory(prefix="neuroxai-") as folder:
        return Estimate(
            study.name,
            _costs(study, dict(cohorts or {}), Path(folder)),
            settled_jobs(jobs, 1 << 20),
        )


def _costs(study: Study, given: dict[str, Path], out: Path) -> list[Cost]:
    costs, seen = [], set[str]()
    for name, arm in study.arms.items():
        scans = _scans(study, arm, given)
        probe, seconds, size = _probe(study, name, out / name)
        result = read_result(probe)
        times = probe / "bundle" / "models" / "times.tsv"
        parts = dict(zip(("training", "validation", "test"), study.split.fractions, strict=True))
        visits = scans * (parts["training"] * arm.share + parts["validation"] * arm.share)
        epochs = _epochs(study, arm) if arm.train else 0
        here = PROBE * 0.8
        training = (
            float(io.read_tsv(times, numbers=("seconds",))["seconds"].sum()) / here * visits * epochs
            if times.is_file()
            else 0.0
        )
        explained = _explaining(probe) / max(result.parts["test"]["scans"], 1)
        cells = study.split.repeats * study.repetitions
        runs = cells * max(study.search.draws if arm.train else 1, 1)
        key = data.key_of(arm)
        first = key not in seen
        seen.add(key)
        prepare, more = _prepare(study, arm, given, out / f"{name}-scan") if first else (0.0, 0)
        simulated = first and arm.cohort not in given and not study.cohorts[arm.cohort].path and key == arm.cohort
        shown = sum(scans * parts[part] for part in study.parts)
        costs.append(
            Cost(
                name,
                runs,
                training,
                explained * shown * cells,
                _bytes(probe),
                scans * ((seconds / PROBE if simulated else 0.0) + prepare),
                int(scans * ((size / PROBE if simulated else 0) + more)),
            )
        )
    return costs


def _scans(study: Study, arm: Arm, given: dict[str, Path]) -> int:
    source = study.cohorts[arm.cohort]
    folder = given.get(arm.cohort) or (Path(source.path).expanduser() if source.path else None)
    if folder is None:
        return int(source.simulate["subjects"])
    table = read_cohort(folder, suffix=source.suffix, desc=source.desc, run=source.run)
    return len(label_scans(table, source.target, source.classes).scans)


def _epochs(study: Study, arm: Arm) -> int:
    values = io.read_object(
        bundle_folder(arm.bundle or study.bundle) / "configs" / "train.json", "configuration of a bundle"
    )
    return int({**values, **study.settings, **arm.settings}["max_epochs"])


def _probe(study: Study, name: str, out: Path) -> tuple[Path, float, int]:
    """Run one epoch of an arm on simulated scans; returns the run's folder, seconds and bytes of its cohort."""
    arm = study.arms[name]
    source = study.cohorts[arm.cohort]
    spacing = float({**study.settings, **arm.settings}.get("spacing", 2.0))
    effect = source.simulate.get("effect", "atrophy")
    simulated = {
        name: CohortSource({"effect": effect, "subjects": subjects, "spacing": spacing})
        for name, subjects in (("first", 2), ("probe", PROBE))
    }
    seconds = 0.0
    for cohort in simulated:  # the first pays for loading the template
        begun = time.perf_counter()
        data.make_source(replace(study, cohorts=simulated), cohort, None, out, 1)
        seconds = time.perf_counter() - begun
    classes = {"atrophy": ["CN", "AD"], "lesions": ["HC", "MS"]}[effect]
    targets = {key: replace(spec, target=None) for key, spec in study.explain.items()}
    chosen: dict[str, Any] = {}
    for key, values in {**study.search.space, **arm.search}.items():
        if not isinstance(values, Mapping):
            chosen[key] = values[0]
        else:
            chosen.update(next(iter(values.values())) if "low" not in values else {key: values["low"]})
    small = replace(
        study,
        analysis="metrics",
        cohorts={"main": CohortSource(path=str(out / "cohorts" / "probe"), classes=classes)},
        arms={name: Arm(bundle=arm.bundle, settings={**arm.settings, **chosen, "max_epochs": 1}, train=arm.train)},
        split=Split(age_bins=1),
        search=Search(),
        repetitions=1,
        parts=["test"],
        explain=targets if arm.explain else {},
        published=[],
    )
    summary = run_study(small, out / "study", options=RunOptions())
    if summary.failed:
        raise InputError(f"arms: {name}: the probe failed: {summary.failed[0]['error']}")
    (run,) = (out / "study" / "runs").iterdir()
    return run, seconds, _bytes(out / "cohorts" / "probe")


def _prepare(study: Study, arm: Arm, given: dict[str, Path], out: Path) -> tuple[float, int]:
    """Prepare one scan as an arm declares; returns seconds and bytes."""
    if not arm.prepare:
        return 0.0, 0
    from neuroxai.preprocess import choose, find_sources, prepare_cohort

    source = study.cohorts[arm.cohort]
    folder = given.get(arm.cohort) or (Path(source.path).expanduser() if source.path else None)
    if folder is None:
        simulate: Simulated = {**source.simulate, "subjects": 2}
        folder = data.make_source(
            replace(study, cohorts={"raw": replace(source, simulate=simulate)}), "raw", None, out, 1
        ).folder
    options = choose(**arm.prepare)
    sources, _ = find_sources(folder, options.modality, run=source.run)
    begun = time.perf_counter()
    prepare_cohort(out / "prepared", sources[:1], options)
    return time.perf_counter() - begun, _bytes(out / "prepared")


def _explaining(run: Path) -> float:
    path = run / "seconds.json"
    return float(io.read_json(path)["explaining"]) if path.is_file() else 0.0


def _bytes(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _span(seconds: float) -> str:
    """Return a span of time in the unit that a person would choose."""
    if not math.isfinite(seconds):
        return "n/a"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
