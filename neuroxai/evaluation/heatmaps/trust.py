"""One table that says which explanation method can be trusted: methods by metrics, with uninformative baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError
from neuroxai.evaluation.heatmaps.conservation import SUMS, conservation
from neuroxai.evaluation.heatmaps.known_truth import LEVEL, KnownTruth
from neuroxai.evaluation.heatmaps.randomisation import Explanation, MapComparison, randomisation_test
from neuroxai.evaluation.heatmaps.region_flags import flag_rates, shares_of
from neuroxai.evaluation.heatmaps.robustness import agreement, max_sensitivity
from neuroxai.evaluation.heatmaps.twin_swap import MEASURES as SWAP
from neuroxai.evaluation.heatmaps.twin_swap import MOST, swap_agreement, swap_effects
from neuroxai.evaluation.heatmaps.uninformative import CONTROLS, controls

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
        """Means over the scans, a row per method in the order given, then the controls and the chance level.

        Sums of maps and what they claim to add up to become one figure, ``conservation`` (`conservation`).
        """
        groups = self.values.drop(columns="scan").groupby("method", sort=False)
        means = groups.mean().drop(columns=[*SUMS], errors="ignore")
        if SUMS[0] in self.values:
            means["conservation"] = groups[[*SUMS]].apply(lambda own: float(conservation(*own.to_numpy().T)))
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
    common = common_of(models, test)
    frames = []
    for name, explain in {**methods, **controls(test.seed)}.items():
        if progress is not None:
            progress(name)
        rows = measure_method(models, explain, test, common).values
        rows.insert(0, "method", name)
        frames.append(rows)
    values = pd.concat(frames, ignore_index=True)
    return Trust(values, test.chance())


@dataclass(frozen=True, eq=False)
class Common:
    """What all methods are held against, found once.

    Parameters
    ----------
    random : sequence of dict
        Mean areas of random orders, by scan.
    effects : ndarray, shape (2, models, scans, regions), optional
        What each region of the scans, and of their twins, does for each model's log odds (`swap_effects`); None
        without twins, or with an atlas of no more than `MOST` regions.
    """

    random: Sequence[Mapping[str, float]]
    effects: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one method.

    Parameters
    ----------
    values : pandas.DataFrame
        One row per scan.
    regions : pandas.DataFrame
        Columns model, scan, kind ("patient" or "sham"), region (from 0), sum, contrast: what `values` ranks regions by;
        empty without an atlas.
    """

    values: pd.DataFrame
    regions: pd.DataFrame


def common_of(models: Sequence[nn.Module], test: KnownTruth) -> Common:
    """Find what all methods are held against."""
    random = [test.random(models[0], n) for n in range(len(test.scans))]
    if test.twins is None or test.atlas is None or len(test.atlas.names) <= MOST:
        return Common(random)
    labels = test.atlas.positions()
    # numbers up to the last region, whether or not it has a voxel
    count = len(test.atlas.names)
    effects = np.zeros((2, len(models), len(test.scans), count))
    for (k, one, other), (m, model), n in product(
        ((0, test.scans, test.twins), (1, test.twins, test.scans)), enumerate(models), range(len(test.scans))
    ):
        found = swap_effects(lambda x, model=model: log_odds(model(x), test.target), one[n], other[n], labels)  # type: ignore[misc]
        effects[k, m, n, : len(found)] = found
    return Common(random, effects)


def log_odds(outputs: Tensor, target: int) -> Tensor:
    """Return the log odds of a class from logits (batch, classes), or the one logit of (batch, 1); shape (batch,)."""
    import torch

    if outputs.shape[1] == 1:
        return outputs[:, 0]
    others = [k for k in range(outputs.shape[1]) if k != target]
    return outputs[:, target] - torch.logsumexp(outputs[:, others], dim=1)


