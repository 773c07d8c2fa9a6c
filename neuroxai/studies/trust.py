"""A trust card for a bundle: effects planted in the user's healthy scans, small repeats of its training, a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import neuroxai.attribution as methods_known
from neuroxai import io
from neuroxai._version import __version__
from neuroxai.bundles.catalogue import bundle_folder
from neuroxai.cohort.groups import TWIN
from neuroxai.cohort.people import class_groups
from neuroxai.cohort.seen import SeenScans
from neuroxai.derivatives.model_card import MODEL_CARD, weights_line, with_section
from neuroxai.derivatives.trust import (
    FILE,
    TrustCard,
    TrustedMethod,
    counted,
    hardly,
    is_card,
    learnt,
    not_of_this_network,
    sentence,
    value,
    write_card,
)
from neuroxai.errors import InputError, one_of
from neuroxai.explain.bundle import open_model
from neuroxai.explain.controls import against_controls
from neuroxai.explain.weights import read_record
from neuroxai.simulate import Planting, Regions, find_sources, simulate_from
from neuroxai.studies.analyses.heatmaps.cards import WORDS, Card, cards
from neuroxai.studies.analyses.heatmaps.networks import GIVEN
from neuroxai.studies.check import settable
from neuroxai.studies.engine import RunOptions, Summary, run_study
from neuroxai.studies.results import open_results
from neuroxai.studies.spec import Arm, CohortSource, Split, Study

METHODS = ("lrp_epsilon", "lrp_alpha_beta", "gradient_x_input", "guided_backprop", "grad_cam", "region_swap")
"""Measured by default, beside the bundle's own and integrated gradients against controls."""
TWINS, STUDY, PAGE = "twins", "study", "index.html"
TARGET = "diagnosis"
"""Column in which `neuroxai simulate` writes the class."""


@dataclass(frozen=True)
class TrustOptions:
    """How a card is made.

    Parameters
    ----------
    effect, loss, regions : str, float, sequence of str
        What is planted (`neuroxai.simulate.Planting`).
    healthy, target, suffix, desc, run
        Which scans of the cohort (`neuroxai.simulate.find_sources`).
    anatomies : int
        Healthy people at most; those that the bundle was not trained on first.
    trainings, epochs : int
        Repeats, and their epochs.
    scans : int
        Planted effects explained at most.
    methods : sequence of str
        Names, or import paths of one's own; ``all`` for all; empty for `METHODS`.
    seed : int
        Of planting, split and first training.
    atlas : str
        Whose regions are ranked and flagged: a name, or a label image.
    """

    effect: str = "atrophy"
    loss: float = 25.0
    regions: Sequence[str] = ()
    healthy: Sequence[str] = ()
    target: str | None = None
    suffix: str | None = None
    desc: str | None = None
    run: str | None = None
    anatomies: int = 24
    trainings: int = 3
    epochs: int = 60
    scans: int = 8
    methods: Sequence[str] = ()
    seed: int = 0
    atlas: str = "builtin"


@dataclass(frozen=True)
class _Planted:
    """The twins: their folder, classes, what was planted, and the healthy scan of each twin's name."""

    folder: Path
    classes: list[str]
    effect: Mapping[str, Any]
    sources: Mapping[str, Path | None]
    failed: Sequence[str] = ()


def make_card(
    bundle: Path, cohort: Path, out: Path, options: TrustOptions, run: RunOptions
) -> tuple[Summary, TrustCard | None]:
    """Plant, train, measure, and write ``trust.json`` and ``index.html``; what is finished is kept.

    Parameters
    ----------
    bundle : Path
        A trained bundle of ours.
    cohort : Path
        Prepared scans with participants.tsv; a cohort that has twins is taken as it is.
    out : Path
        New, or of an earlier call.
    options : TrustOptions
        What is planted, trained and measured.
    run : RunOptions
        Parallel work.

    Returns
    -------
    summary : Summary
        Runs, failures and the study's report.
    card : TrustCard or None
        None where nothing could be measured.

    Raises
    ------
    InputError
        If bundle or cohort cannot be used.
    """
    bundle = bundle_folder(str(bundle))
    checkpoint = bundle / "models" / "model.pt"
    record = read_record(str(checkpoint))
    if not record or not checkpoint.is_file():
        raise InputError(f"{bundle}: has no models/model.pt with its record model.json; train the bundle first")
    seen = SeenScans(record, cohort)
    planted = _planted(cohort, out / TWINS, options, run, seen)
    people = sum(_trained(seen, name, scan) for name, scan in planted.sources.items())
    study = Study(
        name="trust", title=f"Trust card of {bundle.name}", analysis="heatmaps", bundle=str(bundle),
        about=_about(planted, options, people),
        cohorts={"main": CohortSource(path=str(planted.folder), target=TARGET, classes=planted.classes)},
        arms={"repeats": Arm()}, split=Split([0.5, 0.2, 0.3], seed=options.seed),
        repetitions=options.trainings, seed=options.seed, atlases=[options.atlas],
        settings=_settings(bundle, record, options),
        options={"methods": _methods(bundle, options.methods), "scans": options.scans, "bundle": str(bundle)},
    )  # fmt: skip
    summary = run_study(study, out / STUDY, None, run)
    summary.scans_failed[:0] = planted.failed
    if not summary.report:
        return summary, None
    found = {card.arm: card for card in cards(open_results(out / STUDY))}
    if "repeats" not in found:
        return summary, None
    card = _card(bundle, record, planted, found, study, people)
    write_card(out / FILE, card)
    io.write_text(out / PAGE, Path(summary.report).read_text(encoding="utf-8"))
    summary.report = str(out / PAGE)
    return summary, card


