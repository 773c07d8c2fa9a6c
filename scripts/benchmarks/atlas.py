"""Time of `RegionScorer` over nilearn's NiftiLabelsMasker and scipy.ndimage.sum_labels, on the same heatmaps.

All run interleaved in one process and give the sums of every region; nilearn is handed images that lie in memory on the
atlas's grid, and its masker is fitted beforehand, as is the scorer. The sums are compared before anything is timed. Our
time holds positive, negative and absolute sums and densities as well. Run on an otherwise idle machine (with
`--processor` the processor's time is taken, which a busy machine disturbs less)::

    OMP_NUM_THREADS=1 python scripts/benchmarks/atlas.py --batch 4 --repeats 7
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from nilearn.image import new_img_like
from nilearn.maskers import NiftiLabelsMasker
from scipy import ndimage
from scipy.spatial import cKDTree

from neuroxai.atlas import Atlas, RegionScorer, get
from neuroxai.space import Space, mni152

Runners = dict[str, Callable[[], np.ndarray]]
OURS, MASKER, SCIPY = "RegionScorer", "NiftiLabelsMasker", "scipy.ndimage.sum_labels"


def parcellation(space: Space, regions: int) -> Atlas:
    """Divide an ellipsoid of a brain's size by random seeds, each voxel to the nearest."""
    index = np.argwhere(np.ones(space.shape, dtype=bool))
    world = space.world(index)
    inside = (((world - (0.0, -18.0, 8.0)) / (66.0, 86.0, 62.0)) ** 2).sum(axis=1) < 1
    generator = np.random.default_rng(1)
    seeds = generator.choice(np.flatnonzero(inside), regions, replace=False)
    labels = np.zeros(space.shape, dtype=np.int32)
    labels[tuple(index[inside].T)] = cKDTree(world[seeds]).query(world[inside])[1] + 1
    return Atlas(labels, {n: f"region {n}" for n in range(1, regions + 1)}, space)


def runners(atlas: Atlas, batch: int, device: str) -> Runners:
    """Return what is compared, by name; each gives sums of shape (batch, regions)."""
    heatmaps = torch.randn(batch, 1, *atlas.space.shape, generator=torch.Generator().manual_seed(1)).to(device)
    scorer = RegionScorer(atlas).to(device)
    maps = heatmaps[:, 0].cpu().numpy()
    values = list(atlas.names)
    image = _nifti(atlas.labels, atlas.space)
    series = new_img_like(image, np.moveaxis(maps, 0, -1), atlas.space.affine)
    masker = NiftiLabelsMasker(
        image, strategy="sum", standardize=None, keep_masked_labels=True, resampling_target=None, reports=False
    ).fit()
    return {
        OURS: lambda: scorer(heatmaps).sum.cpu().numpy(),
        MASKER: lambda: np.asarray(masker.transform(series)),
        SCIPY: lambda: np.stack([ndimage.sum_labels(one, atlas.labels, values) for one in maps]),
    }


def _nifti(labels: np.ndarray, space: Space) -> object:
    import nibabel

    return nibabel.Nifti1Image(labels, space.affine)


def check(found: Runners) -> None:
    """Stop where sums differ by more than float32 explains: nilearn keeps the maps' type."""
    ours = found[OURS]()
    for name, tolerance in ((SCIPY, 1e-8), (MASKER, 1e-3)):
        error = float(np.abs(ours - found[name]()).max())
        if not error < tolerance:
            raise SystemExit(f"sums of {OURS} and {name} differ by {error:.3g}")
        print(f"largest difference from {name}: {error:.1e}")


def seconds(found: Runners, repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of each, interleaved."""
    taken: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(repeats):
        for name, call in found.items():
            start = clock()
            call()
            taken[name].append(clock() - start)
    return {name: statistics.median(t) for name, t in taken.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spacing", type=float, default=1.0, help="mm")
    parser.add_argument("--regions", type=int, default=140)
    parser.add_argument("--atlas", help="a name or label image in place of the random parcellation")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", help="of RegionScorer; the others have the CPU alone")
    parser.add_argument("--processor", action="store_true", help="processor time in place of the clock's")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    space = mni152(options.spacing)
    atlas = get(options.atlas).resampled_to(space) if options.atlas else parcellation(space, options.regions)
    found = runners(atlas, options.batch, options.device)
    print(f"{len(atlas.names)} regions of {int(atlas.counts().sum())} voxels, {space.describe()}, ", end="")
    print(f"batch {options.batch}, float32, {platform.machine()}, {options.device}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.repeats}\n")
    check(found)
    clock = time.process_time if options.processor else time.perf_counter
    times = seconds(found, options.repeats, clock)
    print(f"\n| sums of regions | ms | over {OURS} |\n|---|---|---|")
    for name, taken in times.items():
        print(f"| {name} | {taken * 1e3:.1f} | {taken / times[OURS]:.1f} |")


if __name__ == "__main__":
    main()
