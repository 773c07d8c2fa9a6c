from __future__ import annotations

import math

import pytest

from neuroxai.cohort import describe, two_groups
from neuroxai.errors import InputError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text(
        "participant_id\tsession_id\tdiagnosis\tage\tgender\n"
        "sub-1\tn/a\tCN\t071Y\tfemale\n"
        "sub-2\tses-1\tAD\t70\tM\n"
        "sub-2\tses-2\tAD\t71.5\tM\n"
        "sub-3\tn/a\tn/a\tn/a\tn/a\n"
    )
    return path


def test_scans_are_looked_up_in_the_order_asked_for(table):
    found = describe(table, [("sub-2", "ses-2"), ("sub-1", "ses-9"), ("sub-3", None), ("sub-9", None)])
    assert list(found.scans["participant_id"]) == ["sub-2", "sub-1", "sub-3"]
    assert found.scans["age"].tolist()[:2] == [71.5, 71.0]
    assert math.isnan(found.scans["age"][2])
    assert found.scans["sex"].tolist()[:2] == ["M", "F"]
    assert found.scans["class"].tolist() == ["AD", "CN", None]
    assert [str(item) for item in found.left_out] == ["sub-9: participants.tsv has no row for it"]
    assert "age '071Y' read as 71 (1 scan)" in found.notes


def test_session_tables_have_the_last_word(table):
    (table.parent / "sub-1").mkdir()
    (table.parent / "sub-1" / "sub-1_sessions.tsv").write_text("session_id\tage\tdiagnosis\nses-9\t74\tn/a\n")
    found = describe(table, [("sub-1", "ses-9")])
    # the visit is blank: the class is unknown, not the one that participants.tsv has of another day
    assert (found.scans["age"][0], found.scans["class"][0], found.scans["sex"][0]) == (74.0, None, "F")
    assert (
        "1 scans whose sessions.tsv leaves 'diagnosis' blank: unknown, not taken from participants.tsv "
        "(the first: sub-1 ses-9)"
    ) in found.notes


def test_the_column_is_chosen(table):
    assert describe(table, [("sub-1", None)], target="sex").scans["class"].tolist() == ["F"]
    with pytest.raises(InputError, match="unknown column for --target 'site'"):
        describe(table, [("sub-1", None)], target="site")
    with pytest.raises(InputError, match=r"knows none of the 1 scans \(the first is sub-8"):
        describe(table, [("sub-8", None)])


def test_groups_are_settled_by_name():
    assert two_groups(["AD", "CN", None, "AD"]) == ("CN", "AD")
    assert two_groups(["AD", "MCI", "CN"], hint="MCI") == ("CN", "MCI")
    assert two_groups(["AD", "MCI", "CN"], patients="AD") == ("CN", "AD")
    assert two_groups(["0", "1"], control="0") == ("0", "1")


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (["0", "1"], {}, r"who are the controls\? classes found: 0 \(1\), 1 \(1\)"),
        (["CN", "HC", "AD"], {}, "who are the controls"),
        (["CN", "MCI", "AD"], {}, "who are the patients"),
        (["CN"], {}, "who are the patients"),
        (["CN", "AD"], {"control": "XX"}, "unknown class for --control 'XX'"),
        (["CN", "AD"], {"control": "CN", "patients": "CN"}, "both 'CN'"),
        ([None], {}, "classes found: none"),
    ],
)
def test_unclear_groups_are_asked_for(classes, options, message):
    with pytest.raises(InputError, match=message):
        two_groups(classes, **options)