def measure_method(
    models: Sequence[nn.Module], explain: Callable[[nn.Module], Explanation], test: KnownTruth, common: Common
) -> Measured:
    """Measure one method; see `measure_trust` for what is of all models and what of the first.

    A method whose maps claim to add up to something may have ``explained(inputs, target)``, which returns what, shape
    (batch,): then columns `SUMS` have each map's sum, and what it should be.
    """
    import pandas as pd

    makers = [explain(model) for model in models]
    maps = np.stack([_maps(maker, test, test.scans)[:, 0] for maker in makers])  # (models, scans, *grid)
    forgets = randomisation_test(
        models[0],
        explain,
        test.scans,
        test.target,
        ends=True,
        compare=MapComparison((test.scans != 0).any(0)),
        seed=test.seed,
    )
    noise = max_sensitivity(
        lambda x: makers[0].attribute(x, target=test.target),
        test.scans,
        draws=test.draws,
        within=test.scans != 0,
        seed=test.seed,
    )
    # of so few regions all are among the top
    few = test.atlas is None or len(test.atlas.names) <= test.top
    rows = []
    for n in range(len(test.scans)):
        own = [test.place(n, m[n]) for m in maps]
        row: dict[str, float] = {"scan": n, **{key: float(np.mean([o[key] for o in own])) for key in own[0]}}
        areas = test.areas(models[0], n, maps[0][n])
        row |= {key: areas[key] - common.random[n][key] for key in areas}
        if len(models) > 1:
            contrasts = None if few else test.contrasts(maps[:, n])
            found = agreement(list(maps[:, n]), test.brain(n), contrasts, test.top).means()
            row["between_trainings"] = found["correlation"]
            row |= {"top_overlap": found["overlap"]} if "overlap" in found else {}
        row["noise_sensitivity"] = float(noise.greatest[n])
        row["randomised_top"] = forgets[0].rank_correlations[n]
        row["randomised_all"] = forgets[-1].rank_correlations[n]
        rows.append(row)
    values = pd.DataFrame(rows)
    claimed = getattr(makers[0], "explained", None)
    if claimed is not None:
        whole = claimed(test.scans, test.target).double().cpu().numpy()
        values[[*SUMS]] = np.column_stack([maps[0].reshape(len(rows), -1).sum(axis=1), whole])
    if test.atlas is None:
        return Measured(values, pd.DataFrame())
    twins = None if test.twins is None else np.stack([_maps(maker, test, test.twins)[:, 0] for maker in makers])
    tables = [_scores(test, "patient", maps)] + ([] if twins is None else [_scores(test, "sham", twins)])
    regions = pd.concat(tables, ignore_index=True)
    planted = np.stack([test.planted(n) for n in range(len(test.scans))])
    values["region_first"] = first_regions(regions, planted)
    if common.effects is not None:
        values = values.join(swap_columns(regions, common.effects))
    if test.controls is not None:
        # the twins come first, and have their maps; the others one at a time: there may be many
        known = [] if twins is None else list(twins[0])
        healthy = np.stack(known + [_maps(makers[0], test, scan[None])[0, 0] for scan in test.controls[len(known) :]])
        values = values.join(pd.DataFrame(flag_rates(_shares(test, maps[0]), _shares(test, healthy), planted, LEVEL)))
    return Measured(values, regions)


def first_regions(regions: pd.DataFrame, planted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return for each scan the share of models whose region of greatest contrast is one that the effect lies in.

    Of several regions tied for the first place, the share that is.
    """
    found = _cube(regions, "patient", "contrast")
    first = found == np.nanmax(found, axis=2, keepdims=True)
    return np.asarray(((first & planted).sum(axis=2) / first.sum(axis=2)).mean(axis=0))


def swap_columns(regions: pd.DataFrame, effects: NDArray[np.float64]) -> pd.DataFrame:
    """Return how well sums of relevance agree with the twin swap, scan by scan: means over models.

    Of patients, of their shams, and of what looks at no scan: the mean of the other patients less their shams. A method
    that does no better than its ``others_`` says nothing about the single patient.
    """
    import pandas as pd

    patients, shams = (_cube(regions, kind, "sum") for kind in ("patient", "sham"))
    models, scans, _ = patients.shape
    away = (patients - shams).sum(axis=1, keepdims=True) - (patients - shams)
    judged = {"": (patients, effects[0]), "sham_": (shams, effects[1])}
    judged |= {"others_": (away, effects[0])} if scans > 1 else {}
    columns: dict[str, list[float]] = {}
    for prefix, (sums, true) in judged.items():
        for n in range(scans):
            each = [swap_agreement(sums[m, n], true[m, n]) for m in range(models)]
            for name in SWAP:
                columns.setdefault(f"{prefix}swap_{name}", []).append(float(np.mean([one[name] for one in each])))
    return pd.DataFrame(columns)


def _cube(regions: pd.DataFrame, kind: str, column: str) -> NDArray[np.float64]:
    """Return a column of `Measured.regions`, shape (models, scans, regions)."""
    own = regions[regions["kind"] == kind].sort_values(["model", "scan", "region"])
    shape = tuple(int(own[name].max()) + 1 for name in ("model", "scan", "region"))
    return own[column].to_numpy(dtype=np.float64).reshape(shape)


def _scores(test: KnownTruth, kind: str, maps: NDArray[np.float64]) -> pd.DataFrame:
    """Sum and contrast of the regions of maps (models, scans, *grid)."""
    import pandas as pd

    sums = np.stack([_sums(test, own) for own in maps])
    contrasts = np.stack([found for own in maps if (found := test.contrasts(own)) is not None])
    models, scans, regions = np.indices(sums.shape).reshape(3, -1)
    return pd.DataFrame(
        {"model": models, "scan": scans, "kind": kind, "region": regions, "sum": sums.ravel(),
         "contrast": contrasts.ravel()}
    )  # fmt: skip


def _sums(test: KnownTruth, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    assert test.atlas is not None
    labels, count = test.atlas.positions().ravel(), len(test.atlas.names) + 1
    return np.stack([np.bincount(labels, one.ravel(), minlength=count)[1:] for one in maps])


def _shares(test: KnownTruth, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    assert test.atlas is not None
    return shares_of(_sums(test, maps), _sums(test, np.abs(maps)), test.atlas.counts())


def _maps(maker: Explanation, test: KnownTruth, scans: Tensor) -> NDArray[np.float64]:
    return np.asarray(maker.attribute(scans, target=test.target).detach().double().cpu().numpy())
