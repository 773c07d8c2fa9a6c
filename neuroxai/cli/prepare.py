"""The ``prepare`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from neuroxai.cli import _options as opt

_FOR = opt.group("Choices made at once")
_PIPELINE = opt.group("Registration, grid and intensities")
_MASKS = opt.group("Brain and lesions")
_FILES = opt.group("Files")


def prepare(
    source: Annotated[
        Path,
        typer.Argument(
            help="BIDS folder, one NIfTI scan, a folder with the DICOM files of one series, or one enhanced DICOM file."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the prepared scans: new, or of an interrupted run.")],
    arm: Annotated[
        str | None,
        _PIPELINE(help="Registration: none (pads and crops), linear or nonlinear. [default: linear]"),
    ] = None,
    spacing: Annotated[float | None, _PIPELINE(help="Voxel size in mm, 1 or 2. [default: 2]")] = None,
    modality: Annotated[
        str | None, _PIPELINE(help="T1w or FLAIR (aligned to the T1w scan of its session first). [default: T1w]")
    ] = None,
    bundle: Annotated[
        str | None,
        _FOR(
            "--for",
            help="Choose grid, kind of scan and intensities for this bundle, a folder or a name of `neuroxai bundle "
            "list`; options beside it replace single ones.",
            autocompletion=opt.bundles,
        ),
    ] = None,
    preset: Annotated[
        str | None, _FOR(help="A study's choices, such as boehle2019; options beside it replace single ones.")
    ] = None,
    scaling: Annotated[
        str | None, _PIPELINE(help="Intensities in the brain: minmax, maximum, zscore, robust or none.")
    ] = None,
    brain: Annotated[
        str | None,
        _MASKS(help="Brain extraction: auto (deepbet if installed, else template), deepbet, template, none."),
    ] = None,
    mask: Annotated[
        str | None, _MASKS(help="Your own brain masks: a path with {participant} and {session} in it.")
    ] = None,
    lesions: Annotated[
        str | None, _MASKS(help="Lesion masks, to be filled: a path with {participant} and {session} in it.")
    ] = None,
    filling: Annotated[str | None, _MASKS(help="How lesions are filled: valverde or eitel2019.")] = None,
    centre: Annotated[
        str | None, _PIPELINE(help="Without registration, what comes into the middle: brain or image.")
    ] = None,
    bias_correction: Annotated[bool | None, _PIPELINE(help="N4 bias field correction.")] = None,
    template: Annotated[Path | None, _PIPELINE(help="Another template in MNI152 space.")] = None,
    template_mask: Annotated[Path | None, _PIPELINE(help="The template's brain.")] = None,
    engine: Annotated[str | None, _PIPELINE(help="auto, ants or itk (linear only).")] = None,
    pattern: Annotated[
        str | None, opt.WHICH(help="Glob inside the BIDS folder, where several scans of a session match.")
    ] = None,
    run: opt.Run = None,
    participant_label: opt.Participants = None,
    participant: Annotated[str | None, opt.WHICH(help="Identifier of a single scan.")] = None,
    session: Annotated[str | None, opt.WHICH(help="Session of a single scan.")] = None,
    series: opt.Series = None,
    jobs: opt.Jobs = 1,
    scheduler: opt.Scheduler = None,
    drop_flagged: Annotated[bool, _FILES("--drop-flagged", help="Write no scan with a quality flag.")] = False,
    figures: Annotated[bool, _FILES(help="Draw each scan before and after; `index.html` lists all.")] = True,
    seed: Annotated[int | None, opt.WORK(help="Same seed, same result. [default: 0]")] = None,
    orientation: opt.Orientation = None,
    as_json: opt.Json = False,
) -> None:
    """Prepare scans for a network: bias field, brain, registration to MNI152, grid, intensities, quality checks.

    Writes BIDS derivatives with the transforms, so that heatmaps find their way back to the scan. Finished scans with
    unchanged inputs are kept; run the same command again to go on. Flagged scans are listed in quality.tsv and kept.

    Example: `neuroxai prepare bids prepared --arm linear --spacing 2 --jobs 4`

    Example: `neuroxai prepare bids for_bundle --for brain_t1w_alzheimers_classification --participant-label 01`
    """
    from neuroxai.cli._start import import_readers

    import_readers("neuroxai.preprocess", "neuroxai.report")
    import json

    from neuroxai.cli._bundle import participants_asked
    from neuroxai.cli._progress import progress_bar
    from neuroxai.cli._series import is_series, report_left_out
    from neuroxai.errors import InputError
    from neuroxai.io import check_folder
    from neuroxai.preprocess import BatchOptions, SingleScan, choose, find_sources, prepare_cohort
    from neuroxai.preprocess.options import PRESETS
    from neuroxai.report import filling_figure, preparation_page, quality_figure

    suited: dict[str, Any] = {}
    if bundle is not None:
        from neuroxai.bundles.catalogue import bundle_folder
        from neuroxai.explain.preparation import choices_for

        if preset is not None:
            raise InputError(f"--for {bundle} and --preset {preset} both choose grid and intensities; leave one out")
        suited = choices_for(Path(bundle) if Path(bundle).is_dir() else bundle_folder(bundle))
    options = choose(
        preset,
        arm=arm,
        spacing=suited.get("spacing") if spacing is None else spacing,
        modality=modality or suited.get("modality"),
        scaling=scaling or suited.get("scaling"),
        brain=brain,
        filling=filling,
        centre=centre,
        bias_correction=bias_correction,
        engine=engine,
        seed=seed,
    )
    if preset is not None and PRESETS[preset].fills_lesions and lesions is None:
        raise InputError(f"--preset {preset} fills lesions; name their masks with --lesions, or choose another preset")
    check_folder("OUT", out, [source, template, template_mask])
    dicom = pattern is None and is_series(source)
    if dicom:
        report_left_out(source, series)
    sources, left_out = find_sources(
        source, options.modality, pattern, mask, lesions, run, SingleScan(participant, session, series)
    )
    known = [*(one.participant_id for one in sources), *(one.participant_id for one in left_out)]
    asked = participants_asked(participant_label, known)
    sources = [one for one in sources if one.participant_id in asked]
    left_out = [one for one in left_out if one.participant_id in asked]
    with progress_bar("preparing", quiet=as_json) as progress:
        progress(0, len(sources))
        summary = prepare_cohort(
            out,
            sources,
            options,
            left_out,
            BatchOptions(
                template=template,
                template_mask=template_mask,
                jobs=jobs,
                scheduler=scheduler,
                drop_flagged=drop_flagged,
                participants=source if source.is_dir() else None,
                draw=quality_figure if figures else None,
                draw_filling=filling_figure if figures else None,
            ),
            progress,
        )
    if figures and (out / "quality.tsv").is_file():
        preparation_page(out)
    single = source.is_file() or dicom
    if single and summary.failed:
        raise InputError(summary.failed[0]["error"])
    for item in summary.failed:
        who = " ".join(filter(None, (item["participant_id"], item["session_id"])))
        typer.echo(f"failed: {who}: {item['error']}", err=True)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        for who, flags in summary.flagged.items():
            typer.echo(f"{'dropped' if who in summary.dropped else 'flagged'}: {who}: {'; '.join(flags)}", err=True)
        finished = summary.made + summary.kept
        typer.echo(
            f"{out}: {finished} of {summary.scans} scans ({summary.made} new, {summary.kept} kept, "
            f"{len(summary.flagged)} flagged, {len(summary.dropped)} dropped, {len(summary.failed)} failed)"
        )
    if summary.failed:
        raise typer.Exit(1)
