#!/usr/bin/env python3
"""Try every attribution method on every network of `networks.NETWORKS`, against references, and write a table.

    python scripts/experiments/networks_table.py --out docs/concepts/networks.md

Takes about an hour on one core; ``--kept FILE`` keeps what was found, so that a run that was stopped goes on.
einops and torchvision are used where they are installed.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
from networks import NETWORKS, Network
from neuroxai.attribution import create, names, takes_regions
from neuroxai.attribution.cam.grad_cam import GradCam
from neuroxai.attribution.cam.layer import CamLayer, cam_layer
from neuroxai.errors import NeuroxaiError
from neuroxai.lrp.given import Given
from oracles.lrp_rules import lrp_rules
from oracles.lrp_zero import lrp_zero

# methods about regions need labels; the others are the rules of further columns, by depth
_LEFT_OUT = ("lrp_eitel2019", "lrp_epsilon_plus_flat", "lrp_epsilon_gamma_box")
METHODS = [name for name in names() if name not in _LEFT_OUT and not takes_regions(name)]
LIMITS = {"deep_lift": 1e-6}
LIMIT, CONSERVED = 1e-7, 1e-3  # the stabiliser of the rules takes up to a thousandth
STEPS, DRAWS, NOISE = 4, 2, 0.1
RULES: dict[str, tuple[str, dict[str, float]]] = {
    "lrp_z_plus": ("z_plus", {}),
    "lrp_alpha_beta": ("alpha_beta", {"beta": 0.0}),
    "lrp_gamma": ("gamma", {"gamma": 0.25}),
}


class Fact:
    """A network, its inputs, and what is known of it."""

    def __init__(self, network: Network) -> None:
        self.network, self.model, self.inputs = network, network.make(), network.inputs()
        self.plain = network.plain(self.model) if network.plain else self.model
        with torch.no_grad():
            self.logits = self.plain(*(x.clone() for x in self.inputs))
        self.target = self.logits.shape[1] - 1

    @functools.cached_property
    def bare(self) -> nn.Module:
        """The network without biases."""
        return self.network.make(shifts=False)

    @functools.cached_property
    def logit_of_bare(self) -> float:
        """Its logit."""
        with torch.no_grad():
            return float(self.bare(*(x.clone() for x in self.inputs))[0, self.target])

    def attribute(self, method: str, model: nn.Module | None = None, **options: Any) -> tuple[Tensor, ...]:
        """Return a method's attributions."""
        start = {"start": "logit"} if "lrp" in method or method == "deep_taylor" else {}
        given = self.inputs if len(self.inputs) > 1 else self.inputs[0]
        explainer = create(method, self.model if model is None else model, **options)
        found = explainer.attribute(given, self.target, **start)
        return found if isinstance(found, tuple) else (found,)

    def gradients(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return plain gradients of the model's output."""
        leaves = tuple(x.clone().requires_grad_(True) for x in inputs)
        try:
            own = (x.clone() for x in leaves)  # the network may write into them
            found = torch.autograd.grad(self.model(*own)[:, self.target].sum(), leaves, allow_unused=True)
        except RuntimeError:  # checkpointing by re-entering allows backward() only, writes in place none
            found = torch.autograd.grad(self.plain(*leaves)[:, self.target].sum(), leaves, allow_unused=True)
        return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))

    def score(self, *inputs: Tensor) -> float:
        """Return the logit."""
        with torch.no_grad():
            return float(self.plain(*(x.clone() for x in inputs))[0, self.target])


class _Guided(TorchFunctionMode):
    """Guided back-propagation, a second time: what comes back through ReLU and ELU is clamped."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if str(getattr(func, "__name__", "")).partition(".")[0].rstrip("_") in ("relu", "elu"):
            out.register_hook(lambda gradient: gradient.clamp(min=0))
        return out


def error(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Return the largest difference, over the largest value of each input."""
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        scale = float(b.abs().max())
        worst = max(worst, float((a - b).abs().max()) / (scale or 1.0))
    return worst


def _lrp_epsilon(fact: Fact) -> float:
    kept, gates, given = fact.network.kept, fact.network.gates, fact.inputs
    expected = tuple(
        kept * lrp_zero(fact.plain, x, fact.target, gates, before=given[:place], more=given[place + 1 :])
        for place, x in enumerate(given)
    )
    return error(fact.attribute("lrp_epsilon", epsilon=0.0), expected)


