"""The ``explain`` command."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Annotated

import typer

from neuroxai.cli.predict import (
    BatchOption,
    BundleArgument,
    DatalistOption,
    DescOption,
    DeviceOption,
    InputArgument,
    JsonOption,
    OutOption,
    PartOption,
    SuffixOption,
)


def explain(
    bundle: BundleArgument,
    source: InputArgument,
    out: OutOption,
    method: Annotated[str, typer.Option(help="Attribution method; an unknown name lists them all.")] = "lrp_alpha_beta",
    option: Annotated[list[str] | None, typer.Option(help="Option of the method, such as beta=1; repeatable.")] = None,
    start: Annotated[
        str | None, typer.Option(help="Where relevance starts: logit or probability; the bundle's choice if left out.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Class to explain, or `predicted`; the second class if left.")
    ] = None,
    atlas: Annotated[
        str | None, typer.Option(help="Name (`neuroxai atlas list`) or label image; the built-in one if left out.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Names of the label image (TSV, XML, LUT).")] = None,
    native: Annotated[bool, typer.Option(help="Write heatmaps in the scan's own space too.")] = True,
    datalist: DatalistOption = None,
    part: PartOption = None,
    suffix: SuffixOption = None,
    desc: DescOption = None,
    batch_size: BatchOption = 1,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Explain each scan: heatmap in the scan's and the network's space, region scores, probabilities.

    Finished scans are not redone; run the same command again to go on.

    Example: `neuroxai explain bundle cohort --part test --method lrp_alpha_beta --option beta=0 --out explained`
    """
    from neuroxai import attribution
    from neuroxai.atlas.named import find, is_name
    from neuroxai.cli._bundle import (
        device_of,
        find_scans,
        finish,
        open_bundle,
        parse_options,
        run_evaluator,
        target_of,
    )
    from neuroxai.components import read_record
    from neuroxai.errors import InputError, one_of

    if method not in attribution.names():
        raise one_of("attribution method", method, attribution.names())
    if labels is not None and atlas is None:
        raise InputError("--labels names the regions of an atlas; give the label image with --atlas")
    if start not in (None, "logit", "probability"):
        raise one_of("start", start, ["logit", "probability"])
    named = atlas is None or is_name(atlas)
    if atlas is not None and named and atlas != "builtin":
        find(atlas)  # an absent copy is told before anything is loaded
    scans = find_scans(source, datalist, part, {"suffix": suffix, "desc": desc})
    classes = read_record(str(bundle / "models" / "model.pt")).get("classes", ["0", "1"])
    workflow = open_bundle(
        bundle,
        ["inference.json", "explain.json"],
        dataset_dir=str(scans.folder),
        output_dir=str(out.resolve()),
        scans=tuple(scans.items),
        batch_size=batch_size,
        device=device_of(device),
        method=method,
        method_options=MappingProxyType(parse_options(option or [])),
        target=target_of(target, classes),
        atlas=(atlas or "builtin") if named else str(Path(atlas or "").resolve()),
        labels=str(labels.resolve()) if labels else None,
        native=native,
        **({"start": start} if start else {}),
    )
    evaluator = workflow.evaluator
    left = len(workflow.parser.get_parsed_content("items"))
    if left < len(scans.items) and not as_json:
        typer.echo(f"{len(scans.items) - left} of {len(scans.items)} scans were finished before", err=True)
    finish(out, scans, run_evaluator(evaluator, left, quiet=as_json), as_json)
