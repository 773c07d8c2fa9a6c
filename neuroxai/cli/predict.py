"""The ``predict`` command."""

from __future__ import annotations

from neuroxai.cli import _options as opt


def predict(
    bundle: opt.Bundle,
    source: opt.Input,
    out: opt.Out,
    datalist: opt.Datalist = None,
    part: opt.Part = None,
    participant_label: opt.Participants = None,
    suffix: opt.Suffix = None,
    desc: opt.Desc = None,
    run: opt.Run = None,
    batch_size: opt.Batch = 4,
    device: opt.Device = "auto",
    orientation: opt.Orientation = None,
    prepare: opt.Prepare = None,
    accept_unfit: opt.Accept = False,
    as_json: opt.Json = False,
) -> None:
    """Predict the class of each scan; writes OUT/predictions.tsv, with how each scan fits the network.

    Example: `neuroxai predict bundle cohort --part test --out predictions`
    """
    from neuroxai.cli._start import import_libraries

    import_libraries(bundle, ["inference.json"])
    from neuroxai.cli._bundle import check_results, device_of, find_scans, finish, run_evaluator
    from neuroxai.cli._series import prepared_on_the_way
    from neuroxai.derivatives.dataset import PREDICT, describe
    from neuroxai.explain.bundle import open_workflow
    from neuroxai.networks.folding import Folded

    check_results(out, [bundle, source, datalist], explaining=False)
    if prepare is not None:
        source = prepared_on_the_way(source, prepare, out, bundle)
    pattern = {"suffix": suffix, "desc": desc, "run": run}
    scans = find_scans(source, datalist, part, pattern, bundle, participant_label)
    workflow = open_workflow(
        bundle,
        ["inference.json"],
        dataset_dir=str(scans.folder),
        output_dir=str(out.resolve()),
        items=tuple(scans.items),
        batch_size=batch_size,
        device=device_of(device),
        accept_unfit=accept_unfit,
    )
    workflow.evaluator.network = Folded(workflow.evaluator.network)
    failed = run_evaluator(workflow.evaluator, len(scans.items), as_json, scans)
    describe(out, scans.folder, PREDICT)
    finish(out / "predictions.tsv", scans, failed, as_json)