def _rule(method: str) -> Callable[[Fact], float | None]:
    def check(fact: Fact) -> float | None:
        if fact.plain is not fact.model:
            return error(fact.attribute(method), fact.attribute(method, fact.plain))
        if method in RULES:
            with suppress(NotImplementedError):
                expected = lrp_rules(fact.model, fact.inputs, fact.target, RULES[method], RULES[method])
                return error(fact.attribute(method), expected)
        found = fact.attribute(method, fact.bare)
        if not all(bool(torch.isfinite(one).all()) for one in found):
            return float("nan")
        logit = fact.network.kept * fact.logit_of_bare
        missing = abs(sum(float(one.sum()) for one in found) - logit) / abs(logit) if logit else 1.0
        return missing if missing <= CONSERVED else None

    return check


def _lrp_zero(fact: Fact) -> float:
    return error(fact.attribute("lrp_zero"), fact.attribute("lrp_epsilon"))


def _saliency(fact: Fact) -> float:
    return error(fact.attribute("saliency"), tuple(g.abs() for g in fact.gradients(fact.inputs)))


def _gradient_x_input(fact: Fact) -> float:
    expected = tuple(g * x for g, x in zip(fact.gradients(fact.inputs), fact.inputs, strict=True))
    return error(fact.attribute("gradient_x_input"), expected)


def _smooth_grad(fact: Fact) -> float:
    return error(fact.attribute("smooth_grad", nt_samples=2, stdevs=0.0), fact.gradients(fact.inputs))


def _noisy(method: str) -> Callable[[Fact], float]:
    def check_noisy(fact: Fact) -> float:
        generator, each = torch.Generator().manual_seed(0), []
        for _ in range(DRAWS):
            noise = [torch.randn(x.shape[1:], generator=generator).to(x) for x in fact.inputs]
            pairs = zip(fact.inputs, noise, strict=True)
            each.append(fact.gradients(tuple(x + NOISE * (x.max() - x.min()) * drawn for x, drawn in pairs)))
        stacked = [torch.stack(one) for one in zip(*each, strict=True)]
        squared = method == "smooth_grad_squared"
        expected = tuple((one**2).mean(0) if squared else one.var(0, correction=0) for one in stacked)
        return error(fact.attribute(method, nt_samples=DRAWS, stdevs=NOISE), expected)

    return check_noisy


def _gradient_shap(fact: Fact) -> float:
    generator, total = torch.Generator().manual_seed(0), tuple(torch.zeros_like(x) for x in fact.inputs)
    for _ in range(DRAWS):
        torch.randperm(1, generator=generator)  # which baseline: there is one
    places = (torch.randperm(DRAWS, generator=generator) + torch.rand(DRAWS, generator=generator)) / DRAWS
    for place in places.tolist():
        gradients = fact.gradients(tuple(place * x for x in fact.inputs))
        total = tuple(t + g * x / DRAWS for t, g, x in zip(total, gradients, fact.inputs, strict=True))
    return error(fact.attribute("gradient_shap", n_samples=DRAWS), total)


def _integrated_gradients(fact: Fact) -> float:
    total = tuple(torch.zeros_like(x) for x in fact.inputs)
    for place, weight in zip(*np.polynomial.legendre.leggauss(STEPS), strict=True):
        share = (float(place) + 1) / 2
        gradients = fact.gradients(tuple(share * x for x in fact.inputs))
        total = tuple(t + weight / 2 * g * x for t, g, x in zip(total, gradients, fact.inputs, strict=True))
    return error(fact.attribute("integrated_gradients", n_steps=STEPS), total)


def _deep_lift(fact: Fact) -> float:
    found = fact.attribute("deep_lift")
    expected = fact.score(*fact.inputs) - fact.score(*(torch.zeros_like(x) for x in fact.inputs))
    return abs(sum(float(one.sum()) for one in found) - expected) / abs(expected)


def _guided_backprop(fact: Fact) -> float:
    found = fact.attribute("guided_backprop")
    with _Guided():
        return error(found, fact.gradients(fact.inputs))


