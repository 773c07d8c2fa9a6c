"""Look at all that a declaration names, before anything is simulated or trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroxai import io
from neuroxai.checks import FLAG, Check, number, whole
from neuroxai.cohort import label_scans, read_cohort
from neuroxai.cohort.datalist import PARTS
from neuroxai.errors import InputError, one_of
from neuroxai.studies import analyses
from neuroxai.studies.data import split_options
from neuroxai.studies.runs import bundle_folder
from neuroxai.studies.search import check_search
from neuroxai.studies.spec import Study

RESERVED = {
    "bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir", "resume", "seed", "pretrained", "tensorboard"
}  # fmt: skip
MOST = 100_000
SEEDS = 2**32 - 1
SIMULATE: dict[str, Check] = {
    "effect": (lambda value: isinstance(value, str), "a name"),
    "subjects": whole(2, MOST),
    "spacing": number(0.5, 16),
    "seed": whole(0, SEEDS),
    "misalign": FLAG,
    "raw": FLAG,
}


def check(study: Study, cohorts: Mapping[str, Path] | None = None) -> None:
    """Refuse a study that cannot be run.

    Parameters
    ----------
    study : Study
        As read.
    cohorts : mapping of str to Path, optional
        Folders that take the place of cohorts, by name.

    Raises
    ------
    InputError
        Naming the key, what was got, and the choices.
    """
    analysis = analyses.get(study.analysis)
    if not study.arms:
        raise InputError("arms: there is none; declare at least one")
    _check_numbers(study)
    for part in study.parts:
        if part not in PARTS:
            raise one_of("part in parts", part, PARTS)
    _check_cohorts(study, dict(cohorts or {}))
    _check_arms(study)
    _check_explanations(study)
    analysis.check(study)


def _check_numbers(study: Study) -> None:
    statistics = study.statistics
    for name, got, low, high in (
        ("repetitions", study.repetitions, 1, MOST), ("processes", study.processes, 1, MOST),
        ("threads", study.threads, 1, MOST), ("split: repeats", study.split.repeats, 1, MOST),
        ("search: draws", study.search.draws, 0, MOST), ("seed", study.seed, 0, SEEDS),
        ("split: seed", study.split.seed, 0, SEEDS), ("search: seed", study.search.seed, 0, SEEDS),
        ("statistics: seed", statistics.seed, 0, SEEDS), ("statistics: top", statistics.top, 1, MOST),
        ("statistics: permutations", statistics.permutations, 1, 10_000_000),
        ("statistics: replicates", statistics.replicates, 1, 10_000_000),
    ):  # fmt: skip
        if not low <= got <= high:
            raise InputError(f"{name} is {got}, wanted {low} or more, at most {high}")
    if not 0 < statistics.level < 1:
        raise InputError(
            f"statistics: level is {statistics.level:g}, wanted a share between 0 and 1, such as 0.95 for 95 %"
        )


def _check_cohorts(study: Study, given: dict[str, Path]) -> None:
    from neuroxai.simulate import EFFECTS

    for name in given:
        if name not in study.cohorts:
            raise one_of("cohort for --cohort", name, study.cohorts)
    fractions = study.split.fractions
    split_options(study.split, 0)
    if min(fractions) <= 0:
        raise InputError(f"split: fractions are {fractions}, wanted a share for each of {', '.join(PARTS)}")
    for name, source in study.cohorts.items():
        where = f"cohorts: {name}"
        if len(source.classes) != 2 or len(set(source.classes)) != 2:
            raise InputError(f"{where}: classes are {source.classes}, wanted two, the patients' last")
        if source.simulate and source.path:
            raise InputError(f"{where}: simulate and path exclude each other; leave one")
        folder = given.get(name) or (Path(source.path).expanduser() if source.path else None)
        if folder is not None:
            if not folder.is_dir():
                raise InputError(f"{where}: {folder}: no such folder")
            table = read_cohort(folder, suffix=source.suffix, desc=source.desc, run=source.run)
            label_scans(table, source.target, source.classes)
            continue
        if not source.simulate:
            raise InputError(f"{where}: has neither simulate nor path; give a folder with --cohort {name}=DIR")
        for key in source.simulate:
            if key not in SIMULATE:
                raise one_of(f"key in {where}: simulate", key, SIMULATE)
        if source.simulate.get("effect") not in EFFECTS:
            raise one_of(f"effect in {where}: simulate", source.simulate.get("effect"), EFFECTS)
        for key, value in {"subjects": None, "spacing": None, **source.simulate}.items():
            fits, words = SIMULATE[key]
            if not fits(value):
                raise InputError(f"{where}: simulate: {key} is {value!r}, wanted {words}")


def _check_arms(study: Study) -> None:
    from neuroxai.preprocess import choose
    from neuroxai.preprocess.lesions import VARIANTS

    for name, arm in study.arms.items():
        where = f"arms: {name}"
        if arm.cohort not in study.cohorts:
            raise one_of(f"cohort in {where}", arm.cohort, study.cohorts)
        keys = _keys(bundle_folder(arm.bundle or study.bundle))
        _check_settings("settings", study.settings, keys)
        _check_settings(f"{where}: settings", arm.settings, keys)
        _check_together(
            f"{where}: settings", bundle_folder(arm.bundle or study.bundle), {**study.settings, **arm.settings}
        )
        if arm.prepare:
            try:
                choose(**arm.prepare)
            except TypeError as error:
                raise InputError(
                    f"{where}: prepare: {str(error).split(') ')[-1]}; see neuroxai prepare --help"
                ) from None
        if arm.fill_lesions is not None and arm.fill_lesions not in VARIANTS:
            raise one_of(f"fill_lesions in {where}", arm.fill_lesions, VARIANTS)
        if not 0 < arm.share <= 1:
            raise InputError(f"{where}: share is {arm.share}, wanted more than 0, at most 1")
        space = search_space(study, name)
        if study.search.draws and arm.train:
            check_search(study.search, space, f"{where}: search")
            for hyper, values in space.items():
                for chosen in _choices(hyper, values):
                    _check_settings(f"{where}: search: {hyper}", chosen, keys)
        if arm.pretrained is not None:
            if "pretrained" not in _all_keys(bundle_folder(arm.bundle or study.bundle)):
                raise InputError(f"{where}: pretrained: bundle {arm.bundle or study.bundle} cannot begin from weights")
            if arm.pretrained not in study.arms:
                raise one_of(f"arm for pretrained in {where}", arm.pretrained, study.arms)
    order(study)


def _choices(hyper: str, values: Any) -> list[Mapping[str, Any]]:
    """Return settings that a hyper-parameter may come to, or the ends of its range."""
    if not isinstance(values, Mapping):
        return [{hyper: value} for value in values]
    return [{hyper: values[end]} for end in ("low", "high")] if "low" in values else list(values.values())


def search_space(study: Study, arm: str) -> dict[str, Any]:
    """Return the hyper-parameters of an arm."""
    return {**study.search.space, **study.arms[arm].search}


def order(study: Study) -> list[list[str]]:
    """Return the arms in levels: those of one level need only weights of those before.

    Raises
    ------
    InputError
        If arms wait for each other.
    """
    left, levels, made = dict(study.arms), [], set[str]()
    while left:
        level = [name for name, arm in left.items() if arm.pretrained is None or arm.pretrained in made]
        if not level:
            raise InputError(f"arms: pretrained: {', '.join(left)} wait for each other; break the circle")
        levels.append(level)
        made |= set(level)
        left = {name: arm for name, arm in left.items() if name not in made}
    return levels


def _all_keys(bundle: Path) -> set[str]:
    return set(io.read_object(bundle / "configs" / "train.json", "configuration of a bundle"))


def _keys(bundle: Path) -> set[str]:
    """Return what may be set of a bundle's training: values, not what they are made into."""
    values = io.read_object(bundle / "configs" / "train.json", "configuration of a bundle")
    plain = {key for key, value in values.items() if not isinstance(value, dict | list) or key in ("l2", "shift_axis")}
    return plain - RESERVED - {"initialize", "run", "finalize", "imports"}


