"""A cohort explained as one would write it by hand: nibabel, nilearn, torch and captum, one scan after another.

It writes what `neuroxai explain --method gradient_x_input` writes: probability, heatmap on the network's grid and on
the scan's, sums over regions. No checks, no resuming, no record of what was done; `cohort.py` holds the two beside each
other. A bundle of this package gives weights and grid::

    python scripts/benchmarks/by_hand.py BUNDLE COHORT OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch
from captum.attr import InputXGradient
from nilearn.image import resample_img, resample_to_img
from nilearn.maskers import NiftiLabelsMasker

from neuroxai import networks
from neuroxai.atlas import builtin
from neuroxai.io import read_json
from neuroxai.space import Space

NAME = "captum and nilearn by hand"


def main(bundle: Path, cohort: Path, out: Path) -> None:
    """Explain all scans of a cohort."""
    grid = Space.from_dict(read_json(bundle / "models" / "model.json")["space"])
    network = networks.create("ad_cnn", grid.shape, padding=0 if min(grid.shape) >= 78 else "same")
    network.load_state_dict(torch.load(bundle / "models" / "model.pt"))
    network.eval()
    method = InputXGradient(network)
    atlas = builtin(grid)
    labels = nibabel.Nifti1Image(atlas.labels.astype(np.int16), grid.affine)
    masker = NiftiLabelsMasker(labels, strategy="sum", resampling_target=None, reports=False).fit()
    rows, tables = [], []
    for path in sorted(cohort.glob("sub-*/anat/*_T1w.nii.gz")):
        name = path.name.removesuffix("_desc-brain_T1w.nii.gz")
        scan = nibabel.load(path)
        small = resample_img(scan, grid.affine, grid.shape, interpolation="linear")
        values = np.asarray(small.dataobj, dtype=np.float32)
        inputs = torch.from_numpy((values - values.min()) / (values.max() - values.min()))[None, None]
        with torch.no_grad():
            probability = torch.softmax(network(inputs), dim=1)[0, 1].item()
        heatmap = method.attribute(inputs.requires_grad_(), target=1).detach()[0, 0].numpy()
        image = nibabel.Nifti1Image(heatmap, grid.affine)
        folder = out / name
        folder.mkdir(parents=True)
        nibabel.save(image, folder / f"{name}_space-network_heatmap.nii.gz")
        nibabel.save(resample_to_img(image, scan), folder / f"{name}_space-orig_heatmap.nii.gz")
        sums = masker.transform(image).ravel()
        tables.append(pd.DataFrame({"participant_id": name, "name": list(atlas.names.values()), "sum": sums}))
        rows.append({"participant_id": name, "probability": probability})
    pd.DataFrame(rows).to_csv(out / "predictions.tsv", sep="\t", index=False)
    pd.concat(tables).to_csv(out / "regions.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
