"""The cohorts of a study on disk: simulated or the user's own, prepared by arm, divided alike in all arms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io
from neuroxai.cohort import SplitOptions, check_datalist, find_scans, label_scans, read_cohort, split_cohort
from neuroxai.errors import InputError
from neuroxai.studies.cohort_folder import CohortFolder
from neuroxai.studies.filling import make_filled
from neuroxai.studies.runs import digest
from neuroxai.studies.spec import Arm, CohortSource, Split, Study

Progress = Callable[[str, int, int], None]
PREPARED = {"desc": "brain"}


def key_of(arm: Arm) -> str:
    """Return the name of an arm's cohort: arms that want the same scans share it."""
    if not (arm.prepare or arm.fill_lesions):
        return arm.cohort
    choices = {"prepare": arm.prepare, "fill": arm.fill_lesions}
    what = arm.fill_lesions or arm.prepare.get("preset") or arm.prepare.get("arm", "linear")
    return f"{arm.cohort}-{what}-{digest(choices, 6)}"


def make_source(
    study: Study, name: str, given: Path | None, out: Path, jobs: int, progress: Progress | None = None
) -> CohortFolder:
    """Take a cohort's folder, or simulate it (what is finished is kept)."""
    source = study.cohorts[name]
    find = {key: value for key in ("suffix", "desc", "run") if (value := getattr(source, key))}
    folder = given or (Path(source.path).expanduser() if source.path else None)
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"cohort {name}: {folder}: no such folder; give one with --cohort {name}=DIR")
        return CohortFolder(name, folder.resolve(), find)
    return _simulated(name, source, out / "cohorts" / name, find, jobs, progress)


def _simulated(
    name: str, source: CohortSource, folder: Path, find: Mapping[str, str], jobs: int, progress: Progress | None
) -> CohortFolder:
    from neuroxai.simulate import RandomPose, Raw, ScanOptions, simulate_cohort

    options: dict[str, Any] = {**source.simulate}
    scan_options = ScanOptions(
        misalign=RandomPose() if options.pop("misalign", False) else None,
        raw=Raw() if options.pop("raw", False) else None,
    )
    summary = simulate_cohort(
        folder,
        **options,
        jobs=jobs,
        scan_options=scan_options if scan_options.record() else None,
        progress=_named(progress, f"simulating {name}"),
    )
    failed = tuple(f"{item['participant_id']}: {item['error']}" for item in summary.failed)
    return CohortFolder(name, folder.resolve(), find, failed)


def make_arm(
    study: Study,
    arm: Arm,
    source: CohortFolder,
    out: Path,
    jobs: int,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> CohortFolder:
    """Prepare the scans as an arm declares; the source itself where it declares nothing."""
    if arm.fill_lesions and not arm.prepare:
        key = key_of(arm)
        return make_filled(
            source, out / "cohorts" / key, key, arm.fill_lesions, study.cohorts[arm.cohort].lesions,
            _named(progress, f"filling {key}"),
        )  # fmt: skip
    if not arm.prepare:
        return source
    from neuroxai.preprocess import BatchOptions, choose, find_sources, prepare_cohort

    key = key_of(arm)
    options = choose(**{**arm.prepare, **({"filling": arm.fill_lesions} if arm.fill_lesions else {})})
    lesions = study.cohorts[arm.cohort].lesions if arm.fill_lesions else None
    sources, left_out = find_sources(source.folder, options.modality, lesions=lesions, run=source.find.get("run"))
    summary = prepare_cohort(
        out / "cohorts" / key,
        sources,
        options,
        left_out,
        BatchOptions(jobs=jobs, scheduler=scheduler, participants=source.folder),
        _named(progress, f"preparing {key}"),
    )
    failed = tuple(f"{item['participant_id']} {item['session_id']}: {item['error']}" for item in summary.failed)
    run = {"run": source.find["run"]} if "run" in source.find else {}
    return CohortFolder(key, (out / "cohorts" / key).resolve(), {"suffix": options.modality, **PREPARED, **run}, failed)


def _named(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(what, done, total)


def split_options(split: Split, number: int) -> SplitOptions:
    """Return how the split of a number is made.

    Raises
    ------
    InputError
        For shares that do not add up to 1, or an option out of range.
    """
    return SplitOptions(
        fractions=(split.fractions[0], split.fractions[1], split.fractions[2]),
        seed=split.seed + number,
        match=split.match,
        test_sessions=split.test_sessions,
        age_bins=split.age_bins,
    )


def split(study: Study, name: str, made: CohortFolder, out: Path) -> list[Path]:
    """Divide a source cohort, once for all arms; returns one datalist a split."""
    source, declared = study.cohorts[name], study.split
    labelled = label_scans(read_cohort(made.folder, **made.find), source.target, source.classes)
    paths = []
    for number in range(declared.repeats):
        options = split_options(declared, number)
        path = out / "splits" / f"{name}_split-{number}.json"
        _write(path, split_cohort(labelled, options)[0])
        paths.append(path)
    return paths


def arm_split(base_split: Path, made: CohortFolder, arm: Arm, out: Path, seed: int) -> Path:
    """Return an arm's datalist: the same subjects in the same parts as in all arms, with this arm's scans.

    A scan that the arm lacks (its preparation failed) is left out and listed; training parts are cut to the arm's
    share, class by class.
    """
    if made.key == base_split.name.split("_split-")[0] and arm.share == 1:
        return base_split
    datalist = io.read_object(base_split, "datalist")
    found, _ = find_scans(made.folder, **made.find)
    images = {(scan.participant_id, scan.session_id): scan.image for scan in found}
    for part in ("training", "validation", "test"):
        items = []
        for item in datalist.get(part, []):
            image = images.get((item["participant_id"], item.get("session_id")))
            if image is None:
                who = {key: item[key] for key in ("participant_id", "session_id") if item.get(key)}
                datalist["left_out"].append({**who, "reason": f"no scan in {made.key}"})
            else:
                items.append({**item, "image": image})
        datalist[part] = _shared(items, arm.share, seed) if part != "test" else items
    share = f"_share-{round(arm.share * 100)}" if arm.share < 1 else ""
    path = out / "splits" / f"{made.key}{share}_{base_split.stem.split('_')[-1]}.json"
    _write(path, {**datalist, **({"share": arm.share} if share else {})})
    return path


def _shared(items: list[dict[str, Any]], share: float, seed: int) -> list[dict[str, Any]]:
    """Keep a share of each class's subjects, two at least, whatever the order of items."""
    if share == 1:
        return items
    rng = np.random.default_rng([seed, 20])
    kept: set[str] = set()
    for label in sorted({item["label"] for item in items}):
        subjects = sorted({item["participant_id"] for item in items if item["label"] == label})
        count = min(max(round(share * len(subjects)), 2), len(subjects))
        kept |= {subjects[int(n)] for n in rng.permutation(len(subjects))[:count]}
    return [item for item in items if item["participant_id"] in kept]


def _write(path: Path, datalist: dict[str, Any]) -> None:
    check_datalist(datalist)
    # unchanged files keep their time, and a reader never sees them vanish
    if not path.is_file() or io.read_json(path) != datalist:
        io.write_json(path, datalist)
