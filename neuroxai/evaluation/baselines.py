"""What a network has to beat: support vector machines on lesion load and on voxels, in nested cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuroxai.errors import InputError
from neuroxai.evaluation.classification import classification_metrics
from neuroxai.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

C = GAMMA = (0.001, 0.1, 1.0, 10.0)
"""Grids of Eitel 2019."""

KERNELS = ("linear", "rbf")


@dataclass(frozen=True, eq=False)
class Baseline:
    """Predictions of a nested cross-validation, each by a machine that saw no scan of the subject.

    Attributes
    ----------
    predictions : pandas.DataFrame
        One row a scan in the order given: ``subject``, ``fold``, ``true``, ``predicted``, ``decision`` (distance from
        the border, positive for the positive class), and ``kernel``, ``C``, ``gamma``, ``components`` that the inner
        folds chose.
    """

    predictions: pd.DataFrame

    def metrics(self, **options: Any) -> dict[str, Estimate]:
        """Return balanced accuracy, sensitivity, specificity, accuracy and ROC area, with intervals over subjects.

        The folds' decisions are pooled for the ROC area; machines of different folds share no scale, which can only
        blur it.

        Parameters
        ----------
        **options
            Of `classification_metrics`.
        """
        from scipy.special import expit

        table = self.predictions
        squeezed = expit(table["decision"].to_numpy())  # keeps the order; no probability
        return classification_metrics(
            table["true"], squeezed, table["predicted"], clusters=table["subject"].tolist(), **options
        )


def svm_baseline(
    features: ArrayLike,
    true: ArrayLike,
    subjects: Sequence[Any],
    *,
    kernels: Sequence[str] = KERNELS,
    costs: Sequence[float] = C,
    gammas: Sequence[float] = GAMMA,
    components: Sequence[int | None] = (None,),
    standardise: bool = True,
    outer: int = 7,
    inner: int = 5,
    seed: int = 0,
    jobs: int = 1,
) -> Baseline:
    """Cross-validate a support vector machine, with its options chosen by folds inside each training part.

    Scaling and PCA are part of the machine and see its training scans only. All scans of a subject are in one fold,
    outside and inside, and the folds keep the classes' shares.

    Parameters
    ----------
    features : array_like, shape (scans,) or (scans, features)
        For example `lesion_load`, region volumes, or all voxels of each scan in a row.
    true : array_like of bool, shape (scans,)
        Whether a scan belongs to the positive class.
    subjects : sequence
        Subject of each scan.
    kernels : sequence of {"linear", "rbf"}
        To choose from.
    costs, gammas : sequence of float
        Grids of C and, for "rbf", gamma.
    components : sequence of int or None
        Numbers of principal components to choose from; None for no PCA.
    standardise : bool
        Divide by the standard deviation, too; otherwise features are centred alone, as for whole scans in Eitel 2019.
    outer, inner : int
        Folds. The authors' code has 7 and 5.
    seed : int
        Of the folds and the PCA.
    jobs : int
        Processes.

    Returns
    -------
    Baseline
        Predictions of all scans.

    Raises
    ------
    InputError
        If lengths differ, features are not finite, an option is unknown, or a class has fewer subjects than folds.

    References
    ----------
    Eitel et al. (2019), NeuroImage: Clinical 24: 102003, section 2.6; inner folds are scored by balanced accuracy.
    """
    import pandas as pd
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    x, y, groups = _checked(features, true, subjects, kernels)
    _check_folds(y, groups, outer, inner)
    _check_components(x, components, outer, inner)
    machine, grid = _machine(kernels, costs, gammas, components, standardise, seed)
    table = pd.DataFrame({"subject": list(subjects), "fold": -1, "true": y, "predicted": False, "decision": np.nan})
    chosen: dict[str, list[Any]] = {name: [None] * len(y) for name in ("kernel", "C", "gamma", "components")}
    folds = StratifiedGroupKFold(outer, shuffle=True, random_state=seed).split(x, y, groups)
    for fold, (training, test) in enumerate(folds):
        within = StratifiedGroupKFold(inner, shuffle=True, random_state=seed + 1 + fold)
        search = GridSearchCV(machine, grid, scoring="balanced_accuracy", cv=within, n_jobs=jobs, error_score="raise")
        search.fit(x[training], y[training], groups=groups[training])
        table.loc[test, "fold"] = fold
        table.loc[test, "predicted"] = search.predict(x[test])
        table.loc[test, "decision"] = search.decision_function(x[test])
        pca = search.best_params_["pca"]
        best = {
            "kernel": search.best_params_["svm__kernel"],
            "C": search.best_params_["svm__C"],
            "gamma": search.best_params_.get("svm__gamma"),
            "components": None if pca == "passthrough" else pca.n_components,
        }
        for name, value in best.items():
            for place in test:
                chosen[name][place] = value
    return Baseline(table.assign(**chosen))


def lesion_load(masks: Sequence[NDArray[Any]], voxel_volume: float) -> NDArray[np.float64]:
    """Volume of each scan's lesions in ml.

    Parameters
    ----------
    masks : sequence of ndarray
        Any value but 0 is lesion; shapes may differ.
    voxel_volume : float
        In mm^3, see `Space.voxel_volume`.
    """
    return np.array([np.count_nonzero(mask) for mask in masks]) * voxel_volume / 1000.0


def _machine(
    kernels: Sequence[str],
    costs: Sequence[float],
    gammas: Sequence[float],
    components: Sequence[int | None],
    standardise: bool,
    seed: int,
) -> tuple[Pipeline, list[dict[str, list[Any]]]]:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    scale = StandardScaler(with_std=standardise)
    machine = Pipeline([("scale", scale), ("pca", "passthrough"), ("svm", SVC())])
    pca = ["passthrough" if n is None else PCA(n, random_state=seed) for n in components]
    grid: list[dict[str, list[Any]]] = []
    for kernel in kernels:
        options: dict[str, list[Any]] = {"pca": pca, "svm__kernel": [kernel], "svm__C": list(costs)}
        grid.append(options | ({"svm__gamma": list(gammas)} if kernel == "rbf" else {}))
    return machine, grid


def _checked(
    features: ArrayLike, true: ArrayLike, subjects: Sequence[Any], kernels: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]:
    x, y = np.asarray(features, dtype=np.float64), np.asarray(true, dtype=bool)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not len(x) == len(y) == len(subjects):
        raise InputError(
            f"features of shape {np.shape(features)} do not fit {len(y)} labels and {len(subjects)} subjects; "
            "one row a scan is wanted"
        )
    if not np.isfinite(x).all():
        raise InputError(f"features of {int((~np.isfinite(x)).any(1).sum())} scans are NaN or infinite; leave them out")
    unknown = set(kernels) - set(KERNELS)
    if unknown or not kernels:
        raise InputError(f"kernels are {list(kernels)}; some of {', '.join(KERNELS)} are wanted")
    return x, y, np.asarray([str(s) for s in subjects])


def _check_folds(y: NDArray[np.bool_], groups: NDArray[Any], outer: int, inner: int) -> None:
    if min(outer, inner) < 2:
        raise InputError(f"outer and inner folds are {outer} and {inner}; 2 or more are wanted")
    for name, part in (("positive", y), ("negative", ~y)):
        count = len(np.unique(groups[part]))
        # a training part lacks the largest outer fold
        if count < outer or count - -(-count // outer) < inner:
            raise InputError(
                f"the {name} class has {count} subjects; {outer} outer and {inner} inner folds need more: choose fewer"
            )


def _check_components(x: NDArray[np.float64], components: Sequence[int | None], outer: int, inner: int) -> None:
    scans = int(len(x) * (1 - 1 / outer) * (1 - 1 / inner))
    most = min(scans, x.shape[1])
    for n in components:
        if n is not None and not 1 <= n <= most:
            raise InputError(
                f"components are {n}; 1 to {most} are wanted, with {x.shape[1]} features and about {scans} scans in an "
                "inner training part"
            )