def _check_settings(where: str, settings: Mapping[str, Any], keys: set[str]) -> None:
    for key, value in settings.items():
        if key in RESERVED:
            raise InputError(f"{where}: {key} is the study's own to set; leave it out")
        if key not in keys:
            raise one_of(f"key in {where}", key, keys)
        # a configuration takes such a text for an expression and runs it
        if any(text.lstrip().startswith(("$", "@", "%")) for text in _texts(value)):
            raise InputError(f"{where}: {key} is {value!r}, wanted a plain value, no expression")
    _check_options(where, settings)


def _check_together(where: str, bundle: Path, settings: Mapping[str, Any]) -> None:
    """Look at settings beside the bundle's defaults: a shift is too large for a grid, not by itself."""
    defaults = io.read_json(bundle / "configs" / "train.json")
    plain = {key: value for key, value in defaults.items() if not str(value).startswith(("$", "@"))}
    _check_options(where, {**plain, **settings})


def _check_options(where: str, settings: Mapping[str, Any]) -> None:
    from neuroxai.components.training_options import check_options

    try:
        check_options(settings)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = [*value.keys(), *value.values()] if isinstance(value, Mapping) else value if isinstance(value, list) else []
    return [text for part in parts for text in _texts(part)]


def _check_explanations(study: Study) -> None:
    import torch

    from neuroxai import attribution
    from neuroxai.atlas import find
    from neuroxai.atlas.named import is_name
    from neuroxai.components.inferer import check_start

    classes = {name for source in study.cohorts.values() for name in source.classes}
    for name, spec in study.explain.items():
        where = f"explain: {name}"
        if spec.method not in attribution.names():
            raise one_of(f"method in {where}", spec.method, attribution.names())
        if spec.start not in (None, "logit", "probability"):
            raise one_of(f"start in {where}", spec.start, ("logit", "probability"))
        if spec.target is not None and spec.target not in classes:
            raise one_of(f"target in {where}", spec.target, classes)
        if spec.neurons is not None and spec.layer is None:
            raise InputError(f"{where}: neurons need the layer that they are in; name it")
        try:
            check_start(spec.method, spec.layer, None, None)
            if spec.method != "region_occlusion":
                attribution.create(
                    spec.method, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval(), **spec.options
                )
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if study.explain and not study.atlases:
        raise InputError("atlases: there is none; name one, such as builtin")
    for name in study.atlases:
        if name == "builtin":
            continue
        if is_name(name):
            find(name)
        elif not Path(name).is_file():
            raise InputError(f"atlases: {name}: no such file; give a name of `neuroxai atlas list`, or a label image")