class _Outputs(TorchFunctionMode):
    """Keep what calls put out of one shape, with its values then: it may be written into later."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.kept: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.requires_grad and tuple(out.shape) == self.shape:
            self.kept.append((out, out.detach().clone()))
            return out if any(out is value for value in args) else out.clone()
        return out


def _features(fact: Fact) -> list[tuple[Tensor, Tensor]]:
    """Return what Grad-CAM's layer puts out, with plain gradients; nothing of tokens and of several scans.

    Of a module that runs once it is known; else these are all values of its shape, of which one is the layer's.
    """
    layer, module = _cam_layer(fact)
    if layer is None:
        return []
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may write into it

    handle = None if module is None else module.register_forward_hook(keep)
    try:
        with _Outputs(layer.node.meta["shape"]) as calls:
            score = fact.model(fact.inputs[0].clone().requires_grad_(True))[0, fact.target]
        kept = calls.kept if module is None else [(outputs[0], outputs[0].detach())]
        gradients = torch.autograd.grad(score, [value for value, _ in kept], allow_unused=True, materialize_grads=True)
    except (RuntimeError, TypeError, AttributeError):  # no gradient, or no tensor comes back
        return []
    finally:
        if handle is not None:
            handle.remove()
    return [(values, g) for (_, values), g in zip(kept, gradients, strict=True)]


def _cam_layer(fact: Fact) -> tuple[CamLayer | None, nn.Module | None]:
    """Return the layer that the Grad-CAM family reads, and its module if it runs once; None of tokens or many scans."""
    if len(fact.inputs) > 1:
        return None, None
    layer = cam_layer(
        GradCam(fact.model).recorded(Given.of(fact.model, fact.inputs[0], target=fact.target)), fact.inputs[0]
    )
    if layer.embedding is not None:
        return None, None
    module, runs = dict(fact.model.named_modules()).get(layer.name), list[None]()
    if module is not None:
        handle = module.register_forward_hook(lambda *_: runs.append(None))
        with torch.no_grad():
            fact.model(fact.inputs[0].clone())
        handle.remove()
    return layer, module if len(runs) == 1 else None


def _missed(fact: Fact, found: tuple[Tensor, ...], cam: Tensor) -> float:
    x = fact.inputs[0]
    return error(found, (F.interpolate(cam.detach(), x.shape[2:], mode="trilinear").expand(x.shape),))


def _grad_cam(fact: Fact) -> float | None:
    found, module = fact.attribute("grad_cam", placement="stretch"), _cam_layer(fact)[1]
    if module is not None:
        with suppress(RuntimeError, AssertionError, TypeError, NotImplementedError, AttributeError):  # captum cannot
            x = fact.inputs[0]
            cam = captum.attr.LayerGradCam(fact.model, module).attribute(x, fact.target, relu_attributions=True)
            return _missed(fact, found, cam)
    cams = ((g.mean((2, 3, 4), keepdim=True) * a).sum(1, keepdim=True).relu() for a, g in _features(fact))
    return min((_missed(fact, found, cam) for cam in cams), default=None)


def _cam(method: str) -> Callable[[Fact], float | None]:
    def check_cam(fact: Fact) -> float | None:
        found, features = fact.attribute(method, placement="stretch", relu=False), _features(fact)
        if method == "score_cam" and len(features) > 1:  # which of them it is, a cheaper method tells
            other = fact.attribute("layer_cam", placement="stretch", relu=False)
            fits = [_missed(fact, other, _cell_by_cell("layer_cam", fact, *one)) for one in features]
            # before and behind a ReLU it is the same
            features = [one for one, missed in zip(features, fits, strict=True) if missed <= max(LIMIT, min(fits))]
        cams = (_cell_by_cell(method, fact, a, g) for a, g in features)
        return min((_missed(fact, found, cam) for cam in cams), default=None)

    return check_cam


def _cell_by_cell(method: str, fact: Fact, a: Tensor, g: Tensor) -> Tensor:
    """Return a coarse map, before its ReLU, by the paper's formula."""
    axes = tuple(range(2, a.ndim))
    if method == "score_cam":
        x = fact.inputs[0]
        masks = F.interpolate(a[0][:, None], x.shape[2:], mode="trilinear")
        low, high = masks.amin(axes, keepdim=True), masks.amax(axes, keepdim=True)
        scans = x * ((masks - low) / torch.where(high > low, high - low, 1))
        # one by one a thousand take ten minutes; only libraries' networks, whose scans do not meet, have so many
        length = 64 if len(scans) > 256 else 1
        with torch.no_grad():
            shown = torch.cat([fact.plain(part.clone())[:, fact.target] for part in torch.split(scans, length)])
        weights = shown.masked_fill((high <= low).flatten(), -torch.inf).softmax(0)
        weights = weights.nan_to_num(1 / len(weights)).view(1, -1, *[1] * len(axes))  # all maps are flat
    elif method == "grad_cam_plus_plus":  # equations 10 and 19
        below = 2 * g**2 + a.sum(axes, keepdim=True) * g**3
        weights = (torch.where(below == 0, 0.0, g**2 / below) * g.relu()).sum(axes, keepdim=True)
    else:
        weights = g.relu() if method == "layer_cam" else g
    return (weights * a).sum(1, keepdim=True)


