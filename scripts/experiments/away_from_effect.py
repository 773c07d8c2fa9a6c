"""Test that nothing but the effect tells patients from sham controls: a classifier near it, and one that looks away.

Takes a cohort of ``neuroxai simulate --from``. Logistic regression on the voxels of the union of all truth masks (near)
and on those more than ``--distance`` mm from it (away), in folds that keep twins together. The area under the curve is
that of the scores left out, with a 95 % bootstrap interval over twins::

    python scripts/experiments/away_from_effect.py cohort
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neuroxai.cohort import read_cohort
from neuroxai.io import read_volume
from neuroxai.report.cohort.truth import mask_beside


def auc(features: NDArray[np.float32], label: NDArray[np.int_], twin: NDArray[np.str_]) -> tuple[float, float, float]:
    """Area under the curve out of fold, with the bootstrap interval over twins."""
    score = np.zeros(len(label))
    for train, test in GroupKFold(n_splits=7).split(features, label, twin):
        model = make_pipeline(StandardScaler(), PCA(60, random_state=0), LogisticRegression(C=1.0, max_iter=2000))
        score[test] = model.fit(features[train], label[train]).decision_function(features[test])
    rng = np.random.default_rng(0)
    names = np.unique(twin)
    places = {name: np.flatnonzero(twin == name) for name in names}
    draws = []
    for _ in range(2000):
        chosen = np.concatenate([places[name] for name in rng.choice(names, len(names))])
        draws.append(roc_auc_score(label[chosen], score[chosen]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(roc_auc_score(label, score)), float(low), float(high)


def main() -> None:
    """Print both areas."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--distance", type=float, default=8.0, help="mm from the union of truth masks")
    options = parser.parse_args()
    table = read_cohort(options.cohort).scans
    images, masks = [], []
    for image in table["image"]:
        volume = read_volume(options.cohort / image)
        beside = mask_beside(options.cohort / image)
        if beside is None:
            parser.error(f"{image}: no truth mask beside it")
        images.append(volume.data)
        masks.append(read_volume(beside, check_content=False).data > 0)
    union, brain = np.any(masks, axis=0), (np.stack(images) > 0).all(axis=0)
    away = brain & (ndimage.distance_transform_edt(~union, sampling=volume.space.spacing) > options.distance)
    # one scale a scan, from voxels away: a scale from the whole brain would carry the effect everywhere
    scans = np.stack([data / np.median(data[away]) for data in images])
    label = (table["dose"] > 0).to_numpy().astype(int)
    twin = table["twin"].to_numpy().astype(str)
    for name, region in (("near", brain & union), ("away", away)):
        features = scans[:, region]
        pairs = [features[twin == t] for t in np.unique(twin)]
        same = np.mean([np.array_equal(a, b) for a, b in pairs])
        value, low, high = auc(features, label, twin)
        print(f"{name}: {region.sum()} voxels, AUC {value:.3f} ({low:.3f} to {high:.3f}), twins alike in {same:.0%}")


if __name__ == "__main__":
    main()
