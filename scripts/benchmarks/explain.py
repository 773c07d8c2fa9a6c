"""Scans explained a second, and where the time goes: read, forward, attribute, resample, score, write.

Random scans of 1 mm are explained by the Alzheimer's network with random weights, as `neuroxai explain` does it: with
maps in both spaces, and with scores alone. Medians a scan are printed as a markdown table; reading and writing have
threads of their own, so that the parts come to more than the whole. Run it on an otherwise idle machine::

    OMP_NUM_THREADS=2 python scripts/benchmarks/explain.py --spacing 2 --scans 6 --method lrp_alpha_beta
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _common import network
from ignite.engine import Events

from neuroxai import attribution, io
from neuroxai.atlas import RegionScorer
from neuroxai.cli._bundle import run_evaluator
from neuroxai.components import LoadScand, NormaliseScand, ResampleToSpaced
from neuroxai.explain import FolderWriter, attribute
from neuroxai.explain.bundle import open_workflow
from neuroxai.space import Space, Volume, mni152

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "brain_t1w_alzheimers_classification"
PARTS = ("read", "forward", "attribute", "resample", "score", "write")


@contextmanager
def timed(spent: dict[str, float], clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """Add up the seconds spent in each part; a part inside another counts for itself, but all of reading is read."""
    stacks: dict[int, list[tuple[str, list[float]]]] = defaultdict(list)

    def watch(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timer(*args: Any, **kwargs: Any) -> Any:
            running = stacks[threading.get_ident()]
            if running and running[-1][0] == "read":
                return call(*args, **kwargs)
            inner = [0.0]
            running.append((part, inner))
            start = clock()
            try:
                return call(*args, **kwargs)
            finally:
                whole = clock() - start
                running.pop()
                spent[part] += whole - inner[0]
                if running:
                    running[-1][1][0] += whole

        return timer

    create = attribution.create

    def creating(*args: Any, **kwargs: Any) -> Any:
        made = create(*args, **kwargs)
        for name in ("attribute", "attribute_neurons"):
            if hasattr(made, name):
                setattr(made, name, watch("attribute", getattr(made, name)))
        return made

    with ExitStack() as stack:
        for part, owner, name in (
            *(("read", kind, "__call__") for kind in (LoadScand, ResampleToSpaced, NormaliseScand)),
            ("forward", attribute, "_logits"),
            ("resample", Volume, "resampled_to"),
            ("score", RegionScorer, "forward"),
            ("write", FolderWriter, "_write_scan"),
        ):
            stack.enter_context(mock.patch.object(owner, name, watch(part, getattr(owner, name))))
        stack.enter_context(mock.patch.object(attribution, "create", creating))
        yield


def trained(folder: Path, spacing: float, source: Path = BUNDLE) -> Path:
    """Make a bundle with random weights for a grid."""
    bundle = folder / "bundle"
    shutil.copytree(source, bundle, ignore=shutil.ignore_patterns("models", "eval"))
    space = mni152(spacing)
    (bundle / "models").mkdir()
    torch.save(network(space.shape).cpu().state_dict(), bundle / "models" / "model.pt")
    record = {"checkpoint_sha256": io.sha256(bundle / "models" / "model.pt"), "space": space.to_dict()}
    io.write_json(bundle / "models" / "model.json", {**record, "classes": ["CN", "AD"], "settings": {}})
    return bundle


def scans(folder: Path, count: int) -> list[dict[str, str]]:
    """Write random scans of 1 mm, stored LAS."""
    space = Space((182, 218, 182), np.array([[-1, 0, 0, 90], [0, 1, 0, -126], [0, 0, 1, -72], [0, 0, 0, 1.0]]))
    generator, items = np.random.default_rng(0), []
    for n in range(count):
        path = folder / f"sub-{n:03d}_T1w.nii.gz"
        io.write_volume(path, Volume(generator.random(space.shape, dtype=np.float32), space))
        items.append({"image": str(path), "participant_id": f"sub-{n:03d}", "session_id": ""})
    return items


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size of the network's grid in mm")
    parser.add_argument("--scans", type=int, default=6, help="after one to warm up")
    parser.add_argument("--method", default="lrp_alpha_beta", choices=attribution.names())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processor", action="store_true", help="processor time in place of the clock's; one thread")
    options = parser.parse_args()
    part_clock, whole_clock = time.perf_counter, time.perf_counter
    if options.processor:
        part_clock, whole_clock = time.thread_time, time.process_time
    ways: dict[str, dict[str, Any]] = {
        "maps and scores": {},
        "scores alone": {"maps": False},
        "scores alone, on the scan's grid": {"maps": False, "score_space": "scan"},
    }
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = trained(folder, options.spacing)
        items = scans(folder, options.scans + 1)
        for way, extra in ways.items():
            spent: dict[str, float] = dict.fromkeys(PARTS, 0.0)
            moments: list[tuple[float, dict[str, float]]] = []
            with timed(spent, part_clock):
                workflow = open_workflow(
                    bundle,
                    ["inference.json", "explain.json"],
                    dataset_dir=str(folder),
                    output_dir=str(folder / way),
                    scans=tuple(items),
                    device=torch.device(options.device),
                    method=options.method,
                    **extra,
                )
                evaluator = workflow.evaluator
                evaluator.add_event_handler(
                    Events.ITERATION_COMPLETED, lambda _, m=moments, s=spent: m.append((whole_clock(), dict(s)))
                )
                run_evaluator(evaluator, len(items), quiet=True)
            for (start, before), (end, after) in pairwise(moments):
                taken[way].append({**{part: after[part] - before[part] for part in PARTS}, "whole": end - start})
    print(
        f"AD network at {options.spacing:g} mm, scans of 182x218x182, {options.method}, batch 1, {options.device}, ",
        end="",
    )
    print(
        f"{platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, median of {options.scans}\n"
    )
    print(f"| explaining | scans a second | {' | '.join(f'{part}, s' for part in PARTS)} | all, s |")
    print(f"|---|---|{'---|' * (len(PARTS) + 1)}")
    for way, found in taken.items():
        middle = {part: statistics.median(one[part] for one in found) for part in (*PARTS, "whole")}
        row = " | ".join(f"{middle[part]:.2f}" for part in PARTS)
        print(f"| {way} | {1 / middle['whole']:.2f} | {row} | {middle['whole']:.2f} |")


if __name__ == "__main__":
    main()
