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


@dataclass(frozen=True)
class SvmOptions:
    """What a support vector machine's options are chosen from, and how.

    Parameters
    ----------
    kernels : sequence of {"linear", "rbf"}
        To choose from.
    costs, gammas : sequence of float
        Grids of C and, for "rbf", gamma.
    components : sequence of int or None
        Numbers of principal components to choose from; None for no PCA.
    standardise : bool
        Divide by the standard deviation, too; otherwise features are centred alone, as for whole scans in Eitel 2019.
    inner : int
        Folds inside the training part.
    seed : int
        Of the folds and the PCA.
    jobs : int
        Processes.
    """

    kernels: Sequence[str] = KERNELS
    costs: Sequence[float] = C
    gammas: Sequence[float] = GAMMA
    components: Sequence[int | None] = (None,)
    standardise: bool = True
    inner: int = 5
    seed: int = 0
    jobs: int = 1


_DEFAULT = SvmOptions()


@dataclass(frozen=True, eq=False)
class Baseline:
    """Predictions of a nested cross-validation or of a hold-out, each by a machine that saw no scan of the subject.

    Attributes
    ----------
    predictions : pandas.DataFrame
        One row per scan in the order given (of a hold-out the held-out ones): ``subject``, ``fold``, ``true``,
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
    options: SvmOptions = _DEFAULT,
    *,
    outer: int = 7,
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
    options : SvmOptions
        What is chosen from, and how.
    outer : int
        Folds; the authors' code has 7, and 5 inner ones.

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
    from sklearn.model_selection import StratifiedGroupKFold

    x, y, groups = _checked(features, true, subjects, options)
    _check_folds(y, groups, outer, options.inner)
    _check_components(x, options, int(len(x) * (1 - 1 / outer)))
    folds = StratifiedGroupKFold(outer, shuffle=True, random_state=options.seed).split(x, y, groups)
    parts = [
        _predicted((x, y, groups), (training, test), options, subjects, fold).set_axis(test)
        for fold, (training, test) in enumerate(folds)
    ]
    return Baseline(pd.concat(parts).sort_index())


def svm_holdout(
    features: ArrayLike,
    true: ArrayLike,
    subjects: Sequence[Any],
    held_out: ArrayLike,
    options: SvmOptions = _DEFAULT,
) -> Baseline:
    """Train a support vector machine on one part of a split and test it on the other, as a network is.

    Its options are chosen by folds inside the training part, scored by balanced accuracy; scaling and PCA see the
    training part only.

    Parameters
    ----------
    features, true, subjects, options
        Of all scans, as for `svm_baseline`.
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
    x, y, groups = _checked(features, true, subjects, options)
    test = np.asarray(held_out, dtype=bool)
    if test.shape != y.shape or test.all() or not test.any():
        raise InputError(
            f"held out are {int(test.sum())} of {len(y)} scans (of {test.size} flags), expected scans in both parts; "
            "give one flag per scan"
        )
    shared = sorted(set(groups[test]) & set(groups[~test]))
    if shared:
        raise InputError(f"{shared[0]} stands in both parts ({len(shared)} such subjects); split by subject")
    _check_inner(y[~test], groups[~test], options.inner)
    _check_components(x, options, int((~test).sum()))
    parts = (np.flatnonzero(~test), np.flatnonzero(test))
    return Baseline(_predicted((x, y, groups), parts, options, subjects, 0))


