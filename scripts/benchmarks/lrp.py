"""Time and peak memory of relevance propagation over a plain forward + backward pass of the same network.

Both run interleaved in one process; the plain pass is the faster of NCDHW and channels_last_3d. Ratios of medians are
printed as a markdown table. Where zennit is installed it runs beside, on the network with BatchNorm merged, with the
largest difference of its map from ours over ours' largest value. Run on an otherwise idle machine::

    OMP_NUM_THREADS=2 python scripts/benchmarks/lrp.py --network ad_cnn --batch 1 4 --repeats 7
    OMP_NUM_THREADS=2 python scripts/benchmarks/lrp.py --network densenet121 --shape 96 112 96 --batch 1
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import platform
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from _common import SMALLEST, Runners, Shape, fastest_plain, measured, network, peak, plain_runners, scans, seconds
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from neuroxai.layers import PatchIndividualFilter
from neuroxai.lrp import LRP, composites

METHODS = {
    "epsilon": composites.epsilon(),
    "z+": composites.z_plus(),
    "alpha-beta, beta 1": composites.alpha_beta(1.0),
}


def runners(shape: Shape, batch: int, name: str) -> Runners:
    """Return what is compared, by name."""
    return plain_runners(shape, batch, name) | relevance_runners(network(shape, name), scans(shape, batch))


def relevance_runners(model: nn.Module, x: Tensor) -> Runners:
    """Return our rules, and zennit's where it is installed and knows all layers."""
    found: Runners = {}
    for method, composite in METHODS.items():
        lrp = LRP(model, composite)
        # from the logit, as zennit starts
        found[method] = partial(lrp.attribute, x, target=_target(model), start="logit")
    foreign = any(
        isinstance(m, PatchIndividualFilter) or type(m).__module__.startswith("monai") for m in model.modules()
    )
    if find_spec("zennit") and not foreign:
        found |= {f"zennit, {method}": run for method, run in of_zennit(model, x).items()}
    return found


def _target(model: nn.Module) -> int:
    """Return the last output, as the plain pass takes it."""
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    return linear[-1].out_features - 1


def of_zennit(model: nn.Module, x: Tensor) -> Runners:
    """Return the same rules run by zennit."""
    from zennit.attribution import Gradient
    from zennit.composites import LayerMapComposite
    from zennit.rules import AlphaBeta, Epsilon, Pass, ZPlus

    merged, target = without_norms(copy.deepcopy(model)), _target(model)
    rules = {"epsilon": Epsilon(epsilon=1e-6), "z+": ZPlus(), "alpha-beta, beta 1": AlphaBeta(alpha=2, beta=1)}

    def run(rule: Any) -> Tensor:
        layers = [((nn.ReLU, nn.ELU), Pass()), ((nn.Conv3d, nn.Linear), rule)]
        with Gradient(model=merged, composite=LayerMapComposite(layers)) as attributor:
            found: Tensor = attributor(
                x.clone(), lambda out: out * (torch.arange(out.shape[1], device=out.device) == target)
            )[1]
            return found

    return {name: lambda rule=rule: run(rule) for name, rule in rules.items()}  # type: ignore[misc]


def without_norms(model: nn.Module) -> nn.Module:
    """Merge each BatchNorm into the convolution before it."""
    for parent in list(model.modules()):
        children = list(parent.named_children())
        for (name, conv), (norm_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return model


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="ad_cnn", help="a name of neuroxai.networks, densenet121 or vit")
    parser.add_argument("--shape", type=int, nargs=3, default=(96, 114, 96))
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 4))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-memory", action="store_true", help="times only")
    parser.add_argument("--peak", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    shape = tuple(options.shape)
    if options.peak:
        small, whole = runners(SMALLEST, 1, options.network), runners(shape, options.batch[0], options.network)
        print(peak(small[options.peak], whole[options.peak]))
        return
    print(f"{options.network} at {'x'.join(map(str, shape))}, float32, {platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, median of {options.repeats}\n")
    print("| batch | method | seconds | over forward + backward | extra peak MiB | over forward + backward |")
    print("|---|---|---|---|---|---|")
    for batch in options.batch:
        found = runners(shape, batch, options.network)
        times = seconds(found, options.repeats)
        given = ("--network", options.network, "--shape", *shape, "--batch", batch, "--peak")
        memory = {name: math.nan if options.no_memory else measured(__file__, (*given, name)) for name in times}
        best = fastest_plain(times)
        for name in times:
            row = (f"{times[name]:.3f}", f"{times[name] / times[best]:.2f}")
            print(f"| {batch} | {name} | {' | '.join(row)} | {memory[name]:.0f} | {memory[name] / memory[best]:.2f} |")
    if find_spec("zennit"):
        # in float64: in float32 two libraries may see different winners where a pooling window is nearly a tie
        exact = relevance_runners(network(shape, options.network).double(), scans(shape, 1).double())
        for name in METHODS:
            if f"zennit, {name}" in exact:
                ours, theirs = exact[name](), exact[f"zennit, {name}"]()
                off = float((ours - theirs).abs().max() / ours.abs().max())  # type: ignore[operator, attr-defined]
                print(f"\n{name}, float64: zennit differs by {off:.1e} of the largest value")


if __name__ == "__main__":
    main()
