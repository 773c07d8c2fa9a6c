"""Does guidance by relevance cure a network of a shortcut? A planted one, trained on with and without it.

    neuroxai simulate cohort --effect atrophy --subjects 150 --spacing 4 --seed 1
    python scripts/experiments/guidance.py cohort --out guidance

For each seed the scans are split by class, two thirds for training. Patients in training bear a faint mark, a cube of
two voxels at the left edge of the field of view, as bright as ``--mark`` standard deviations of their brain; scans of
the test bear none. A small network (three convolutions) is trained on a coarse grid, in one of the ways of `WAYS`.
Measured on the test scans: balanced accuracy, the area under the curve, and of the patients how many times as dense
positive relevance (epsilon, for the difference of the logits) is in the planted effect as in the brain. A run is
written once (``WAY-SEED.json``), so that the same command goes on after an interruption. Printed: means over seeds with
95 % intervals (Student's t), and seconds of one core per training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor, nn

from neuroxai.cohort import read_cohort
from neuroxai.components import RelevanceGuidance, RelevanceMaskd
from neuroxai.evaluation import mask_in_space, positive_density_ratio
from neuroxai.io import read_json, read_labels, read_volume, write_json
from neuroxai.lrp import LRP
from neuroxai.networks import Block, ConvNet
from neuroxai.report.cohort.truth import mask_beside
from neuroxai.space import Space, mni152

Term = Callable[[RelevanceGuidance, Tensor, Tensor, Tensor], Tensor]


def share(guidance: RelevanceGuidance, scans: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """Share of relevance outside, from the probabilities: of z+, and were it conserved, Tinauer's term plus 1."""
    found = guidance.lrp.attribute(scans, start=lambda z: z.detach().softmax(1), create_graph=True).abs().flatten(1)
    outside: Tensor = (found * (masks == 0).flatten(1)).sum(1) / found.sum(1).clamp_min(1e-12)
    return outside


# whether the training scans are marked, weight, rule, term
WAYS: dict[str, tuple[bool, float, str, Term]] = {
    "no mark": (False, 0.0, "epsilon", RelevanceGuidance.outside),
    "mark": (True, 0.0, "epsilon", RelevanceGuidance.outside),
    "mark, guided": (True, 1.0, "epsilon", RelevanceGuidance.outside),
    "mark, guided by z+": (True, 1.0, "z_plus", RelevanceGuidance.outside),
    "mark, share of z+": (True, 3.0, "z_plus", share),
    "mark, share of epsilon": (True, 3.0, "epsilon", share),
}
MEASURES = ("balanced_accuracy", "roc_auc", "density_ratio", "seconds")


