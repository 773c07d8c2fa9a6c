"""Training: samples a second, and the share of time spent waiting for data, over a plain loop.

The plain loop reads and prepares each scan each time, in NCDHW, in full precision; ours keeps prepared scans (in
memory, or on disk and memory-mapped), in channels_last_3d, on a processor with freed memory kept, with mixed precision
on a GPU and compilation on request.
All run interleaved on the same scans in one process; medians are printed as a markdown table. Run on an otherwise idle
machine::

    OMP_NUM_THREADS=2 python scripts/benchmarks/train.py --spacing 2 --scans 16 --batch 4 --repeats 3
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from monai.transforms import Compose, EnsureTyped, RandFlipd

from neuroxai import io, networks
from neuroxai.components import (
    ClassificationLoss,
    LoadScand,
    NormaliseScand,
    RandShiftd,
    RelevanceGuidance,
    ResampleToSpaced,
    ScanDataset,
    ScanSampler,
)
from neuroxai.components.guidance import RULES
from neuroxai.components.memory import keep_freed
from neuroxai.space import Space, Volume, mni152


@dataclass(frozen=True)
class Way:
    """A way to train."""

    cache: str = "none"
    last: bool = False
    amp: bool = False
    compiled: bool = False
    workers: int = 0
    rule: str = ""  # of relevance guidance
    freed: bool = False  # freed memory is kept


class Trainer:
    """One way's network, optimiser and loader."""

    def __init__(self, way: Way, items: list[dict[str, Any]], space: Space, options: argparse.Namespace) -> None:
        device = torch.device(options.device)
        torch.manual_seed(0)
        network = getattr(networks, options.network)(space.shape, padding="same" if min(space.shape) < 78 else 0)
        memory_format = torch.channels_last_3d if way.last else torch.contiguous_format
        self.network = network.to(device=device, memory_format=memory_format).train()
        self.run = torch.compile(self.network) if way.compiled else self.network
        self.way, self.device, self.format = way, device, memory_format
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=1e-4)
        self.scaler = torch.amp.GradScaler(device.type, enabled=way.amp)
        self.loss, self.steps = ClassificationLoss(), 0
        self.guidance = RelevanceGuidance(self.network, 1.0, way.rule, options.every) if way.rule else None
        self.mask = torch.zeros(1, 1, *space.shape, device=device, dtype=torch.bool)
        self.clock = time.process_time if options.processor else time.perf_counter
        prepare = Compose([LoadScand("image"), ResampleToSpaced("image", space), NormaliseScand("image"), plain()])
        augment = Compose([RandFlipd("image", prob=0.5, spatial_axis=0), RandShiftd("image"), plain()])
        folder = tempfile.mkdtemp(dir=options.folder) if way.cache == "disk" else None
        self.data = ScanDataset(items, prepare, augment, cache=way.cache, cache_dir=folder)
        self.sampler = ScanSampler(self.data)
        self.loader = DataLoader(
            self.data,
            sampler=self.sampler,
            batch_size=options.batch,
            num_workers=way.workers,
            persistent_workers=way.workers > 0,
            pin_memory=device.type == "cuda",
        )

    def epoch(self, number: int) -> tuple[float, float]:
        """Train one epoch; return its seconds, and those spent waiting for data."""
        self.sampler.set_epoch(number)
        if self.way.freed:
            keep_freed(True)
        begin, waited = self.clock(), 0.0
        batches = iter(self.loader)
        while True:
            asked = self.clock()
            batch = next(batches, None)
            waited += self.clock() - asked
            if batch is None:
                break
            x = batch["image"].to(self.device, memory_format=self.format, non_blocking=True)
            labels = batch["label"].to(self.device, non_blocking=True)
            self.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device.type, enabled=self.way.amp):
                loss = self.loss(self.run(x), labels)
            if self.guidance is not None:
                self.steps += 1
                chosen = slice(self.steps % self.guidance.every, None, self.guidance.every)
                loss = loss + self.guidance.outside(x[chosen], labels[chosen], self.mask).mean()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        taken = self.clock() - begin
        if self.way.freed:  # not sooner: the other ways have glibc's limits as they have grown by then
            keep_freed(False)
        return taken, waited