def _guided_grad_cam(fact: Fact) -> float:
    pairs = zip(fact.attribute("guided_backprop"), fact.attribute("grad_cam"), strict=True)
    return error(fact.attribute("guided_grad_cam"), tuple(a * b for a, b in pairs))


def _occlusion(fact: Fact) -> float:
    worst, before = 0.0, fact.score(*fact.inputs)
    length = -(-fact.inputs[0].shape[2] // 2)
    patch = [length, *fact.inputs[0].shape[3:]]
    found = fact.attribute("occlusion", patch=patch)
    for place, x in enumerate(fact.inputs):
        expected = torch.zeros_like(x)
        for low in (0, length):
            without = x.clone()
            without[:, :, low : low + length] = 0
            after = fact.score(*fact.inputs[:place], without, *fact.inputs[place + 1 :])
            expected[:, :, low : low + length] = before - after
        worst = max(worst, error((found[place],), (expected,)))
    return worst


CHECKS: dict[str, Callable[[Fact], float | None]] = {
    "saliency": _saliency, "gradient_x_input": _gradient_x_input, "smooth_grad": _smooth_grad,
    "integrated_gradients": _integrated_gradients, "deep_lift": _deep_lift, "guided_backprop": _guided_backprop,
    "grad_cam": _grad_cam, "guided_grad_cam": _guided_grad_cam, "occlusion": _occlusion, "lrp_zero": _lrp_zero,
    "lrp_epsilon": _lrp_epsilon, "gradient_shap": _gradient_shap,
    **{name: _noisy(name) for name in ("smooth_grad_squared", "var_grad")},
    **{name: _cam(name) for name in ("grad_cam_plus_plus", "layer_cam", "hires_cam", "score_cam")},
    **{name: _rule(name) for name in METHODS if name not in ("lrp_zero", "lrp_epsilon") and "lrp" in name},
    "deep_taylor": _rule("deep_taylor"),
}  # fmt: skip


def tried(fact: Fact, method: str) -> list[Any]:
    """Return what became of one method on one network: a word, and the error or the reason."""
    no_grid = any(x.ndim < 3 for x in fact.inputs)
    if no_grid and ("cam" in method or method == "occlusion"):
        return ["not applicable", ""]
    try:
        missed = CHECKS[method](fact)
    except NeuroxaiError as reason:
        return ["refused", str(reason)]
    except Exception as reason:
        return ["crash", f"{type(reason).__name__}: {reason}"[:300]]
    if missed is None:
        return ["runs", ""]
    limit = LIMITS.get(method, LIMIT)
    if CHECKS[method].__name__ == "check":  # a stabiliser less or more in between
        limit = CONSERVED if fact.plain is fact.model else 1e-5
    return ["right" if missed <= limit else "wrong", missed]


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> int:
    """Try, print the table, and write the page; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help="parts of the names of those to try (all)")
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--kept", type=Path, help="file that keeps what was found")
    options = parser.parse_args()
    found: dict[str, dict[str, list[Any]]] = {}
    if options.kept and options.kept.is_file():
        found = json.loads(options.kept.read_text())
    for name, network in NETWORKS.items():
        expected = not options.networks or any(part in name for part in options.networks)
        if not expected or (network.needs and not find_spec(network.needs)):
            continue
        began, row = time.perf_counter(), found.setdefault(name, {})
        missing = [method for method in METHODS if method not in row]
        with _quiet():
            fact = Fact(network) if missing else None
            for method in missing:
                assert fact is not None
                row[method] = tried(fact, method)
                if row[method][0] in ("wrong", "crash"):
                    print(f"{name}: {method}: {row[method]}", file=sys.stderr, flush=True)
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
        if options.kept:
            options.kept.write_text(json.dumps(found))
    table = page({name: found[name] for name in NETWORKS if name in found})
    print(table)
    if options.out:
        options.out.write_text(table)
    return int(any(word in ("wrong", "crash") for row in found.values() for word, _ in row.values()))


HEAD = """# Networks and methods

What every attribution method makes of {networks} networks: MONAI's, torchvision's for videos, ours, and small
ones that do in Python what tools stumble over. Small grids, few filters in the deep ones, random weights,
float64. The page is what this command writes (the networks: `scripts/experiments/networks.py` and
`networks_written.py`; einops and torchvision where installed):

```bash
python scripts/experiments/networks_table.py --out docs/concepts/networks.md
```

A number is the largest difference from a reference, over the reference's largest value:

- `lrp_epsilon` with epsilon 0: LRP-0 written a second time, as gradient times input with gates, deviations
  and the ratios of activations held constant (`tests/oracles/lrp_zero.py`); `lrp_zero`: `lrp_epsilon`, which
  it is.
- The other rules: what the same weights give as plain layers one after the other. Where a network has no such
  twin: of z+, alpha-beta and gamma the papers' formulas on dense matrices (`tests/oracles/lrp_rules.py`: networks
  of layers, sums, means and maxima); else what is missing of the logit once biases are zero. "runs": finite, but
  no such reference (rules that follow positive contributions alone lose the relevance of neurons that have none).
