"""The ``simulate`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuroxai.cli import _options as opt
from neuroxai.cli._progress import progress_bar
from neuroxai.errors import InputError

if TYPE_CHECKING:
    from neuroxai.simulate import CohortSummary, ScanOptions

_OWN = opt.group("Your own scans")
_MORE = opt.group("Real lesions, pose, head")
_ONLY_OWN = (
    "scans",
    "healthy",
    "target",
    "loss",
    "region",
    "atlas",
    "labels",
    "label_maps",
    "suffix",
    "desc",
    "run",
    "flair_pairs",
)


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder of the cohort: new, empty, or of an interrupted run.")],
    effect: Annotated[str, typer.Option(help="What is planted in the patients: atrophy (T1w) or lesions (FLAIR).")],
    subjects: Annotated[
        int | None,
        typer.Option(help="Participants, 2 or more; half are patients, half sham controls. [default with --from: all]"),
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(help="Voxel size in mm, 1 to 8. [default: 2; with --from the scan's own]")
    ] = None,
    seed: opt.Seed = 0,
    jobs: opt.Jobs = 1,
    table: Annotated[
        Path | None,
        _OWN("--from", help="participants.tsv of prepared scans (brain, MNI152)."),
    ] = None,
    scans: Annotated[Path | None, _OWN(help="Folder of the scans. [default: the table's]")] = None,
    healthy: Annotated[
        list[str] | None,
        _OWN(help="A class that is healthy; may be repeated. [default: controls]"),
    ] = None,
    target: Annotated[
        str | None,
        _OWN(help="Column with the class. [default: diagnosis, else group]"),
    ] = None,
    loss: Annotated[
        float | None,
        _OWN(help="Percent of its volume that each region loses, 1 to 50. [default: 25]"),
    ] = None,
    region: Annotated[
        list[str] | None,
        _OWN(help="A region that shrinks; may be repeated. [default: hippocampus; also amygdala, parahippocampal]"),
    ] = None,
    atlas: Annotated[str | None, _OWN(help="Atlas of the regions: a name or a label image.")] = None,
    labels: Annotated[Path | None, _OWN(help="Names of the atlas's or the label maps' labels.")] = None,
    label_maps: Annotated[
        str | None,
        _OWN(help="A glob for each scan's label map: `sub-*/anat/*_dseg.nii.gz`."),
    ] = None,
    suffix: Annotated[str | None, _OWN(help="Which scans. [default: T1w]")] = None,
    desc: Annotated[str | None, _OWN(help="Which scans: desc-LABEL.")] = None,
    run: Annotated[str | None, _OWN(help="Which of several runs of a scan: first, last or all.")] = None,
    flair_pairs: Annotated[
        Path | None,
        _OWN(help="Prepared T1w and FLAIR scans, from which T1w learn to look like FLAIR. [default: a measured curve]"),
    ] = None,
    lesion_masks: Annotated[
        Path | None,
        _MORE(help="Folder of real lesion masks (MNI152), which patients get."),
    ] = None,
    misalign: Annotated[
        bool,
        _MORE("--misalign", help="Give each scan a random known pose and head size."),
    ] = False,
    degrees: Annotated[float | None, _MORE(help="Largest rotation of --misalign. [default: 20]")] = None,
    shift: Annotated[float | None, _MORE(help="Largest shift of --misalign in mm. [default: 20]")] = None,
    head_size: Annotated[
        float | None,
        _MORE(help="Largest change of head size of --misalign in percent. [default: 8]"),
    ] = None,
    raw: Annotated[
        bool,
        _MORE("--raw", help="Leave scalp, skull and a bias field for preparation."),
    ] = False,
    bias: Annotated[
        float | None,
        _MORE(help="Bias field of --raw in percent. [default: 30]"),
    ] = None,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Simulate a cohort whose truth is known: patients with a planted effect, and sham controls.

    Scans lie in MNI152 space, brain only, with the truth mask (and for atrophy the log-Jacobian) beside each, and
    measured volumes in participants.tsv. Run the same command again to go on after an interruption.

    With --from the effect is planted in your own healthy scans; each gives a patient and a sham control, which the
    column `twin` joins and `neuroxai split` keeps together.

    Example: `neuroxai simulate cohort --effect atrophy --subjects 24 --spacing 4 --seed 1 --jobs 2`

    Example: `neuroxai simulate atrophied --effect atrophy --from prepared/participants.tsv --region hippocampus`

    Example: `neuroxai simulate lesioned --effect lesions --subjects 4 --spacing 4 --misalign --raw`
    """
    given = dict(locals())
    from neuroxai.io import check_folder

    check_folder("OUT", out, [scans, flair_pairs, lesion_masks, None if table is None else table.parent])
    scan_options = _scan_options(lesion_masks, misalign, degrees, shift, head_size, raw, bias)
    if table is None:
        summary = _on_template(given, scan_options)
    else:
        summary = _on_scans(given, scan_options)
    _report(summary, out, as_json)