def _predicted(
    data: tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]],
    parts: tuple[NDArray[np.int64], NDArray[np.int64]],
    options: SvmOptions,
    subjects: Sequence[Any],
    fold: int,
) -> pd.DataFrame:
    """Choose a machine's options within the training part, fit it there and let it predict the test part."""
    import pandas as pd
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    (x, y, groups), (training, test) = data, parts
    within = StratifiedGroupKFold(options.inner, shuffle=True, random_state=options.seed + 1 + fold)
    search = GridSearchCV(
        *_machine(options), scoring="balanced_accuracy", cv=within, n_jobs=options.jobs, error_score="raise"
    )
    search.fit(x[training], y[training], groups=groups[training])
    best = search.best_params_
    chosen = {
        "kernel": best["svm__kernel"],
        "C": best["svm__C"],
        "gamma": best.get("svm__gamma"),
        "components": None if best["pca"] == "passthrough" else best["pca"].n_components,
    }
    found = {"predicted": search.predict(x[test]), "decision": search.decision_function(x[test])}
    rows = pd.DataFrame({"subject": [subjects[int(n)] for n in test], "fold": fold, "true": y[test], **found})
    # an option that is None stays so beside numbers
    return rows.assign(**{name: pd.Series([value] * len(rows), dtype=object) for name, value in chosen.items()})


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


def _machine(options: SvmOptions) -> tuple[Pipeline, list[dict[str, list[Any]]]]:
    """Return scaling, PCA and machine as one, and the grid of their options."""
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    scale = StandardScaler(with_std=options.standardise)
    machine = Pipeline([("scale", scale), ("pca", "passthrough"), ("svm", SVC())])
    pca = ["passthrough" if n is None else PCA(n, random_state=options.seed) for n in options.components]
    grid: list[dict[str, list[Any]]] = []
    for kernel in options.kernels:
        own: dict[str, list[Any]] = {"pca": pca, "svm__kernel": [kernel], "svm__C": list(options.costs)}
        grid.append(own | ({"svm__gamma": list(options.gammas)} if kernel == "rbf" else {}))
    return machine, grid


def _checked(
    features: ArrayLike, true: ArrayLike, subjects: Sequence[Any], options: SvmOptions
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[Any]]:
    x, y = np.asarray(features, dtype=np.float64), np.asarray(true, dtype=bool)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not len(x) == len(y) == len(subjects):
        raise InputError(
            f"features of shape {np.shape(features)} do not fit {len(y)} labels and {len(subjects)} subjects; "
            "give one row per scan"
        )
    if not np.isfinite(x).all():
        raise InputError(f"features of {int((~np.isfinite(x)).any(1).sum())} scans are NaN or infinite; leave them out")
    if not options.kernels or set(options.kernels) - set(KERNELS):
        raise InputError(f"kernels are {list(options.kernels)}, expected some of {', '.join(KERNELS)}")
    return x, y, np.asarray([str(s) for s in subjects])


def _check_folds(y: NDArray[np.bool_], groups: NDArray[Any], outer: int, inner: int) -> None:
    if min(outer, inner) < 2:
        raise InputError(f"outer and inner folds are {outer} and {inner}, expected 2 or more")
    for name, count in _subjects(y, groups).items():
        # a training part lacks the largest outer fold
        if count < outer or count - -(-count // outer) < inner:
            raise InputError(
                f"the {name} class has {count} subjects; {outer} outer and {inner} inner folds need more: choose fewer"
            )


def _check_inner(y: NDArray[np.bool_], groups: NDArray[Any], inner: int) -> None:
    if inner < 2:
        raise InputError(f"inner folds are {inner}, expected 2 or more")
    for name, count in _subjects(y, groups).items():
        if count < inner:
            raise InputError(
                f"the {name} class has {count} subjects to train on; {inner} folds need more: choose fewer"
            )


def _subjects(y: NDArray[np.bool_], groups: NDArray[Any]) -> dict[str, int]:
    return {name: len(np.unique(groups[part])) for name, part in (("positive", y), ("negative", ~y))}


def _check_components(x: NDArray[np.float64], options: SvmOptions, training: int) -> None:
    scans = int(training * (1 - 1 / options.inner))
    most = min(scans, x.shape[1])
    for n in options.components:
        if n is not None and not 1 <= n <= most:
            raise InputError(
                f"components are {n}, expected 1 to {most}, with {x.shape[1]} features and about {scans} scans in an "
                "inner training part"
            )
