"""Charts of pages: bars, dots and intervals lie where their values say."""

from __future__ import annotations

from neuroxai.compare.controls import AgainstControls
from neuroxai.compare.scores import Region
from neuroxai.report.lines import bar_lines, dot_lines, effect_lines, group_lines
from neuroxai.report.values import RegionMeans
from neuroxai.statistics.effects import Effect


def test_bars_run_from_zero_to_their_value():
    lists = {
        "sum for": [Region("a", 3.0, 0.1, 30), Region("b", 1.0, 0.1, 10)],
        "sum against": [Region("c", -2.0, -0.1, 20)],
    }
    lines = bar_lines(lists)
    # the axis runs from -2 to 3
    assert [(one.name, one.start, one.length) for one in lines] == [("a", 40, 60), ("c", 0, 40), ("b", 40, 20)]
    assert {one.zero for one in lines} == {40.0}
    assert bar_lines({}) == []


def test_dots_and_mark_lie_at_their_deviations():
    rows = [{"region": "a", "z": -3.2}, {"region": "b", "z": 9.0}, {"region": "c", "z": 0.1}]
    found = AgainstControls("controls", rows, [[0.0, 3.2, 7.0], [1.6]], beyond=False, patterns=True)
    first, second = dot_lines(found)
    # the axis runs from -6.4 to 6.4, the second dot lies 34 sin(2.4) lower; what lies beyond it is not drawn
    assert first.path == "M50.0 50h0M75.0 73h0"
    assert (first.place, first.far) == (25.0, False)
    assert second.path == "M62.5 50h0"
    assert (second.place, second.far) == (50 + 50 * 6 / 6.4, True)


def test_bars_of_groups_share_an_axis():
    rows = [
        RegionMeans("a", {"patients": 3.0, "controls": -1.0, "TP": 9.0}, {}, None),
        RegionMeans("b", {"patients": None, "controls": 1.0, "TP": 9.0}, {}, None),
    ]
    first, second = group_lines(rows, ["patients", "controls", "TP"])
    # the axis runs from -1 to 3; a group without a mean has no length
    assert first.bars == [("patients", 3.0, 25.0, 75.0), ("controls", -1.0, 0.0, 25.0)]
    assert second.bars == [("patients", None, 25.0, 0.0), ("controls", 1.0, 25.0, 25.0)]
    assert (first.zero, second.zero) == (25.0, 25.0)
    assert group_lines([], ["all"]) == []


def test_intervals_and_ticks_lie_at_their_values():
    lines, ticks = effect_lines({"a": Effect(2.0, 1.0, 3.0), "b": Effect(-0.5, -1.0, 0.0)})
    # the axis runs from -1 to 3: 25 percent a unit, zero at 25; ticks in steps of one
    assert [(one.name, one.start, one.length, one.place, one.zero) for one in lines] == [
        ("a", 50.0, 50.0, 75.0, 25.0),
        ("b", 0.0, 25.0, 12.5, 25.0),
    ]
    assert ticks == [(-1.0, 0.0), (0.0, 25.0), (1.0, 50.0), (2.0, 75.0), (3.0, 100.0)]
    assert effect_lines({})[0] == []
