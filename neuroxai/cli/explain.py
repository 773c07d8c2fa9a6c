"""The ``explain`` command."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from neuroxai.cli import _options as opt

_METHOD = opt.group("Method")
_FILES = opt.group("Files")
_DICOM = opt.group("DICOM series")


def explain(
    bundle: opt.Bundle,
    source: opt.Input,
    out: opt.Out,
    method: Annotated[
        str | None,
        _METHOD(
            help="Attribution method; an unknown name lists them all. [default: the bundle's]",
            autocompletion=opt.methods,
        ),
    ] = None,
    option: Annotated[list[str] | None, _METHOD(help="Option of the method, such as beta=1; repeatable.")] = None,
    against: Annotated[
        str | None,
        _METHOD(
            help="`controls`: hold each scan against its healthy twin by the bundle's reference "
            "(`neuroxai bundle controls`), by integrated gradients or the --method given; about a second of a core "
            "per scan at 4 mm. The default of a bundle that has a reference."
        ),
    ] = None,
    start: Annotated[
        str | None,
        _METHOD(
            help="Where relevance starts: logit or probability. [default: what keeps the signs of the map: logit with "
            "the rules zero, epsilon and gamma in the last layer, else probability]"
        ),
    ] = None,
    target: Annotated[str | None, _METHOD(help="Class to explain, or `predicted`. [default: the second class]")] = None,
    layer: Annotated[
        str | None,
        _METHOD(help="Start at this hidden layer instead of a class, such as features.conv4 (LRP only)."),
    ] = None,
    neuron: Annotated[
        str | None,
        _METHOD(
            help="Neurons of --layer: a filter (12), one place (12,3,4,5), patch=3,filter=1 of a patch-individual "
            "layer, or `all`: each filter's mean heatmap over the scans, in OUT/group. [default: all at once]"
        ),
    ] = None,
    atlas: opt.Atlas = None,
    labels: opt.Labels = None,
    native: Annotated[bool, _FILES(help="Write heatmaps in the scan's own space too.")] = True,
    scores_only: Annotated[
        bool, _FILES("--scores-only", help="Write no maps: region scores and probabilities alone.")
    ] = False,
    score_space: Annotated[
        str, opt.REGIONS(help="Where regions are summed up: on the network's grid, or the scan's (`scan`).")
    ] = "network",
    series: opt.Series = None,
    arm: Annotated[
        str | None,
        _DICOM(
            help="How a DICOM series is prepared: linear, nonlinear, none, or as-is, if it lies in the network's space "
            "already. [default: linear]"
        ),
    ] = None,
    dicom_out: Annotated[
        Path | None, _DICOM(help="Folder for DICOM objects of a DICOM series: map, bands, summary.")
    ] = None,
    dicom_regions: Annotated[
        bool, _DICOM("--dicom-regions", help="Write the atlas's regions as a DICOM segmentation too.")
    ] = False,
    dicom_pictures: Annotated[
        bool,
        _DICOM("--dicom-pictures", help="Write the overlay as colour pictures too, for archives that show no others."),
    ] = False,
    store: Annotated[
        bool, _DICOM("--store", help="Send the objects of --dicom-out to the archive that the series came from.")
    ] = False,
    datalist: opt.Datalist = None,
    part: opt.Part = None,
    participant_label: opt.Participants = None,
    suffix: opt.Suffix = None,
    desc: opt.Desc = None,
    run: opt.Run = None,
    batch_size: opt.Batch = 1,
    device: opt.Device = "auto",
    scheduler: opt.Scheduler = None,
    orientation: opt.Orientation = None,
    prepare: opt.Prepare = None,
    accept_unfit: opt.Accept = False,
    as_json: opt.Json = False,
) -> None:
    """Explain each scan: heatmap in the scan's and the network's space, region scores, probabilities.

    A DICOM series (its folder, one enhanced file, or https://ARCHIVE/dicom-web/studies/UID) is prepared first, as the
    scanner left it; so is a NIfTI scan with --prepare. A scan that is far from those that the network was trained on
    is refused.

    Finished scans are not redone; run the same command again to go on. Started by `torchrun --nproc_per_node=4 -m
    neuroxai explain ...` the processes share the scans out, one GPU each; the tables are those of a single process.

    Example: `neuroxai explain bundle cohort --part test --method lrp_alpha_beta --option beta=0 --out explained`
    """
    arguments = dict(locals())
    from neuroxai.cli._start import import_libraries

    configs = ["inference.json", "explain_filters.json" if neuron == "all" else "explain.json"]
    import_libraries(bundle, configs, explaining=True)
    from neuroxai.cli._bundle import (
        check_results,
        device_of,
        find_scans,
        finish,
        located,
        run_evaluator,
    )
    from neuroxai.cli._series import from_archive, is_series, prepared_on_the_way, take_series, write_objects
    from neuroxai.components import end_processes, is_main_process, join_shares, read_record, shard_of
    from neuroxai.errors import InputError
    from neuroxai.explain import ExplainOptions
    from neuroxai.explain.bundle import open_workflow
    from neuroxai.explain.controls import against_controls
    from neuroxai.io import check_folder, parse_pairs
    from neuroxai.io.dicom.web import Address

    archive = Address.of(source)
    if store and (archive is None or dicom_out is None):
        raise InputError("--store sends the objects of --dicom-out to the archive of a source https://...; give both")
    if archive is not None:
        from_archive(archive, explain, arguments)
        return
    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas; give the label image with --atlas")
    options = parse_pairs(option or [], "option")
    if against is not None:
        held = against_controls(against, options, method)
        method, options = held["method"], held["options"]
    given = {"method": method} if method else {}
    asked = ExplainOptions.of({**given, "start": start, "target": target, "score_space": score_space})
    if scores_only and neuron == "all":
        raise InputError("--neuron all writes mean heatmaps; leave out --scores-only")
    if neuron is not None and layer is None:
        raise InputError(f"--neuron {neuron} needs the layer that it is in; name it with --layer")
    if layer is not None and not re.fullmatch(r"[A-Za-z_][\w.:]*", layer):  # never an expression of the configuration
        raise InputError(f"--layer is {layer!r}, expected a layer's name, such as features.conv4")
    if layer is not None and start is not None:
        raise InputError("--start is about a class; relevance that starts at --layer starts from the layer's values")
    where = None if atlas is None and neuron == "all" else located(atlas)  # an absent copy is reported at once
    several, first = join_shares(), is_main_process()
    if (several or scheduler) and neuron == "all":
        raise InputError(
            "--neuron all takes means over all scans; run it in one process, without torchrun or a cluster"
        )
    if several and scheduler:
        raise InputError(f"torchrun and --scheduler {scheduler} both share the scans out; leave one out")
    dicom = source if datalist is None and is_series(source) else None
    if dicom is None and (series or arm or dicom_out or dicom_regions or dicom_pictures):
        raise InputError(
            f"{source}: is no DICOM series, but --series, --arm and --dicom-* are about one; leave them out, or give "
            "the folder of a series"
        )
    if prepare is not None and arm is not None:
        raise InputError(f"--arm {arm} and --prepare {prepare} say the same of a DICOM series; leave one out")
    if (dicom is not None or prepare is not None) and several:
        raise InputError("what is prepared on the way is one scan; explain it in one process, without torchrun")
    if dicom_out is not None and (layer is not None or scores_only or not native):
        raise InputError(
            "--dicom-out writes a class's heatmap on the series' grid; leave out --layer, --scores-only and --no-native"
        )
    check_results(out, [bundle, source, datalist, labels, None if atlas is None else Path(atlas)])
    if dicom_out is not None:
        check_folder("--dicom-out", dicom_out, [bundle, out], apart=[source])
    if dicom is not None:
        source = take_series(dicom, series, arm or prepare, out, bundle, dicom_out)
    elif prepare is not None:
        source = prepared_on_the_way(source, prepare, out, bundle)
    pattern = {"suffix": suffix, "desc": desc, "run": run}
    scans = find_scans(source, datalist, part, pattern, bundle, participant_label)
    given_options = MappingProxyType(options)
    # the bundle's method comes with options of its own, which the user's replace
    choice = {"method": method, "method_options": given_options} if method else {}
    if option and not method:
        choice = {"method_options": given_options}
    classes = read_record(str(bundle / "models" / "model.pt")).get("classes", ["0", "1"])
    begin: dict[str, object] = {"layer": layer} if layer else {}
    if neuron != "all":
        begin.update(
            native=native,
            maps=not scores_only,
            score_space=score_space,
            datalist=scans.datalist,
            split=scans.part,
            **({"neuron": _neuron(neuron)} if neuron else {}),
            **({"initial_relevance": start} if start else {}),
        )
    settings = {
        "dataset_dir": str(scans.folder),
        "output_dir": str(out.resolve()),
        "batch_size": batch_size,
        "target": asked.for_classes(classes).target,
        "atlas": where,
        "accept_unfit": accept_unfit,
        "labels": str(labels.resolve()) if labels else None,
        **choice,
        **begin,
    }
    workflow = open_workflow(bundle, configs, scans=tuple(scans.items), device=device_of(device), **settings)
    pending = workflow.parser.get_parsed_content("items")
    left, own = len(pending), len(shard_of(scans.items))
    if left < own and not as_json:
        typer.echo(f"{own - left} of {own} scans were finished before", err=True)
    if scheduler is None:
        failed = run_evaluator(workflow.evaluator, left, as_json or not first, scans)
    else:
        from neuroxai.cli._cluster import Request, explain_on_cluster
        from neuroxai.cli._progress import progress_bar

        with progress_bar("scans", as_json, transient=True) as progress:
            request = Request(bundle, configs, device, settings)
            failed = explain_on_cluster(scheduler, request, pending, scans, progress)
        workflow.parser.get_parsed_content("heatmaps").finish(failed)
    if several:
        failed = workflow.parser.get_parsed_content("heatmaps").failures
        end_processes()
    if first:
        finish(out, scans, failed, as_json)
    if dicom is not None and dicom_out is not None:
        regions = (atlas or "builtin") if dicom_regions else None
        written = write_objects(out, dicom, series, dicom_out, regions, labels, dicom_pictures)
        if not as_json:
            objects = sum(path.parent == dicom_out for path in written)
            pictures = f" and {len(written) - objects} pictures" if dicom_pictures else ""
            typer.echo(f"{objects} DICOM objects{pictures}: {dicom_out}")


def _neuron(text: str) -> int | tuple[int, ...] | MappingProxyType[str, int]:
    """Read a neuron: ``12``, ``12,3,4,5`` or ``patch=3,filter=1``.

    Raises
    ------
    InputError
        For anything else.
    """
    from neuroxai.errors import InputError

    pair = re.fullmatch(r"patch=(\d+),filter=(\d+)", text)
    if pair:
        return MappingProxyType({"patch": int(pair[1]), "filter": int(pair[2])})
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise InputError(f"--neuron is {text!r}, expected a filter (12), 12,3,4,5 or patch=3,filter=1, or all")
    numbers = tuple(int(number) for number in text.split(","))
    return numbers[0] if len(numbers) == 1 else numbers