def _scan_options(
    masks: Path | None,
    misalign: bool,
    degrees: float | None,
    shift: float | None,
    head_size: float | None,
    raw: bool,
    bias: float | None,
) -> ScanOptions | None:
    from neuroxai.simulate import RandomPose, Raw, ScanOptions

    for name, value, switch, on in (
        ("--degrees", degrees, "--misalign", misalign),
        ("--shift", shift, "--misalign", misalign),
        ("--head-size", head_size, "--misalign", misalign),
        ("--bias", bias, "--raw", raw),
    ):
        if value is not None and not on:
            raise InputError(f"{name} {value:g} goes with {switch}, which is not given; add {switch}")
    pose = {"degrees": degrees, "millimetres": shift, "head_size": None if head_size is None else head_size / 100.0}
    scan_options = ScanOptions(
        RandomPose(**{name: value for name, value in pose.items() if value is not None}) if misalign else None,
        (Raw() if bias is None else Raw(bias / 100.0)) if raw else None,
        masks,
    )
    return scan_options if scan_options.record() else None


def _on_template(given: dict[str, Any], scan_options: ScanOptions | None) -> CohortSummary:
    from neuroxai.simulate import simulate_cohort

    for name in _ONLY_OWN:
        if given[name] not in (None, []):
            raise InputError(f"--{name.replace('_', '-')} goes with --from, which is not given; add --from TABLE")
    if given["subjects"] is None:
        raise InputError("--subjects is absent, expected a number of participants, such as --subjects 40")
    size = 2.0 if given["spacing"] is None else given["spacing"]
    more: dict[str, Any] = {} if scan_options is None else {"scan_options": scan_options}
    with progress_bar("simulating") as progress:
        return simulate_cohort(
            given["out"],
            given["effect"],
            given["subjects"],
            size,
            given["seed"],
            given["jobs"],
            progress=progress,
            **more,
        )


def _on_scans(given: dict[str, Any], scan_options: ScanOptions | None) -> CohortSummary:
    from neuroxai.simulate import Curve, Planting, Regions, ScanOptions, find_sources, learn_curve, simulate_from

    if given["spacing"] is not None:
        raise InputError(f"--spacing {given['spacing']:g} and --from exclude each other; scans keep their own grid")
    if given["effect"] != "atrophy":
        for name in ("loss", "region", "atlas", "labels", "label_maps"):
            if given[name] not in (None, []):
                raise InputError(f"--{name.replace('_', '-')} goes with --effect atrophy, got {given['effect']!r}")
    elif given["flair_pairs"] is not None:
        raise InputError("--flair-pairs goes with --effect lesions, got 'atrophy'")
    if given["atlas"] and given["label_maps"]:
        raise InputError("--atlas and --label-maps exclude each other; choose one")
    regions = Regions(tuple(given["region"] or ()), given["atlas"], given["labels"])
    loss = 25.0 if given["loss"] is None else given["loss"]
    curve = Curve() if given["flair_pairs"] is None else learn_curve(given["flair_pairs"])
    planting = Planting(given["effect"], loss, regions, scan_options or ScanOptions(), curve)
    sources = find_sources(
        given["table"],
        given["scans"],
        given["healthy"] or (),
        given["target"],
        given["suffix"] or "T1w",
        given["desc"],
        label_maps=given["label_maps"],
        run=given["run"],
    )
    for note in [*sources.notes, *(f"left out: {item}" for item in sources.left_out)]:
        typer.echo(note, err=True)
    with progress_bar("simulating") as progress:
        return simulate_from(given["out"], sources, planting, given["subjects"], given["seed"], given["jobs"], progress)


def _report(summary: CohortSummary, out: Path, as_json: bool) -> None:
    import json

    for item in summary.failed:
        typer.echo(f"failed: {item['participant_id']}: {item['error']}", err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        finished = summary.made + summary.kept
        typer.echo(f"{out}: {finished} of {summary.subjects} subjects ({summary.made} new, {summary.kept} kept)")
    if summary.failed:
        raise typer.Exit(1)
