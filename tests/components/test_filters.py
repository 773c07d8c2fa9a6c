from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.components import FilterHeatmapSaver
from neuroxai.errors import InputError
from neuroxai.explain import ExplainOptions
from neuroxai.explain.filters import _BoxSum
from neuroxai.space import mni152


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 6), max_size=4))
def test_sums_in_growing_boxes_are_the_sums(corners):
    generator = np.random.default_rng(0)
    total, boxed = np.zeros((6, 6, 6)), _BoxSum((6, 6, 6))
    for a, b, c, d, e, f in corners:
        array = np.zeros((6, 6, 6))
        box = (slice(min(a, b), max(a, b)), slice(min(c, d), max(c, d)), slice(min(e, f), max(e, f)))
        array[box] = generator.normal(size=array[box].shape)
        total += array
        boxed.add(array)
    assert np.array_equal(boxed.whole(), total)


def test_a_box_is_no_larger_than_what_is_reached():
    boxed = _BoxSum((50, 50, 50))
    for place in (10, 12):
        array = np.zeros((50, 50, 50))
        array[place, 20:30, 40] = 1
        boxed.add(array)
    assert boxed._sum.shape == (3, 10, 1)


@pytest.mark.parametrize("neuron", ["one", -1, 1.5, True, {"patch": 1}, {"patch": 1, "filter": "a"}, []])
def test_what_can_be_no_neuron_is_refused(neuron):
    with pytest.raises(InputError, match="expected a channel"):
        ExplainOptions("lrp_zero", atlas=None, layer="x", neuron=neuron)


def test_names_stay_inside_the_output_folder(tmp_path):
    saver = FilterHeatmapSaver(
        str(tmp_path), ExplainOptions("lrp_zero", layer="../../etc", atlas=None), "all", mni152(5)
    )
    assert saver.pending([]) == []
    assert saver._group("heatmaps.json").parent == tmp_path / "group"
