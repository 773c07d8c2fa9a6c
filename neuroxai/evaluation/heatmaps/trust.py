"""One table that says which explanation method can be trusted: methods by metrics, with uninformative baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.evaluation.heatmaps.known_truth import KnownTruth
from neuroxai.evaluation.heatmaps.randomisation import Explanation, MapComparison, randomisation_test
from neuroxai.evaluation.heatmaps.robustness import agreement, max_sensitivity

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

JUDGED = ("roc_auc", "relevance_mass", "deletion", "insertion", "region_deletion")
"""Metrics in which a method is held against random maps; greater is better in all."""

NOISE = ("noise", "smooth noise")


@dataclass(frozen=True, eq=False)
class Trust:
    """What `measure_trust` found.

    Attributes
    ----------
    values : pandas.DataFrame
        One row per method and scan: columns ``method``, ``scan`` and the metrics. Randomisation is there once per scan.
    chance : dict of str to float
        The chance level of each metric, where it has one.
    """

    values: pd.DataFrame
    chance: Mapping[str, float] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Means over the scans, a row per method in the order given, then the controls and the chance level."""
        means = self.values.drop(columns="scan").groupby("method", sort=False).mean()
        means.loc["chance"] = {name: self.chance.get(name, np.nan) for name in means.columns}
        return means

    def p_values(self, against: Sequence[str] = NOISE) -> pd.DataFrame:
        """Whether each method is better than uninformative maps, in the metrics `JUDGED`.

        One-sided Wilcoxon signed-rank tests over the scans, against white and against smooth noise (or the controls
        named, for example ``["scan"]``); the larger p counts. Adjusted over the methods for the false-discovery rate
        (Benjamini-Hochberg), a metric at a time. The scans share one network (localisation: the mean of all
        trainings): this is a statement about other scans, not of other networks.
        """
        import pandas as pd
        from scipy.stats import false_discovery_control, wilcoxon

        methods = [m for m in self.values["method"].unique() if m not in CONTROLS]
        found = {}
        for metric in [m for m in JUDGED if m in self.values]:
            wide = self.values.pivot(index="scan", columns="method", values=metric)
            raw = []
            for method in methods:
                pairs = [(wide[method] - wide[noise]).dropna().to_numpy() for noise in against]
                raw.append(max(wilcoxon(d, alternative="greater").pvalue if d.any() else 1.0 for d in pairs))
            found[metric] = false_discovery_control(raw)
        return pd.DataFrame(found, index=pd.Index(methods, name="method"))

    def no_better(self, level: float = 0.05, against: Sequence[str] = NOISE) -> dict[str, list[str]]:
        """Return for each method the metrics in which it is not shown to be better than random maps."""
        table = self.p_values(against)
        below = table.to_numpy() < level
        return {str(m): [str(c) for c in table.columns[~row]] for m, row in zip(table.index, below, strict=True)}


def measure_trust(
    models: Sequence[nn.Module],
    methods: Mapping[str, Callable[[nn.Module], Explanation]],
    test: KnownTruth,
    progress: Callable[[str], None] | None = None,
) -> Trust:
    """Measure explanation methods, and controls that do not depend on the network, on scans of known truth.

    Localisation is the mean over all models; faithfulness, noise and randomisation are of the first model alone.
    Faithfulness is the gain of the area over random orders. Controls: white noise, smooth noise, and the scan itself,
    which holds well under noise and over trainings and yet explains nothing.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        One network, or several trainings of it, in evaluation mode, on the scans' device.
    methods : mapping of str to callable
        Takes a network and returns its attribution method, for example
        ``{"lrp_z_plus": lambda m: neuroxai.attribution.create("lrp_z_plus", m)}``.
    test : KnownTruth
        The scans.
    progress : callable, optional
        Called with each method's name when it begins.

    Returns
    -------
    Trust
        Values by scan, and their chance levels.

    Raises
    ------
    InputError
        If there is no model, or a method bears a control's name.
    """
    import pandas as pd

    if not models:
        raise InputError("no model is given; there must be at least one trained network")
    taken = sorted({*CONTROLS, "chance"} & set(methods))
    if taken:
        raise InputError(f"a method is called {taken[0]!r}, as a control is; give it another name")
    random = [test.random(models[0], n) for n in range(len(test.scans))]
    frames = []
    for name, explain in {**methods, **controls(test.seed)}.items():
        if progress is not None:
            progress(name)
        rows = pd.DataFrame(_rows(models, explain, test, random))
        rows.insert(0, "method", name)
        frames.append(rows)
    values = pd.concat(frames, ignore_index=True)
    return Trust(values, test.chance())


