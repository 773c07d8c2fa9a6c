"""Look at all that a declaration names (cohorts, bundles, methods, atlases, arms), before anything is trained.

Types and ranges are `neuroxai.studies.spec`'s. What is wrong is collected, so that all faults are reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any

from neuroxai import io
from neuroxai.bundles.catalogue import bundle_folder
from neuroxai.cohort import label_scans, read_cohort
from neuroxai.errors import InputError, one_of
from neuroxai.studies import analyses
from neuroxai.studies.data import split_options
from neuroxai.studies.reading import DeclarationError, nearest
from neuroxai.studies.search import check_search
from neuroxai.studies.spec import Arm, CohortSource, Explanation, Study

RESERVED = {
    "bundle_root", "dataset_dir", "datalist", "output_dir", "ckpt_dir", "resume", "seed", "pretrained", "tensorboard"
}  # fmt: skip
NEEDED = ("effect", "subjects", "spacing")
"""Options that a simulation cannot do without."""


class _Faults:
    """Collect what is refused inside ``with faults:``, so that the next thing can be looked at, too."""

    def __init__(self) -> None:
        self.found: list[InputError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, InputError):
            self.found.append(error)
        return isinstance(error, InputError)

    def raise_all(self, name: str) -> None:
        """Raise what was found: one error as it is, several together; what arms share counts once."""
        sentences = list(dict.fromkeys(map(str, self.found)))
        if len(sentences) == 1:
            raise self.found[0]
        if sentences:
            raise DeclarationError(name, sentences)


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
        Naming the key, what was got, and the choices; a `neuroxai.studies.reading.DeclarationError` of several faults.
    """
    faults, given = _Faults(), dict(cohorts or {})
    with faults:
        analysis = analyses.get(study.analysis)
    with faults:
        split_options(study.split, 0)
    for name in given:
        if name not in study.cohorts:
            faults.found.append(one_of("cohort for --cohort", name, study.cohorts))
    for name, source in study.cohorts.items():
        with faults:
            _check_cohort(name, source, given.get(name))
    for name, arm in study.arms.items():
        _check_arm(study, name, arm, faults)
    for name, spec in study.explain.items():
        with faults:
            _check_explanation(study, f"explain: {name}", spec)
    if study.explain:
        with faults:
            _check_atlases(study.atlases)
    faults.raise_all(study.name)
    order(study)
    analysis.check(study)


def _check_cohort(name: str, source: CohortSource, given: Path | None) -> None:
    where = f"cohorts: {name}"
    if source.simulate and source.path:
        raise InputError(f"{where}: simulate and path exclude each other; leave one")
    folder = given or (Path(source.path).expanduser() if source.path else None)
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{where}: {folder}: no such folder")
        table = read_cohort(folder, suffix=source.suffix, desc=source.desc, run=source.run)
        label_scans(table, source.target, source.classes)
        return
    if not source.simulate:
        raise InputError(f"{where}: has neither simulate nor path; give a folder with --cohort {name}=DIR")
    absent = [key for key in NEEDED if key not in source.simulate]
    if absent:
        raise InputError(f"{where}: simulate: absent: {', '.join(absent)}; add what is absent")