class Cohort:
    """A simulated cohort's scans on a coarse grid, in standard deviations of the brain, with labels and truth."""

    def __init__(self, folder: Path, space: Space) -> None:
        table = read_cohort(folder).scans
        self.labels = torch.tensor((table["dose"].astype(float) > 0).to_numpy().astype(int))
        scans, truths = [], []
        for image in table["image"]:
            data = read_volume(folder / image).resampled_to(space).data
            brain = data > 0.02 * data.max()
            scans.append(np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0))
            mask = mask_beside(folder / image)
            truths.append(np.zeros(space.shape, bool) if mask is None else mask_in_space(read_labels(mask), space))
        self.scans, self.truths = torch.from_numpy(np.stack(scans)).float()[:, None], np.stack(truths)

    def split(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return the numbers of training and test scans."""
        rng = np.random.default_rng(seed)
        parts: list[list[int]] = [[], []]
        for label in (0, 1):
            own = rng.permutation(np.flatnonzero(self.labels.numpy() == label))
            parts[0] += own[: 2 * len(own) // 3].tolist()
            parts[1] += own[2 * len(own) // 3 :].tolist()
        return torch.tensor(parts[0]), torch.tensor(parts[1])


def marked(scans: Tensor, labels: Tensor, strength: float) -> Tensor:
    """Return scans whose patients bear the mark."""
    found, (y, z) = scans.clone(), (n // 2 for n in scans.shape[3:])
    found[labels == 1, :, :2, y - 2 : y, 2:4] += strength
    assert z > 4
    return found


def trained(cohort: Cohort, mask: Tensor, way: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    """Train one network and measure it on its test scans."""
    is_marked, weight, rule, term = WAYS[way]
    torch.manual_seed(seed)
    shape = cohort.scans.shape[2:]
    blocks = [Block(8, pool=2), Block(16, pool=2), Block(32)]
    network = ConvNet(shape, blocks, padding="same").to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    training, test = cohort.split(seed)
    scans, labels = cohort.scans[training], cohort.labels[training]
    scans = marked(scans, labels, given.mark) if is_marked else scans
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-4)
    guidance, begun, iteration = RelevanceGuidance(network, weight, rule), time.process_time(), 0
    network.train()
    for _ in range(given.epochs):
        for batch in torch.randperm(len(labels)).split(4):  # type: ignore[no-untyped-call]
            x, y = scans[batch].to(memory_format=torch.channels_last_3d), labels[batch]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x), y)
            chosen = slice(iteration % guidance.every, None, guidance.every)
            if weight and len(y[chosen]):
                masks = mask.expand(len(y[chosen]), -1, -1, -1, -1)
                loss = loss + weight * term(guidance, x[chosen], y[chosen], masks).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            iteration += 1
    seconds = time.process_time() - begun
    network.eval()
    x, y = cohort.scans[test], cohort.labels[test]
    with torch.no_grad():
        logits = network(x)
    patients = test[y == 1]
    difference = LRP(network, "epsilon").attribute(
        cohort.scans[patients], start=lambda z: z * torch.tensor([-1.0, 1.0])
    )
    ratios = [
        positive_density_ratio(one.numpy()[0], cohort.truths[n], cohort.scans[n, 0].numpy() != 0)
        for one, n in zip(difference, patients.tolist(), strict=True)
    ]
    score = (logits[:, 1] - logits[:, 0]).numpy()
    balanced, area = balanced_accuracy_score(y.numpy(), score > 0), roc_auc_score(y.numpy(), score)
    values = (balanced, area, np.nanmean(ratios))
    return dict(zip(MEASURES, (*map(float, values), seconds), strict=True))


def line(way: str, runs: Sequence[dict[str, float]]) -> str:
    """Return one way's row of the table."""
    cells = []
    for name in MEASURES[:-1]:
        values = np.array([run[name] for run in runs])
        half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.nan
        cells.append(f"{values.mean():.2f} ({values.mean() - half:.2f} to {values.mean() + half:.2f})")
    return f"| {way} | {' | '.join(cells)} | {np.median([run['seconds'] for run in runs]):.0f} | {len(runs)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="of `neuroxai simulate --effect atrophy`")
    parser.add_argument("--out", type=Path, default=Path("guidance"))
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--spacing", type=float, default=8.0, help="of the network's grid, mm")
    parser.add_argument("--mark", type=float, default=1.0, help="standard deviations of the brain")
    given = parser.parse_args(arguments)
    space, cohort = mni152(given.spacing), None
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in given.ways}
    for seed in range(given.seeds):
        for way in given.ways:
            path = given.out / f"{way.replace(', ', '-').replace(' ', '_')}-{seed}.json"
            if not path.is_file():
                cohort = cohort or Cohort(given.cohort, space)
                mask = RelevanceMaskd("mask", "brain", space, "", "").common
                assert mask is not None
                write_json(path, trained(cohort, mask[None], way, seed, given))
            found[way].append(read_json(path))
    print("| training | balanced accuracy | AUC | density in the effect | seconds | seeds |\n|---|---|---|---|---|---|")
    print("\n".join(line(way, runs) for way, runs in found.items()))


if __name__ == "__main__":
    main()