def _rows(
    models: Sequence[nn.Module],
    explain: Callable[[nn.Module], Explanation],
    test: KnownTruth,
    random: Sequence[dict[str, float]],
) -> list[dict[str, float]]:
    makers = [explain(model) for model in models]
    maps = np.stack([_maps(maker, test)[:, 0] for maker in makers])  # (models, scans, *grid)
    forgets = randomisation_test(
        models[0], explain, test.scans, test.target, compare=MapComparison((test.scans != 0).any(0)), seed=test.seed
    )
    noise = max_sensitivity(
        lambda x: makers[0].attribute(x, target=test.target),
        test.scans,
        draws=test.draws,
        within=test.scans != 0,
        seed=test.seed,
    )
    rows = []
    for n in range(len(test.scans)):
        own = [test.place(n, m[n]) for m in maps]
        row: dict[str, float] = {"scan": n, **{key: float(np.mean([o[key] for o in own])) for key in own[0]}}
        areas = test.areas(models[0], n, maps[0][n])
        row |= {key: areas[key] - random[n][key] for key in areas}
        if len(models) > 1:
            found = agreement(list(maps[:, n]), test.brain(n), test.contrasts(maps[:, n]), test.top).means()
            row["between_trainings"] = found["correlation"]
            row |= {"top_overlap": found["overlap"]} if "overlap" in found else {}
        row["noise_sensitivity"] = float(noise.greatest[n])
        row["randomised_top"] = forgets[0].rank_correlations[n]
        row["randomised_all"] = forgets[-1].rank_correlations[n]
        rows.append(row)
    return rows


def _maps(maker: Explanation, test: KnownTruth) -> NDArray[np.float64]:
    return np.asarray(maker.attribute(test.scans, target=test.target).detach().double().cpu().numpy())


class Noise:
    """White noise, or noise smoothed by a Gaussian of `sigma` voxels; drawn anew at each call.

    Parameters
    ----------
    sigma : float
        0 for white noise.
    seed : int
        Of the first draw.
    """

    def __init__(self, sigma: float = 0.0, seed: int = 0) -> None:
        import torch

        self._sigma, self._generator = sigma, torch.Generator().manual_seed(seed)

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """Draw maps shaped like the inputs."""
        import torch
        from monai.networks.layers import GaussianFilter

        drawn = torch.randn(inputs.shape, generator=self._generator).to(inputs)
        if self._sigma == 0:
            return drawn
        smooth: Tensor = GaussianFilter(inputs.ndim - 2, self._sigma, approx="sampled").to(inputs)(drawn)
        return smooth.detach()


class Intensity:
    """The scan's own magnitude: an anatomical picture that every network shares."""

    def attribute(self, inputs: Tensor, target: Any = None) -> Tensor:
        """Return the inputs' magnitude."""
        return inputs.detach().abs()


class _Seeds:
    """A seed of its own for each model that a control is made for."""

    def __init__(self, sigma: float, first: int) -> None:
        self._sigma, self._next = sigma, first

    def __call__(self, model: nn.Module) -> Explanation:
        self._next += 1
        return Noise(self._sigma, self._next)


def controls(seed: int = 0) -> dict[str, Callable[[nn.Module], Explanation]]:
    """Return the controls by name: white noise, smooth noise, and the scan itself."""
    return {"noise": _Seeds(0.0, seed), "smooth noise": _Seeds(3.0, seed + 10**6), "scan": lambda model: Intensity()}


CONTROLS = tuple(controls())
