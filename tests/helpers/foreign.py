"""A bundle as others write them: MONAI's own network and transforms, nothing of ours."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def make_foreign(
    folder: Path, classes=("healthy", "ill"), nested: bool = True, scaling: str = "ScaleIntensityd"
) -> Path:
    """Write a bundle of a small MONAI DenseNet with random weights, trained by nobody."""
    from monai.networks.nets import DenseNet

    network = {"spatial_dims": 3, "in_channels": 1, "out_channels": len(classes), "init_features": 8,
               "growth_rate": 4, "block_config": [2, 2], "bn_size": 2}  # fmt: skip
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {
        "bundle_root": ".",
        "network_def": {"_target_": "DenseNet", **network},
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "scan", "ensure_channel_first": True},
                {"_target_": "Orientationd", "keys": "scan", "axcodes": "RAS", "labels": None},
                {"_target_": "Spacingd", "keys": "scan", "pixdim": [6.0, 6.0, 6.0]},
                {"_target_": scaling, "keys": "scan"},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
    }
    image = {"type": "image", "format": "magnitude", "num_channels": 1, "spatial_shape": [32, 38, 32],
             "channel_def": {"0": "T1w"}}  # fmt: skip
    output = {"type": "probabilities", "format": "classes", "num_channels": len(classes), "spatial_shape": [1],
              "channel_def": {str(n): name for n, name in enumerate(classes)}}  # fmt: skip
    metadata = {"name": "another bundle", "description": "of other people", "version": "0.0.1",
                "network_data_format": {"inputs": {"scan": image}, "outputs": {"pred": output}}}  # fmt: skip
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.manual_seed(0)
    state = DenseNet(**network).state_dict()
    torch.save({"model": state} if nested else state, folder / "models" / "model.pt")
    return folder