def plain() -> EnsureTyped:
    """Return the transform that drops metadata, as the bundles have it."""
    return EnsureTyped("image", track_meta=False)


def ways(options: argparse.Namespace) -> dict[str, Way]:
    """Return what is compared, the plain loop first."""
    amp = options.device == "cuda"
    found = {
        "plain loop": Way(),
        "kept in memory": Way("memory"),
        "kept in memory, channels last": Way("memory", last=True),
        "kept on disk, channels last": Way("disk", last=True),
    }
    if options.workers:
        found[f"plain loop, {options.workers} workers"] = Way(workers=options.workers)
        found[f"kept on disk, channels last, {options.workers} workers"] = Way("disk", True, workers=options.workers)
    if not amp:
        found["kept in memory, channels last, freed memory kept"] = Way("memory", True, freed=True)
        found["kept on disk, channels last, freed memory kept"] = Way("disk", True, freed=True)
    if amp:
        found["kept in memory, channels last, mixed precision"] = Way("memory", True, amp)
    if options.guided:
        for rule in RULES:
            found[f"kept in memory, channels last, guided by relevance ({rule})"] = Way("memory", True, rule=rule)
    if options.compile:
        found["kept in memory, channels last, compiled"] = Way("memory", True, amp, compiled=True)
    return found


def scans(folder: Path, space: Space, count: int) -> list[dict[str, Any]]:
    """Write random scans to disk and return them as items."""
    generator = np.random.default_rng(0)
    items = []
    for n in range(count):
        path = folder / f"sub-{n:03d}_T1w.nii.gz"
        io.write_volume(path, Volume(generator.random(space.shape, dtype=np.float32), space))
        items.append({"image": str(path), "participant_id": f"sub-{n:03d}", "session_id": "", "label": n % 2})
    return items


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="ad_cnn", choices=("ad_cnn", "ms_cnn", "model_a", "model_a_pif"))
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel size in mm")
    parser.add_argument("--scans", type=int, default=16)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3, help="epochs of each after one to warm up")
    parser.add_argument("--workers", type=int, default=0, help="also measure with so many worker processes")
    parser.add_argument("--guided", action="store_true", help="also measure with relevance guidance")
    parser.add_argument("--every", type=int, default=2, help="of a batch's scans, which are guided")
    parser.add_argument("--processor", action="store_true", help="time of the processor, for busy machines")
    parser.add_argument("--compile", action="store_true", help="also measure with torch.compile")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    space = mni152(options.spacing)
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder
        items = scans(Path(folder), space, options.scans)
        trainers = {name: Trainer(way, items, space, options) for name, way in ways(options).items()}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
        for number in range(options.repeats + 1):
            for name, trainer in trainers.items():
                found = trainer.epoch(number)
                if number:
                    taken[name].append(found)
    print(
        f"{options.network} at {'x'.join(map(str, space.shape))}, batch {options.batch}, {options.scans} scans, ",
        end="",
    )
    print(
        f"{options.device}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, ",
        end="",
    )
    print(f"median of {options.repeats} epochs\n")
    print("| training | samples a second | over the plain loop | time waiting for data |")
    print("|---|---|---|---|")
    slowest = statistics.median(whole for whole, _ in taken["plain loop"])
    for name, epochs in taken.items():
        whole = statistics.median(w for w, _ in epochs)
        waiting = statistics.median(waited / w for w, waited in epochs)
        print(f"| {name} | {options.scans / whole:.2f} | {slowest / whole:.2f} | {waiting:.0%} |")


if __name__ == "__main__":
    main()
