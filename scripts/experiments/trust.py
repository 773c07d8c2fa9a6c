"""Which explanation method can be trusted? A table, method by metric, on a simulated cohort with a trained bundle.

    neuroxai simulate cohort --effect atrophy --subjects 150 --spacing 5 --seed 1
    neuroxai split cohort cohort/datalist.json --target diagnosis --classes CN,AD --fractions .6,.2,.2 --seed 1
    # train the bundle, once or several times with other seeds (docs/concepts/trust.md), then
    python scripts/experiments/trust.py BUNDLE [BUNDLE ...] --cohort cohort --out trust

The held-out patients are explained for the patients' class, by each method and by each bundle; their truth lies beside
their scans (``_desc-effect_mask.nii.gz``). Written: ``values.tsv`` (a row a method and scan), ``table.tsv`` (means,
with controls and the chance level) and ``p_values.tsv``. Printed: the table, in two parts. Methods have their default
options; for guided back-propagation and SmoothGrad the magnitude of the map is measured, too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuroxai import atlas, attribution
from neuroxai.components import open_part
from neuroxai.errors import InputError
from neuroxai.evaluation import KnownTruth, Trust, mask_in_space, measure_trust
from neuroxai.explain.bundle import open_workflow
from neuroxai.io import read_labels, write_tsv
from neuroxai.report.cohort.truth import mask_beside
from neuroxai.space import Space

MAGNITUDE = "_magnitude"
MAGNITUDES = ("guided_backprop_magnitude", "smooth_grad_magnitude")  # Boehle 2019 looks at sizes of gradients alone
REFERENCED = {"region_swap", "region_shapley", "region_lime"}  # for the twin swap (against_controls.py)
METHODS = sorted({*attribution.names(), *MAGNITUDES} - REFERENCED)
PATIENT = 1  # the class that the effect speaks for
LOCALISATION = [
    "relevance_mass", "density_ratio", "roc_auc", "pr_auc", "pointing", "top_intersection", "outside_brain"
]  # fmt: skip


def opened(bundle: Path, items: list[dict[str, Any]], device: str) -> Any:
    """Open a trained bundle on chosen scans."""
    return open_workflow(bundle, ["inference.json"], scans=tuple(items), device=torch.device(device))


def stacked(workflow: Any) -> torch.Tensor:
    """Return a workflow's scans as its network takes them, (scans, 1, *grid)."""
    return torch.stack([item["image"].as_tensor() if hasattr(item["image"], "as_tensor") else item["image"]
                        for item in workflow.dataset])  # fmt: skip


def truths_of(items: list[dict[str, Any]], space: Space) -> Any:
    """Read the effect masks beside the scans."""
    masks = []
    for item in items:
        path = mask_beside(Path(item["image"]))
        if path is None:
            raise InputError(f"{item['image']}: no effect mask beside this patient's scan; is the cohort simulated?")
        masks.append(mask_in_space(read_labels(path), space))
    return np.stack(masks)


def methods_of(names: list[str], regions: atlas.Atlas) -> dict[str, Callable[[torch.nn.Module], Any]]:
    """Return the methods by name, ready for any network."""
    options: dict[str, dict[str, Any]] = {"region_occlusion": {"labels": regions}}
    options |= {name: {"absolute": True} for name in MAGNITUDES}
    return {name: partial(attribution.create, name.removesuffix(MAGNITUDE), **options.get(name, {})) for name in names}


def run(arguments: argparse.Namespace) -> Trust:
    """Measure, and write the tables."""
    cohort = arguments.cohort.resolve()
    datalist = str(cohort / "datalist.json")
    test = [i for i in open_part(datalist, "test", str(cohort)) if i["label"] == PATIENT][: arguments.scans]
    healthy = [i for i in open_part(datalist, "training", str(cohort)) if i["label"] != PATIENT]
    flows = [opened(bundle, test, arguments.device) for bundle in arguments.bundles]
    space: Space = flows[0].parser.get_parsed_content("space")
    scans = stacked(flows[0]).to(arguments.device)
    fill: Any = arguments.fill
    if fill == "controls":
        fill = stacked(opened(arguments.bundles[0], healthy, arguments.device)).mean(0).to(arguments.device)
    regions = atlas.builtin(space)
    truth = KnownTruth(
        scans, truths_of(test, space), PATIENT, space.spacing, arguments.tolerance, regions, fill=fill,
        seed=arguments.seed,
    )  # fmt: skip
    networks = [flow.parser.get_parsed_content("network") for flow in flows]
    for bundle, network in zip(arguments.bundles, networks, strict=True):
        with torch.no_grad():
            right = int((network(scans).argmax(1) == PATIENT).sum())
        print(f"{bundle}: {right} of {len(scans)} held-out patients recognised", file=sys.stderr)
    found = measure_trust(
        networks, methods_of(arguments.methods, regions), truth, lambda name: print(name, file=sys.stderr)
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_tsv(arguments.out / "values.tsv", found.values)
    write_tsv(arguments.out / "table.tsv", found.table().reset_index())
    write_tsv(arguments.out / "p_values.tsv", found.p_values().reset_index())
    return found


def markdown(found: Trust) -> str:
    """Return two tables in Markdown; a star where a method is not shown to be better than random maps."""
    table, worse = found.table(), found.no_better()
    lines = []
    for columns in (LOCALISATION, [c for c in table.columns if c not in LOCALISATION]):
        lines += ["| method | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
        for name, row in table[list(columns)].iterrows():
            cells = [
                ("-" if np.isnan(v) else f"{v:.2f}") + ("*" if c in worse.get(str(name), ()) else "")
                for c, v in row.items()
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="trained bundles: one network each")
    parser.add_argument("--cohort", type=Path, required=True, help="simulated cohort, with datalist.json")
    parser.add_argument("--out", type=Path, default=Path("trust"), help="folder of the tables")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--scans", type=int, default=None, help="at most so many held-out patients")
    parser.add_argument("--fill", default="controls", choices=["zero", "blur", "controls"])
    parser.add_argument("--tolerance", type=float, default=0.0, help="of the truth, in mm")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    print(markdown(run(parser.parse_args())), end="")


if __name__ == "__main__":
    main()
