"""Twins and families stay together."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.cohort import Cohort, SplitOptions, label_scans, split_cohort
from neuroxai.cohort.datalist import PARTS, check_datalist
from neuroxai.errors import InputError, LeakageError


def labelled_of(people, column="twin", order=None):
    """People as (class, age, sex, group)."""
    rows = [
        {"participant_id": f"sub-{i:03d}", "session_id": None, "image": f"sub-{i:03d}.nii", "age": float(age),
         "sex": sex, "diagnosis": name, column: group}
        for i, (name, age, sex, group) in enumerate(people)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    if order is not None:
        frame = frame.iloc[order].reset_index(drop=True)
    return label_scans(Cohort(Path(), frame), classes=["CN", "AD"])


def pairs(count):
    return [(name, 50 + i % 30, "FM"[i % 2], f"p{i}") for i in range(count) for name in ("CN", "AD")]


def parts_of(datalist, column="twin"):
    found = {}
    for part in PARTS:
        for item in datalist.get(part, []):
            found.setdefault(item[column], set()).add(part)
    return found


@pytest.mark.parametrize("options", [{}, {"folds": 5}, {"repeats": 3}, {"match": True}])
def test_twins_stand_in_one_part_and_classes_stay_even(options):
    lists = split_cohort(labelled_of(pairs(40)), SplitOptions(seed=2, **options))
    for datalist in lists:
        assert datalist["group"] == datalist["options"]["group"] == "twin"
        assert "by twin" in datalist["description"]
        assert all(len(parts) == 1 for parts in parts_of(datalist).values())
        check_datalist(datalist)
        if "match" not in options:
            for part in PARTS:
                assert sum(i["label"] for i in datalist[part]) * 2 == len(datalist[part])
    if not options:
        assert [len(lists[0][part]) for part in PARTS] == [48, 16, 16]


def test_without_the_groups_twins_would_be_separated():
    """What is guarded against happens where the column has another name."""
    datalist = split_cohort(labelled_of(pairs(40), "pair"), SplitOptions(seed=2))[0]
    assert "group" not in datalist
    assert "group" not in datalist["options"]
    part = {item["participant_id"]: name for name in PARTS for item in datalist[name]}
    apart = sum(part[f"sub-{2 * i:03d}"] != part[f"sub-{2 * i + 1:03d}"] for i in range(40))
    assert apart > 5
    together = split_cohort(labelled_of(pairs(40), "pair"), SplitOptions(seed=2, group="pair"))[0]
    assert all(len(parts) == 1 for parts in parts_of(together, "pair").values())


families = st.lists(
    st.tuples(st.sampled_from(["CN", "AD"]), st.integers(40, 90), st.sampled_from("FM"), st.integers(0, 11)),
    min_size=30,
    max_size=60,
)


@given(people=families, seed=st.integers(0, 1000))
def test_families_of_any_size_stay_together(people, seed):
    labels = {name for name, *_ in people}
    if len(labels) < 2:
        return
    # a third have no family and stand alone
    named = [(n, a, s, None if g % 3 == 0 else f"f{g}") for n, a, s, g in people]
    order = np.random.default_rng(seed).permutation(len(named))
    try:
        one = split_cohort(labelled_of(named, "family"), SplitOptions(seed=seed, group="family"))[0]
    except InputError:
        # a class of too few families, which the last test is about
        return
    other = split_cohort(labelled_of(named, "family", order), SplitOptions(seed=seed, group="family"))[0]
    where = {}
    for part in PARTS:
        assert {i["label"] for i in one[part]} == {0, 1}
        for item in one[part]:
            if "family" in item:
                assert where.setdefault(item["family"], part) == part
    assert sum(len(one[part]) for part in PARTS) == len(people)
    assert {p: one[p] for p in PARTS} == {p: other[p] for p in PARTS}


def test_everybody_alone_is_the_split_by_subject():
    alone = [(n, a, s, f"g{i}") for i, (n, a, s, _) in enumerate(pairs(20))]
    by_group = split_cohort(labelled_of(alone, "own"), SplitOptions(seed=4, group="own"))[0]
    by_subject = split_cohort(labelled_of(alone, "own"), SplitOptions(seed=4))[0]
    for part in PARTS:
        assert [i["participant_id"] for i in by_group[part]] == [i["participant_id"] for i in by_subject[part]]


def test_a_datalist_that_separates_twins_is_refused():
    datalist = split_cohort(labelled_of(pairs(20)), SplitOptions(seed=1))[0]
    broken = copy.deepcopy(datalist)
    broken["test"].append(broken["training"].pop())
    with pytest.raises(LeakageError, match=r"twin p\d+ stands in training and in test.*--group twin"):
        check_datalist(broken)
    broken["group"] = 3
    with pytest.raises(InputError, match='"group" is 3'):
        check_datalist(broken)


def test_what_cannot_be():
    with pytest.raises(InputError, match=r"unknown column for --group 'kin'.*twin"):
        split_cohort(labelled_of(pairs(20)), SplitOptions(group="kin"))
    with pytest.raises(InputError, match="2 groups for 3 parts"):
        split_cohort(labelled_of([(n, a, s, str(i % 2)) for i, (n, a, s, _) in enumerate(pairs(10))]))
    one_class = [("CN", 60, "F", f"a{i}") for i in range(9)] + [("AD", 60, "F", "b")] * 3
    with pytest.raises(InputError, match="class 'AD': 2 of 3 parts get no subject"):
        split_cohort(labelled_of(one_class))
    labelled = labelled_of(pairs(20))
    labelled.scans["participant_id"] = ["sub-000"] * 2 + labelled.scans["participant_id"].tolist()[2:]
    labelled.scans["twin"] = ["x", "y", *labelled.scans["twin"].tolist()[2:]]
    with pytest.raises(InputError, match=r"sub-000.*'twin'.*'x'.*'y'"):
        split_cohort(labelled)
