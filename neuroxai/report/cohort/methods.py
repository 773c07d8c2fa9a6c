"""What was done to a cohort, in sentences for a paper with their sources: from its records, not from what is usual."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from neuroxai.attribution.registry import METHODS
from neuroxai.derivatives.explain_folder import ExplainFolder
from neuroxai.derivatives.explained import ExplainRecord
from neuroxai.derivatives.prepared import PreparedRecord
from neuroxai.evaluation import Estimate
from neuroxai.pictures.text import number

_SOURCES = {
    "MONAI": "Cardoso et al. 2022, arXiv:2211.02701",
    "N4": "Tustison et al. 2010, IEEE Transactions on Medical Imaging 29: 1310-1320",
    "ANTs": "Avants et al. 2011, NeuroImage 54: 2033-2044",
    "ITK": "McCormick et al. 2014, Frontiers in Neuroinformatics 8: 13",
    "deepbet": "Fisch et al. 2024, Computers in Biology and Medicine 179: 108845",
    "MNI152": "Fonov et al. 2011, NeuroImage 54: 313-327",
    "Hedges' g": "Hedges and Olkin 1985, Statistical Methods for Meta-Analysis",
    "Wilson": "Wilson 1927, JASA 22: 209-212",
    "Newcombe 2006": "Newcombe 2006, Statistics in Medicine 25: 559-573",
    "DeLong": "DeLong et al. 1988, Biometrics 44: 837-845",
    "Brier": "Brier 1950, Monthly Weather Review 78: 1-3",
}


@dataclass(frozen=True)
class MethodsText:
    """Paragraphs, and the references that they name, each once, in the order of the alphabet."""

    paragraphs: Sequence[str]
    references: Sequence[str]


def methods_text(
    folder: ExplainFolder,
    prepared: Iterable[PreparedRecord | None],
    metrics: Mapping[str, Estimate],
    regions: int,
    effects: bool,
) -> MethodsText:
    """Say how a cohort's report came about.

    Parameters
    ----------
    folder : ExplainFolder
        The explained cohort.
    prepared : iterable of PreparedRecord or None
        Of each scan; None where it was not prepared by this package.
    metrics : mapping of str to Estimate
        Those that the report gives.
    regions : int
        Regions whose relevance it gives.
    effects : bool
        Whether it compares patients and controls region by region.
    """
    text = _preparation(list(prepared)) + _explanation(folder.record, folder.positive, regions)
    statistics = []
    if metrics:
        ways = dict.fromkeys(one.method for one in metrics.values() if one.value is not None and one.method)
        statistics.append(f"Metrics of classification have 95 % intervals ({', '.join(ways)}).")
        statistics.append("Calibration is shown in bins of like probability with Wilson intervals and the Brier score.")
    if effects:
        statistics.append(
            "Patients and controls are compared by Hedges' g of each region's density as a share of the scan's "
            "absolute relevance, with 95 % intervals; nothing is corrected for the number of regions."
        )
    paragraphs = [*text, *([" ".join(statistics)] if statistics else [])]
    said = " ".join(paragraphs)
    named = {source for word, source in _SOURCES.items() if word in said}
    if folder.record.method in METHODS:
        named.add(METHODS[folder.record.method].paper)
    return MethodsText(paragraphs, sorted(named))


def _preparation(records: Sequence[PreparedRecord | None]) -> list[str]:
    total, ways = len(records), Counter(_prepared(one) for one in records if one is not None)
    text = []
    for way, count in ways.most_common():
        text.append(f"Of {total} scans, {count} {'was' if count == 1 else 'were'} prepared by neuroxai {way}.")
    if rest := total - sum(ways.values()):
        text.append(f"How {rest} of {total} scans were prepared is not recorded; they were taken as they are.")
    return [" ".join(text)] if text else []


def _prepared(record: PreparedRecord) -> str:
    """Say how one scan was prepared."""
    chosen, versions = record.parameters, record.versions
    steps = []
    if chosen.get("bias_correction"):
        steps.append("the bias field was corrected (N4)")
    if record.brain_from == "deepbet":
        steps.append(f"the brain was extracted by deepbet {versions.get('deepbet', '')}".rstrip())
    else:
        steps.append(f"the brain mask is of the kind '{record.brain_from}'")
    engine = {"ants": ("ANTs", "antspyx"), "itk": ("ITK", "itk")}.get(str(chosen.get("engine")))
    if record.space == "MNI152" and engine is not None:
        kind = "diffeomorphic (SyN)" if chosen.get("arm") == "nonlinear" else "affine"
        template = chosen.get("template") or "MNI152"
        by = f"{engine[0]} ({engine[1]} {versions.get(engine[1], 'of unknown version')})"
        steps.append(f"{kind} registration to the template {template} was done by {by}")
    if chosen.get("spacing"):
        steps.append(f"voxels are {number(float(chosen['spacing']))} mm wide")
    if chosen.get("scaling"):
        steps.append(f"intensities were scaled by '{chosen['scaling']}'")
    return f"{versions.get('neuroxai', '')} ({record.modality}): {'; '.join(steps)}".strip()


def _explanation(record: ExplainRecord, positive: str, regions: int) -> list[str]:
    versions = record.versions or {}
    checksum = f" (checkpoint {record.checkpoint_sha256[:12]})" if record.checkpoint_sha256 else ""
    text = [
        f"The network of the MONAI bundle “{record.bundle}”{checksum} was run with PyTorch "
        f"{versions.get('torch', 'of unknown version')} by neuroxai {versions.get('neuroxai', 'of unknown version')}."
    ]
    method = METHODS.get(record.method)
    source = "" if method is None else f" ({method.paper})"
    options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (record.options or {}).items())
    start = f" from its {record.start}" if record.start else ""
    text.append(
        f"Heatmaps explain the class {positive}{start} by {record.method}{source}, options: {options or 'defaults'}"
        + (f", on a grid of {record.grid.describe()}." if record.grid is not None else ".")
    )
    if regions:
        atlas = record.atlas.get("name") or record.atlas.get("file") if isinstance(record.atlas, dict) else record.atlas
        text.append(f"Relevance was summed over {regions} regions of the atlas “{atlas}”.")
    return [" ".join(text)]