def _check_arm(study: Study, name: str, arm: Arm, faults: _Faults) -> None:
    from neuroxai.preprocess.options import FILLINGS

    where = f"arms: {name}"
    with faults:
        if arm.cohort not in study.cohorts:
            raise one_of(f"cohort in {where}", arm.cohort, study.cohorts)
    with faults:
        _check_prepare(f"{where}: prepare", arm.prepare)
    with faults:
        if arm.fill_lesions is not None and arm.fill_lesions not in FILLINGS:
            raise one_of(f"fill_lesions in {where}", arm.fill_lesions, FILLINGS)
    with faults:
        bundle = arm.bundle or study.bundle
        defaults = io.read_object(bundle_folder(bundle) / "configs" / "train.json", "configuration of a bundle")
        keys = settable(defaults)
        _check_settings("settings", study.settings, keys)
        _check_settings(f"{where}: settings", arm.settings, keys)
        # beside the bundle's defaults: a shift is too large for a grid, not by itself
        plain = {key: value for key, value in defaults.items() if not str(value).startswith(("$", "@"))}
        _check_options(f"{where}: settings", {**plain, **study.settings, **arm.settings})
        if study.search.draws and arm.train:
            space = search_space(study, name)
            check_search(study.search, space, f"{where}: search")
            for hyper, values in space.items():
                for chosen in _choices(hyper, values):
                    _check_settings(f"{where}: search: {hyper}", chosen, keys)
        if arm.pretrained is not None and "pretrained" not in defaults:
            raise InputError(f"{where}: pretrained: bundle {bundle} cannot begin from weights")
    with faults:
        if arm.pretrained is not None and arm.pretrained not in study.arms:
            raise one_of(f"arm for pretrained in {where}", arm.pretrained, study.arms)


def _check_prepare(where: str, choices: Mapping[str, Any]) -> None:
    from neuroxai.preprocess import PrepareOptions, choose

    known = ["preset", *(item.name for item in fields(PrepareOptions))]
    for key in choices:
        if key not in known:
            raise one_of(f"key in {where}", key, known, f"{nearest(key, known)} See neuroxai prepare --help.".strip())
    if choices:
        choose(**choices)


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


def settable(defaults: Mapping[str, Any]) -> set[str]:
    """Return what may be set of a bundle's training: values, not what they are made into."""
    plain = {
        key for key, value in defaults.items() if not isinstance(value, dict | list) or key in ("l2", "shift_axis")
    }
    return plain - RESERVED - {"initialize", "run", "finalize", "imports"}


def _check_settings(where: str, settings: Mapping[str, Any], keys: set[str]) -> None:
    for key, value in settings.items():
        if key in RESERVED:
            raise InputError(f"{where}: {key} is the study's own to set; leave it out")
        if key not in keys:
            raise one_of(f"key in {where}", key, keys, nearest(key, keys))
        # a configuration takes such a text for an expression and runs it
        if any(text.lstrip().startswith(("$", "@", "%")) for text in _texts(value)):
            raise InputError(f"{where}: {key} is {value!r}, expected a plain value, no expression")
    _check_options(where, settings)


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


def _check_explanation(study: Study, where: str, spec: Explanation) -> None:
    import torch

    from neuroxai import attribution
    from neuroxai.attribution.baselines import FROM_CONTROLS
    from neuroxai.explain import ExplainOptions

    classes = {name for source in study.cohorts.values() for name in source.classes}
    if spec.method not in attribution.names():
        raise one_of(f"method in {where}", spec.method, attribution.names(), nearest(spec.method, attribution.names()))
    if spec.target is not None and spec.target not in classes:
        raise one_of(f"target in {where}", spec.target, classes)
    if spec.neurons is not None and spec.layer is None:
        raise InputError(f"{where}: neurons need the layer that they are in; name it")
    try:
        ExplainOptions(spec.method, spec.options, start=spec.start, layer=spec.layer)
        options = dict(spec.options)
        if attribution.takes_regions(spec.method):  # regions and controls are each run's own
            options["labels"] = torch.ones(2, 2, 2, dtype=torch.long)
        if attribution.complete(spec.method, options).get("baselines") in FROM_CONTROLS:
            options["baselines"] = "zero"
        attribution.create(
            spec.method, torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 2)).eval(), **options
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _check_atlases(names: Sequence[str]) -> None:
    from neuroxai.atlas import find
    from neuroxai.atlas.named import is_name

    if not names:
        raise InputError("atlases: there is none; name one, such as builtin")
    for name in names:
        if name == "builtin":
            continue
        if is_name(name):
            find(name)
        elif not Path(name).is_file():
            raise InputError(f"atlases: {name}: no such file; give a name of `neuroxai atlas list`, or a label image")
