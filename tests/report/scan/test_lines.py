"""Charts of a scan's page: bars and dots lie where their values say."""

from __future__ import annotations

from neuroxai.compare.controls import AgainstControls
from neuroxai.compare.scores import Region
from neuroxai.report.scan.lines import bar_lines, dot_lines


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
