#!/usr/bin/env python3
"""What captum's and zennit's LRP give for 3D networks, beside ours: relevance summed up, over the logit (1: conserved).

    python scripts/experiments/beside_others.py        # zennit where it is installed (pip install zennit)

Untrained networks, composite epsilon-plus-flat; zennit as its first page shows it, without a canonizer.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from monai.networks.nets import DenseNet121, resnet18

from neuroxai.lrp import LRP, composites


def networks() -> dict[str, torch.nn.Module]:
    """Return networks with branches, as MONAI has them."""
    torch.manual_seed(0)
    return {
        "DenseNet121": DenseNet121(spatial_dims=3, in_channels=1, out_channels=2).eval(),
        "ResNet18": resnet18(spatial_dims=3, n_input_channels=1, num_classes=2).eval(),
    }


def ours(network: torch.nn.Module, scan: torch.Tensor) -> torch.Tensor:
    """Relevance by this package."""
    found: torch.Tensor = LRP(network, composites.epsilon_plus_flat()).attribute(scan, target=1, start="logit")
    return found


def zennits(network: torch.nn.Module, scan: torch.Tensor) -> torch.Tensor:
    """Relevance by zennit."""
    from zennit.attribution import Gradient
    from zennit.composites import EpsilonPlusFlat

    with Gradient(model=network, composite=EpsilonPlusFlat()) as attributor:
        relevance: torch.Tensor = attributor(scan.requires_grad_(), torch.eye(2)[[1]])[1]
    return relevance


def captums(network: torch.nn.Module, scan: torch.Tensor) -> torch.Tensor:
    """Relevance by captum."""
    from captum.attr import LRP as Captum

    relevance: torch.Tensor = Captum(network).attribute(scan, target=1)
    return relevance


def main() -> None:
    """Print a table."""
    tools: dict[str, Any] = {"neuroxai": ours, "captum": captums}
    if find_spec("zennit"):
        tools["zennit"] = zennits
    print("| network | " + " | ".join(tools) + " |\n|---|" + "---|" * len(tools))
    for name, network in networks().items():
        scan = torch.rand(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            logit = float(network(scan)[0, 1])
        cells = []
        for tool in tools.values():
            try:
                cells.append(f"{float(tool(network, scan.clone()).detach().sum()) / logit:.2f}")
            except (TypeError, AttributeError, RuntimeError, AssertionError) as error:
                cells.append(f"refused ({str(error).splitlines()[0][:60]})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