def _planted(cohort: Path, out: Path, options: TrustOptions, run: RunOptions, seen: SeenScans) -> _Planted:
    table = cohort / "participants.tsv"
    if table.is_file() and TWIN in (people := io.read_tsv(table, text=True)).columns:
        if TARGET not in people.columns:
            raise one_of("column with the class of the twins", TARGET, people.columns)
        classes = list(class_groups(sorted(people[TARGET].unique())))
        # a file of ours or none: what was planted is said where it is known
        described = (
            io.read_json(cohort / "dataset_description.json") if (cohort / "dataset_description.json").is_file() else {}
        )
        made = (described.get("GeneratedBy") or [{}])[0].get("Parameters", {})
        effect = {key: made[key] for key in ("effect", "loss", "regions") if key in made}
        # one of each two twins, by the name that a bundle trained on this cohort knows
        names = dict(zip(people[TWIN], people["participant_id"], strict=True)).values()
        return _Planted(cohort.resolve(), classes, effect, dict.fromkeys(map(str, names)))
    found = find_sources(
        table, None, options.healthy, options.target, options.suffix or "T1w", options.desc, run=options.run
    )
    ordered = sorted(found.scans, key=lambda one: _trained(seen, one.participant_id, one.scan))
    chosen = replace(found, scans=ordered[: options.anatomies])
    planting = Planting(options.effect, options.loss, Regions(tuple(options.regions)))
    told = run.progress
    summary = simulate_from(
        out, chosen, planting, None, options.seed, run.jobs,
        None if told is None else lambda done, total: told("planting effects", done, total),
    )  # fmt: skip
    failed = [f"{one.participant_id}: {one.reason}" for one in found.left_out if one.participant_id]
    # twins are named A and B; what fails in one mostly fails in the other
    failed += dict.fromkeys(f"{one['participant_id'][:-1]}: {one['error']}" for one in summary.failed)
    effect = {"effect": options.effect, "loss": options.loss, "regions": list(options.regions) or ["hippocampus"]}
    if options.effect != "atrophy":
        effect = {"effect": options.effect}
    lost = {one["participant_id"][:-1] for one in summary.failed}
    sources: dict[str, Path | None] = {
        one.participant_id: one.scan for one in chosen.scans if one.participant_id not in lost
    }
    return _Planted(out.resolve(), [planting.kind.control, planting.kind.patient], effect, sources, failed)


def _trained(seen: SeenScans, participant: str, scan: Path | None) -> bool:
    """Whether a bundle's network was trained on somebody's scan."""
    return seen.part(participant, None if scan is None else io.sha256(scan)) == "training"


def _settings(bundle: Path, record: Mapping[str, Any], options: TrustOptions) -> dict[str, Any]:
    """Return the settings of the bundle's training, as far as they are known, for a short one on twins.

    Without dropout: it hides other units in each of two twins, which then differ by more than what was planted, and
    nothing is learnt. The epoch that ranks held-out scans best is kept, which is what cards go by.
    """
    defaults = io.read_object(bundle / "configs" / "train.json", "configuration of a bundle")
    allowed = settable(defaults) - {"classes", "pair_by", "amp"}
    known = {key: v for key, v in (record.get("settings") or {}).items() if key in allowed and v is not None}
    of_twins = {key: v for key, v in (("dropout", 0), ("key_metric", "roc_auc")) if key in allowed}
    return {**known, **of_twins, "max_epochs": options.epochs, "min_epochs": max(options.epochs - 5, 1)}


