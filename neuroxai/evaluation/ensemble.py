"""One heatmap of several models: their mean, and where they agree about its sign."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuroxai.errors import InputError, SpaceError


class Ensemble:
    """Mean heatmap and stability map of models that come one at a time; memory does not grow with their number.

    Parameters
    ----------
    shape : tuple of int
        Of every heatmap.
    neutral : float
        A model is neutral about a voxel whose magnitude is below this share of its own map's largest magnitude.
    scaled : bool
        Divide each map by its largest magnitude before it enters the mean: logits of repeated trainings differ in
        size, and the loudest model would lead (Eitel & Ritter 2019 scale by the maximum).

    Raises
    ------
    InputError
        If `neutral` is not from 0 to below 1.

    Examples
    --------
    >>> ensemble = Ensemble((3,), neutral=0.1)
    >>> ensemble.add([1.0, -2.0, 0.1])
    >>> ensemble.add([1.0, 2.0, 0.1])
    >>> ensemble.mean().tolist(), ensemble.stability().tolist()
    ([1.0, 0.0, 0.1], [1.0, 0.0, 0.0])
    """

    def __init__(self, shape: tuple[int, ...], neutral: float = 0.05, scaled: bool = False) -> None:
        if not 0 <= neutral < 1:
            raise InputError(f"neutral is {neutral}; a share of the maximum, from 0 to below 1, is wanted")
        self.shape, self.neutral, self.scaled, self.count = tuple(shape), neutral, scaled, 0
        self._sum = np.zeros(self.shape)
        self._votes = np.zeros(self.shape, dtype=np.int64)

    def add(self, heatmap: Any) -> None:
        """Add one model's heatmap of the scan.

        Raises
        ------
        SpaceError
            If its shape is another.
        InputError
            If it holds NaN or infinite values.
        """
        values = np.asarray(heatmap, dtype=np.float64)
        if values.shape != self.shape:
            raise SpaceError(f"heatmap of shape {values.shape} does not fit an ensemble of shape {self.shape}")
        if not np.isfinite(values).all():
            raise InputError("the heatmap holds NaN or infinite values; explain the scan again")
        largest = float(np.abs(values).max())
        self._sum += values / largest if self.scaled and largest > 0 else values
        self._votes += np.where(np.abs(values) >= self.neutral * largest, np.sign(values), 0).astype(np.int64)
        self.count += 1

    def mean(self) -> NDArray[np.float64]:
        """Mean heatmap.

        Raises
        ------
        InputError
            If no heatmap was added.
        """
        self._refuse_empty()
        return self._sum / self.count

    def stability(self) -> NDArray[np.float64]:
        """Sign agreement of the models, 0 to 1: ``|models for - models against| / models``.

        1 where all models give a voxel the same sign, 0 where they cancel out or all are neutral. Of n models that toss
        coins, the mean is about ``sqrt(2 / (pi n))``; for five, 3/8.

        Raises
        ------
        InputError
            If no heatmap was added.
        """
        self._refuse_empty()
        return np.abs(self._votes) / self.count

    def _refuse_empty(self) -> None:
        if not self.count:
            raise InputError("the ensemble is empty; add each model's heatmap first")
