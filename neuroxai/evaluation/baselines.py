"""What a network has to beat: support vector machines on lesion load and on voxels, cross-validated or held out."""

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
    """Predictions of a nested cross-validation or of a hold-out, each by a machine that saw no scan of the subject.

    Attributes
    ----------
    predictions : pandas.DataFrame
        One row a scan in the order given (of a hold-out the held-out ones): ``subject``, ``fold``, ``true``,
        ``predicted``, ``decision`` (distance from the border, positive for the positive class), and ``kernel``, ``C``,
        ``gamma``, ``components`` that the inner folds chose.
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
    from sklearn.model_selection import StratifiedGroupKFold

    x, y, groups = _checked(features, true, subjects, kernels)
    _check_folds(y, groups, outer, inner)
    _check_components(x, components, int(len(x) * (1 - 1 / outer)), inner)
    machine = _machine(kernels, costs, gammas, components, standardise, seed)
    folds = StratifiedGroupKFold(outer, shuffle=True, random_state=seed).split(x, y, groups)
    parts = []
    for fold, (training, test) in enumerate(folds):
        found = _predicted(machine, (x, y, groups), (training, test), inner, seed + 1 + fold, jobs)
        parts.append(_rows(found, [subjects[int(n)] for n in test], fold).set_axis(test))
    return _together(parts)


def svm_holdout(
    features: ArrayLike,
    true: ArrayLike,
    subjects: Sequence[Any],
    held_out: ArrayLike,
    *,
    kernels: Sequence[str] = KERNELS,
    costs: Sequence[float] = C,
    gammas: Sequence[float] = GAMMA,
    components: Sequence[int | None] = (None,),
    standardise: bool = True,
    inner: int = 5,
    seed: int = 0,
    jobs: int = 1,
) -> Baseline:
    """Train a support vector machine on one part of a split and test it on the other, as a network is.

    Its options are chosen by folds inside the training part, scored by balanced accuracy; scaling and PCA see the
    training part only. The other parameters are those of `svm_baseline`.

    Parameters
    ----------
    features, true, subjects
        Of all scans.
    held_out : array_like of bool, shape (scans,)
        Scans to be tested on; the rest trains.

    Returns
    -------
    Baseline
        Predictions of the held-out scans, in the order given.

    Raises
    ------
    InputError
        As `svm_baseline`; also if a subject stands in both parts, or a part is empty.

    References
    ----------
    Eitel et al. (2019), NeuroImage: Clinical 24: 102003, section 2.4.5 and table 3.
    """
    x, y, groups = _checked(features, true, subjects, kernels)
    test = np.asarray(held_out, dtype=bool)
    if test.shape != y.shape or test.all() or not test.any():
        raise InputError(f"held out are {int(test.sum())} of {len(y)} scans ({test.size} said); both parts need scans")
    shared = sorted(set(groups[test]) & set(groups[~test]))
    if shared:
        raise InputError(f"{shared[0]} stands in both parts ({len(shared)} such subjects); split by subject")
    _check_inner(y[~test], groups[~test], inner)
    _check_components(x, components, int((~test).sum()), inner)
    machine = _machine(kernels, costs, gammas, components, standardise, seed)
    parts = (np.flatnonzero(~test), np.flatnonzero(test))
    found = _predicted(machine, (x, y, groups), parts, inner, seed + 1, jobs)
    return _together([_rows(found, [subjects[int(n)] for n in parts[1]], 0)])


@dataclass(frozen=True, eq=False)
class _Found:
    """What one machine said of its test scans, and the options that it was chosen with."""

    true: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    decision: NDArray[np.float64]
    options: dict[str, Any]


def _predicted(
    machine: tuple[Pipeline, list[dict[str, list[Any]]]],
    data: tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    inner: int,
    seed: int,
    jobs: int,
) -> _Found:
    """Choose a machine's options within the training part, fit it there and let it predict the test part."""
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    (x, y, groups), (training, test) = data, parts
    within = StratifiedGroupKFold(inner, shuffle=True, random_state=seed)
    search = GridSearchCV(*machine, scoring="balanced_accuracy", cv=within, n_jobs=jobs, error_score="raise")
    search.fit(x[training], y[training], groups=groups[training])
    best = search.best_params_
    options = {
        "kernel": best["svm__kernel"],
        "C": best["svm__C"],
        "gamma": best.get("svm__gamma"),
        "components": None if best["pca"] == "passthrough" else best["pca"].n_components,
    }
    return _Found(y[test], search.predict(x[test]), search.decision_function(x[test]), options)


def _rows(found: _Found, subjects: Sequence[Any], fold: int) -> pd.DataFrame:
    import pandas as pd

    said = {"true": found.true, "predicted": found.predicted, "decision": found.decision}
    chosen = {name: [value] * len(subjects) for name, value in found.options.items()}
    # an option that is None stays so beside numbers
    return pd.DataFrame({"subject": list(subjects), "fold": fold, **said}).assign(
        **{name: pd.Series(values, dtype=object) for name, values in chosen.items()}
    )


def _together(parts: Sequence[pd.DataFrame]) -> Baseline:
    import pandas as pd

    return Baseline(pd.concat(parts).sort_index())


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
    for name, count in _subjects(y, groups).items():
        # a training part lacks the largest outer fold
        if count < outer or count - -(-count // outer) < inner:
            raise InputError(
                f"the {name} class has {count} subjects; {outer} outer and {inner} inner folds need more: choose fewer"
            )


def _check_inner(y: NDArray[np.bool_], groups: NDArray[Any], inner: int) -> None:
    if inner < 2:
        raise InputError(f"inner folds are {inner}; 2 or more are wanted")
    for name, count in _subjects(y, groups).items():
        if count < inner:
            raise InputError(
                f"the {name} class has {count} subjects to train on; {inner} folds need more: choose fewer"
            )


def _subjects(y: NDArray[np.bool_], groups: NDArray[Any]) -> dict[str, int]:
    return {name: len(np.unique(groups[part])) for name, part in (("positive", y), ("negative", ~y))}


def _check_components(x: NDArray[np.float64], components: Sequence[int | None], training: int, inner: int) -> None:
    scans = int(training * (1 - 1 / inner))
    most = min(scans, x.shape[1])
    for n in components:
        if n is not None and not 1 <= n <= most:
            raise InputError(
                f"components are {n}; 1 to {most} are wanted, with {x.shape[1]} features and about {scans} scans in an "
                "inner training part"
            )