def _methods(bundle: Path, asked: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the methods to measure by name."""
    names = methods_known.names() if "all" in asked else tuple(asked) or METHODS
    found: dict[str, dict[str, Any]] = {name.rpartition(":")[2]: {"method": name} for name in names}
    if not asked or "all" in asked:
        own = open_model(bundle).defaults
        plain = {key: v for key, v in own.options.items() if v is None or isinstance(v, bool | int | float | str)}
        if own.layer is None and not _same(own.method, plain, found.get(own.method)):
            found = {f"{own.method} (the bundle's)": {"method": own.method, "options": plain}, **found}
        against = against_controls("controls", {}, None)
        if not any(_same(against["method"], against["options"], one) for one in found.values()):
            found["against controls"] = against
    return found


def _same(method: str, options: Mapping[str, Any], spec: Mapping[str, Any] | None) -> bool:
    return (
        spec is not None
        and spec["method"] == method
        and methods_known.complete(method, spec.get("options") or {}) == methods_known.complete(method, options)
    )


def _about(planted: _Planted, options: TrustOptions, seen: int) -> str:
    lost = ", ".join(planted.effect.get("regions") or ["hippocampus"])
    known = {"atrophy": f"{planted.effect.get('loss', 25):g} % smaller {lost}", "lesions": "lesions"}
    what = known.get(str(planted.effect.get("effect")), "of a cohort whose record does not say what it is")
    return (
        f"In {counted(len(planted.sources), 'healthy scan')} an effect was planted ({what}); of each there is a twin "
        f"without it; {seen} of these people were in the bundle's own training. "
        f"{counted(options.trainings, 'small repeat')} of this bundle's training learnt to tell them apart, on its "
        f"grid and by its preparation; held-out twins were explained by them ('repeats') and by the bundle's own "
        f"network ('{GIVEN}'), whose training was another one: there, look at what needs no planted effect (twin swap, "
        "deletion, randomisation, conservation, shams)."
    )


def _card(
    bundle: Path, record: Mapping[str, Any], planted: _Planted, found: Mapping[str, Card], study: Study, seen: int
) -> TrustCard:
    repeats, given = found["repeats"], found.get(GIVEN)
    methods = {}
    for name in (*repeats.trust.values["method"].unique(), *repeats.not_applicable):
        spec = study.options["methods"].get(name, {})
        method, chosen = spec.get("method", ""), spec.get("options") or {}
        complete = methods_known.complete(method, chosen) if method in methods_known.names() else dict(chosen)
        methods[str(name)] = TrustedMethod(
            method, complete, repeats.figures(name), {} if given is None else given.figures(name),
            repeats.not_applicable.get(name, ""),
        )  # fmt: skip
    return TrustCard(
        bundle=bundle.name, checkpoint_sha256=str(record["checkpoint_sha256"]), effect=planted.effect,
        space=record.get("space") or {}, settings=study.settings, anatomies=len(planted.sources), seen=seen,
        networks=repeats.networks, scans=repeats.scans, controls=repeats.controls, regions=repeats.regions,
        atlas=Path(study.atlases[0]).name, roc_auc=repeats.roc_auc,
        bundle_roc_auc=None if given is None else given.roc_auc, methods=methods, chance=repeats.chance,
        version=__version__,
    )  # fmt: skip


def attach(bundle: Path, card: TrustCard) -> list[Path]:
    """Write a card beside the weights and into the model card, `docs/README.md`, as a section of its own.

    Raises
    ------
    InputError
        If the card is of other weights, or a file of somebody else bears its name; nothing is written then.
    """
    bundle = bundle_folder(str(bundle))
    checkpoint, readme = bundle / "models" / "model.pt", bundle / MODEL_CARD
    path = checkpoint.with_name(FILE)
    if card.checkpoint_sha256 != io.sha256(checkpoint):
        raise InputError(f"the card is of other weights than {checkpoint}; make it again with `neuroxai trust`")
    if path.is_file() and not is_card(path):
        raise InputError(f"{path}: is no trust card, and would be overwritten; move it away")
    text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {bundle.name}\n"
    return [write_card(path, card), io.write_text(readme, with_section(text, section(card)))]


def section(card: TrustCard) -> str:
    """Return a card as a section in Markdown."""
    scan = card.methods["scan"].repeats
    shown = [key for key in WORDS if any(value(one.repeats, key) is not None for one in card.methods.values())]
    lines = [
        "## Trust card", "",
        f"Measured by `neuroxai trust` on effects planted in {counted(card.anatomies, 'healthy scan')} "
        f"({card.seen} of them of people that this network was trained on), with "
        f"{counted(card.networks, 'small repeat')} of the training; "
        f"{counted(card.scans, 'planted effect')} held out and explained. The repeats told them "
        f"from their twins with a ROC area of {'n/a' if card.roc_auc is None else f'{card.roc_auc:.2f}'}. "
        f"{weights_line(card.checkpoint_sha256)} Planted effects are simpler than disease.", "",
    ]  # fmt: skip
    if not learnt(card.roc_auc):
        lines.append(f"**Nothing is claimed**: {hardly(card.roc_auc)}.")
    elif first := not_of_this_network(card):
        lines += [first, ""]
    for name, one in card.methods.items():
        if one.method and learnt(card.roc_auc) and (text := sentence(name, one.repeats, card.chance, scan, card.scans)):
            lines.append(f"- {text}")
    for name, one in card.methods.items():
        if one.not_applicable:
            lines.append(f"- {name} is not applicable to this network: {one.not_applicable}")
    lines += ["", f"| method | {' | '.join(WORDS[key] for key in shown)} |", "|---" * (1 + len(shown)) + "|"]
    for name, one in card.methods.items():
        cells = [value(one.repeats, key) for key in shown]
        lines.append(f"| {name} | {' | '.join('-' if v is None else f'{v:.2f}' for v in cells)} |")
    cells = [card.chance.get(key) for key in shown]
    lines.append(f"| chance | {' | '.join('-' if v is None else f'{v:.2f}' for v in cells)} |")
    return "\n".join([*lines, ""])