- Gradients, guided back-propagation, integrated gradients: plain autograd, with hooks or in a loop; the path
  of integrated gradients has {steps} steps. SmoothGrad: without noise. DeepLIFT: the sum of its
  contributions.
  SmoothGrad-squared, VarGrad and GradientShap: {draws} draws, drawn a second time.
- Grad-CAM: captum's, where captum takes the layer, else the paper's formula. Guided Grad-CAM: the product of its two
  factors. Grad-CAM++, LayerCAM, HiResCAM and Score-CAM: the papers' formulas, before the ReLU. They are held against
  what the layer's module puts out, where it runs once; else against the best of all values of that shape. "runs": the
  layer has tokens and no grid, several scans have a layer each, or plain gradients do not reach it.
- Occlusion: two runs of the network, with one half of the scan at 0 each.

"-": no grid, so the method does not apply. Refusals have numbers, with the reasons below. `region_occlusion`,
which needs an atlas, does as occlusion; `lrp_eitel2019`, `lrp_epsilon_plus_flat` and `lrp_epsilon_gamma_box` are
the rules of other columns, by depth.

"""


def page(found: dict[str, dict[str, list[Any]]]) -> str:
    """Return the page."""
    reasons: list[str] = []
    lines = [f"| network | {' | '.join(METHODS)} |", "|---|" + "---|" * len(METHODS)]
    counts: dict[str, Counter[str]] = {method: Counter() for method in METHODS}
    for name, row in found.items():
        cells = []
        for method in METHODS:
            word, value = row[method]
            counts[method][word] += 1
            cells.append(_cell(word, value, reasons))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    summary = ["| method | right | runs | refused | not applicable | wrong | crash |", "|---|---|---|---|---|---|---|"]
    for method in METHODS:
        of = counts[method]
        words = ("right", "runs", "refused", "not applicable", "wrong", "crash")
        summary.append(f"| {method} | {' | '.join(str(of[word]) for word in words)} |")
    # a bracket of the code quoted is no link
    notes = [f"{number}. {reason.replace('](', ']' + chr(92) + '(')}" for number, reason in enumerate(reasons, 1)]
    head = HEAD.format(networks=len(found), steps=STEPS, draws=DRAWS)
    return head + "\n".join([*summary, "", *lines, "", "Refused because:", "", *notes, ""])


def _cell(word: str, value: Any, reasons: list[str]) -> str:
    if word == "right":
        return f"{value:.0e}" if value else "0"
    if word == "refused":
        short = re.sub(r"(layer|node|module) '[^']*'", r"\1", value)
        short = short.partition(": ")[0] + ": " + " ".join(short.partition(": ")[2].split()[:9])
        short = f"{short.rstrip(' :,;.')} ..."
        if short not in reasons:
            reasons.append(short)
        return f"refused ({reasons.index(short) + 1})"
    return {"runs": "runs", "not applicable": "-"}.get(word, word.upper())


if __name__ == "__main__":
    sys.exit(main())
