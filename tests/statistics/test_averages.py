from __future__ import annotations

import numpy as np
import pytest

from neuroxai.errors import SpaceError
from neuroxai.statistics import GroupMeans, TableMeans


def test_group_means_against_numpy(rng):
    data = rng.normal(size=(9, 2, 3)).astype(np.float32)
    means = GroupMeans((2, 3))
    for n, array in enumerate(data):
        means.add(array, ["all", "even" if n % 2 == 0 else "odd"])
    np.testing.assert_allclose(means.mean("even"), data[::2].astype(np.float64).mean(axis=0), rtol=0, atol=1e-15)
    assert (means.count("odd"), means.count("none"), means.mean("none")) == (4, 0, None)
    with pytest.raises(SpaceError, match=r"\(3, 2\)"):
        means.add(np.ones((3, 2)), ["all"])


def test_group_means_of_many_small_float32_values_do_not_drift():
    means = GroupMeans((1,))
    for _ in range(20000):
        means.add(np.array([0.1], dtype=np.float32), ["all"])
    assert means.mean("all")[0] == pytest.approx(float(np.float32(0.1)), abs=1e-12)


def test_table_means_skip_missing_values():
    table = TableMeans()
    table.add({"a": 1.0, "b": float("nan")}, ["x", "y"])
    table.add({"c": 5.0, "a": 3.0, "b": 4.0}, ["x"])
    assert table.names == ["a", "b", "c"]
    assert (table.mean("x", "a"), table.mean("x", "b"), table.mean("y", "b")) == (2.0, 4.0, None)
