from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.cohort import Cohort, SplitOptions, label_scans, match_sex, read_cohort, split_cohort, summary
from neuroxai.cohort.allocate import deal, quotas
from neuroxai.cohort.datalist import PARTS, check_datalist
from neuroxai.cohort.subjects import age_ranges
from neuroxai.errors import InputError


def labelled_of(people, order=None):
    """People as (class, age, sex, scans); rows in any order within a subject's time."""
    rows = [
        {"participant_id": f"sub-{i:03d}", "session_id": f"ses-{s}", "image": f"sub-{i:03d}/ses-{s}.nii", "age": age,
         "sex": sex, "diagnosis": name}
        for i, (name, age, sex, scans) in enumerate(people) for s in range(scans)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame["age"] = frame["age"].astype(float)
    if order is not None:
        frame = (
            frame.iloc[order.permutation(len(frame))].sort_values("session_id", kind="stable").reset_index(drop=True)
        )
    return label_scans(Cohort(Path(), frame), classes=["CN", "AD"])


person = st.tuples(
    st.sampled_from(["CN", "AD"]),
    st.one_of(st.none(), st.floats(40, 95)),
    st.sampled_from(["F", "M", None]),
    st.integers(1, 3),
)
cohorts = st.lists(person, min_size=12, max_size=70).filter(
    lambda people: min(sum(p[0] == name for p in people) for name in ("CN", "AD")) >= 6
)


def part_of(datalist):
    return {item["participant_id"]: part for part in PARTS for item in datalist.get(part, [])}


@pytest.mark.parametrize("target", ["label", "class", "site"])
def test_a_class_column_may_have_any_name(target):
    people = [("CN", 60 + n, "F", 1) for n in range(6)] + [("AD", 70 + n, "M", 1) for n in range(6)]
    frame = labelled_of(people).cohort.scans
    named = frame["diagnosis"]
    frame = frame.drop(columns=[name for name in ("label", "class") if name in frame]).assign(**{target: named})
    (datalist,) = split_cohort(label_scans(Cohort(Path(), frame), target, ["CN", "AD"]))
    items = [item for part in PARTS for item in datalist[part]]
    assert {(item["participant_id"], item["label"]) for item in items} == {
        (f"sub-{n:03d}", int(people[n][0] == "AD")) for n in range(12)
    }


@given(people=cohorts, seed=st.integers(0, 2**31), mode=st.sampled_from(["fractions", "folds", "repeats"]))
def test_any_cohort_and_seed(people, seed, mode):
    extra = {"fractions": {}, "folds": {"folds": 4}, "repeats": {"repeats": 2}}[mode]
    options = SplitOptions(seed=seed, **extra)
    lists = split_cohort(labelled_of(people), options)
    assert len(lists) == {"fractions": 1, "folds": 4, "repeats": 2}[mode]
    shares = dict(zip(PARTS, (0.5, 0.25, 0.25) if mode == "folds" else options.fractions, strict=True))
    for datalist in lists:
        check_datalist(datalist)  # disjoint by subject
        parts = part_of(datalist)
        assert set(parts) == {f"sub-{i:03d}" for i in range(len(people))}
        assert sum(len(datalist[part]) for part in PARTS) == sum(p[3] for p in people)
        strata: dict = {}
        for i, (name, _, sex, _) in enumerate(people):
            for key in ((name,), (name, sex)):
                strata.setdefault(key, []).append(parts[f"sub-{i:03d}"])
        for key, members in strata.items():
            for part, share in shares.items():
                # rounding of the class quota adds less than one to the sequence's two; training joins two or more folds
                off = abs(members.count(part) - share * len(members))
                allowed = (1 if len(key) == 1 else 3) * (2 if mode == "folds" and part == "training" else 1)
                assert off < allowed + 1e-9 or (len(key) == 1 and members.count(part) == 1), (key, part, off)
    again = split_cohort(labelled_of(people, np.random.default_rng(seed)), options)
    assert json.dumps(again) == json.dumps(lists)  # neither chance nor the rows' order


@given(people=cohorts)
def test_every_subject_is_tested_once_over_the_folds(people):
    lists = split_cohort(labelled_of(people), SplitOptions(folds=5))
    for part in ("test", "validation"):
        counts = Counter(subject for datalist in lists for subject, place in part_of(datalist).items() if place == part)
        assert set(counts.values()) == {1}
        assert len(counts) == len(people)
    sizes = [sum(part == "test" for part in part_of(datalist).values()) for datalist in lists]
    assert max(sizes) - min(sizes) <= 2
    tested, validated = (
        [{s for s, p in part_of(one).items() if p == part} for one in lists] for part in ("test", "validation")
    )
    assert validated == [*tested[1:], tested[0]]  # what the next fold tests


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_deal_keeps_every_run_within_two(counts):
    """Every cyclic run of neighbours, against the exact share, by brute force."""
    turns = deal(np.array(counts))
    n = len(turns)
    assert Counter(turns.tolist()) == dict(enumerate(counts))
    for part, count in enumerate(counts):
        prefix = np.concatenate([[0], np.cumsum(turns == part)]) - np.arange(n + 1) * count / n
        assert np.abs(prefix).max() < 1
        # a run is the difference of two prefixes; around the end it is the full turn less one, and the full turn is 0
        assert prefix.max() - prefix.min() < 2


@given(n=st.integers(3, 500), weights=st.lists(st.integers(1, 20), min_size=3, max_size=3))
def test_quotas_round_up_or_down(n, weights):
    shares = np.array(weights) / sum(weights)
    counts = quotas(n, shares, np.zeros(3))
    assert counts.sum() == n
    assert counts.min() >= 1
    assert (np.abs(counts - n * shares) < 1 + 1e-9)[n * shares >= 1].all() or counts.min() == 1


def test_published_sizes():
    """Klingenberg et al. 2021: 306 CN and 126 AD into 306, 63 and 63 subjects."""
    people = [("CN" if i < 306 else "AD", 55 + i % 35, "FM"[i % 2], 1) for i in range(432)]
    datalist = split_cohort(labelled_of(people), SplitOptions(fractions=(306 / 432, 63 / 432, 63 / 432)))[0]
    assert [len(datalist[part]) for part in PARTS] == [306, 63, 63]


def test_seeds_differ_and_everyone_can_be_tested():
    people = [("CN" if i % 2 else "AD", 50 + i, "FM"[i // 2 % 2], 1) for i in range(30)]
    lists = split_cohort(labelled_of(people), SplitOptions(repeats=60))
    tested = Counter(s for datalist in lists for s, part in part_of(datalist).items() if part == "test")
    assert len(tested) == 30
    assert tested.most_common()[0][1] < 30  # nobody is nearly always tested: 12 of 60 are expected
    other = split_cohort(labelled_of(people), SplitOptions(seed=1))[0]
    assert part_of(other) != part_of(lists[0])
    assert part_of(split_cohort(labelled_of(people), SplitOptions())[0]) == part_of(lists[0])


def test_test_part_keeps_the_baseline_only(make_cohort):
    rows = [(f"sub-{i:02d}", ("CN", "AD")[i % 2], 60 + i, "FM"[i // 2 % 2]) for i in range(20)]
    scans = [f"{r[0]}/ses-{s}/anat/{r[0]}_ses-{s}_T1w.nii.gz" for r in rows for s in ("2", "10", "1")]
    labelled = label_scans(read_cohort(make_cohort(rows, scans=scans)))
    datalist = split_cohort(labelled, SplitOptions(test_sessions="first"))[0]
    assert {item["session_id"] for item in datalist["test"]} == {"ses-1"}
    assert Counter(item["session_id"] for item in datalist["training"]).keys() == {"ses-1", "ses-2", "ses-10"}
    later = 2 * len(datalist["test"])
    assert f"{later} later scans of test subjects left out" in datalist["notes"]
    table = summary(datalist)
    assert table["subjects"].sum() == 20
    assert table[table["part"] == "test"]["scans"].sum() == table[table["part"] == "test"]["subjects"].sum()


@given(people=cohorts, seed=st.integers(0, 999), width=st.sampled_from([5.0, 10.0, 50.0]))
def test_matching_equalises_sex_in_every_bin_and_removes_no_more(people, seed, width):
    table = pd.DataFrame(
        [(f"sub-{i:03d}", int(p[0] == "AD"), p[2], p[1]) for i, p in enumerate(people)],
        columns=["participant_id", "label", "sex", "age"],
    )
    try:
        matched = match_sex(table, np.random.default_rng(seed), width)
    except InputError as error:
        assert "nobody" in str(error)  # noqa: PT017
        matched = None
    usable = table[table["sex"].notna() & table["age"].notna()].assign(bin=lambda t: t["age"] // width)
    wanted = {key: min((g["sex"] == "F").sum(), (g["sex"] == "M").sum()) for key, g in usable.groupby(["label", "bin"])}
    if matched is None:
        assert sum(wanted.values()) == 0
        return
    kept = usable[usable["participant_id"].isin(matched.kept)]
    for key, size in wanted.items():
        own = kept[(kept["label"] == key[0]) & (kept["bin"] == key[1])]
        assert ((own["sex"] == "F").sum(), (own["sex"] == "M").sum()) == (size, size)
    assert len(matched.kept) == 2 * sum(wanted.values())
    assert sorted([*matched.kept, *matched.removed, *matched.unusable]) == sorted(table["participant_id"])
    shuffled = table.sample(frac=1, random_state=seed)
    assert match_sex(shuffled, np.random.default_rng(seed), width) == matched


@pytest.mark.parametrize(("target", "removed"), [("diagnosis", 20), ("sex", 0)])
def test_sexes_are_matched_in_each_class_but_where_they_are_the_classes(target, removed):
    people = [("CN" if i < 30 else "AD", 61, "F" if i < 20 or i >= 50 else "M", 1) for i in range(60)]
    classes = ["CN", "AD"] if target == "diagnosis" else ["F", "M"]
    labelled = label_scans(labelled_of(people).cohort, target, classes)
    assert len(split_cohort(labelled, SplitOptions(match=True))[0]["matched_away"]) == removed


def test_match_option_records_who_was_removed():
    people = [("CN" if i % 2 else "AD", 61, "F" if i < 40 else "M", 1) for i in range(60)]
    datalist = split_cohort(labelled_of(people), SplitOptions(match=True))[0]
    assert len(datalist["matched_away"]) == 20
    table = summary(datalist)
    assert table["F"].sum() == table["M"].sum() == 20
    assert datalist["options"]["match"] is True
    lists = split_cohort(labelled_of(people), SplitOptions(match=True, repeats=2))
    assert lists[0]["matched_away"] != lists[1]["matched_away"]
    assert [one["options"]["of"] for one in lists] == [2, 2]
    with pytest.raises(InputError, match="--match needs the column 'age'"):
        split_cohort(labelled_of([(*p[:1], None, *p[2:]) for p in people]), SplitOptions(match=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fractions": (0.6, 0.2, 0.3)}, "add up to 1"),
        ({"fractions": (0.0, 0.5, 0.5)}, "nothing for training"),
        ({"fractions": (1.2, -0.2, 0.0)}, "add up to 1"),
        ({"folds": 2}, "expected 3 to 1000"),
        ({"folds": 3, "repeats": 2}, "exclude each other"),
        ({"repeats": 0}, "expected 1 to 1000"),
        ({"seed": -1}, "zero or more"),
        ({"age_bins": 0}, "--age-bins"),
        ({"test_sessions": "last"}, "'all' or 'first'"),
    ],
)
def test_options_that_cannot_be(options, words):
    with pytest.raises(InputError, match=words):
        SplitOptions(**options)


def test_too_few_subjects_and_small_strata_are_said():
    people = [("CN", 60 + i, "F", 1) for i in range(10)] + [("AD", 70, "M", 1)] * 2
    with pytest.raises(InputError, match="class 'AD': 2 subjects for 3 parts"):
        split_cohort(labelled_of(people))
    datalist = split_cohort(labelled_of([*people, ("AD", 70, "F", 1)]))[0]
    assert "AD, sex F, age range" in " ".join(datalist["notes"])
    assert {item["label"] for item in datalist["test"]} == {0, 1}


def test_no_test_part_when_its_share_is_zero():
    people = [("CN" if i % 2 else "AD", 60, "F", 1) for i in range(20)]
    datalist = split_cohort(labelled_of(people), SplitOptions(fractions=(0.8, 0.2, 0)))[0]
    assert "test" not in datalist
    assert len(datalist["training"]) == 16


def test_age_ranges():
    assert age_ranges([50, 60, 70, 80], 2)[0] == [0, 0, 1, 1]
    assert age_ranges([50, 54.9, 55, np.nan, 71], 4, width=5)[0] == [0, 0, 1, -1, 4]
    assert age_ranges([60, 60, 60], 4)[0] == [1, 1, 1]
    assert age_ranges([np.nan], 4) == ([-1], [])
    assert age_ranges([50, 60], 1)[0] == [0, 0]


@pytest.mark.real
def test_real_cohort(real_data):
    labelled = label_scans(read_cohort(real_data / "cohorts/ds002748"), target="sex")
    assert labelled.classes == ["F", "M"]
    assert Counter(labelled.scans["label"]) == {0: 36, 1: 13}
    assert labelled.left_out == []
    datalist = split_cohort(labelled, SplitOptions(seed=1))[0]
    check_datalist(datalist, real_data / "cohorts/ds002748")
    # 36 women: 21.6, 7.2, 7.2; 13 men: 7.8, 2.6, 2.6
    counts = Counter((part, item["label"]) for part in PARTS for item in datalist[part])
    for label, size in enumerate((36, 13)):
        for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
            assert abs(counts[part, label] - share * size) < 1
    assert {item["sex"] for part in PARTS for item in datalist[part] if item["label"] == 1} == {"M"}


@pytest.mark.parametrize(
    ("name", "least", "most"), [("folds", 3, 1000), ("repeats", 1, 1000), ("age_bins", 1, 1000), ("seed", 0, None)]
)
def test_limits_of_options_are_taken_and_what_lies_beyond_is_refused(name, least, most):
    assert getattr(SplitOptions(**{name: least}), name) == least
    with pytest.raises(InputError):
        SplitOptions(**{name: least - 1})
    if most is not None:
        assert getattr(SplitOptions(**{name: most}), name) == most
        with pytest.raises(InputError):
            SplitOptions(**{name: most + 1})


def test_widths_of_age_ranges_may_be_less_than_a_year():
    assert SplitOptions(age_width=0.5).age_width == 0.5
    with pytest.raises(InputError):
        SplitOptions(age_width=0.0)


def test_what_is_not_known_of_somebody_is_left_out_and_groups_are_recorded_where_there_are_any():
    people = [("CN", None if n % 2 else 60.0, None if n % 3 else "F", 1) for n in range(8)]
    labelled = labelled_of([*people, *(("AD", 70.0, "M", 1) for _ in range(8))])
    (datalist,) = split_cohort(labelled)
    items = {item["participant_id"]: item for part in PARTS for item in datalist[part]}
    for n in range(8):
        assert ("age" in items[f"sub-{n:03d}"]) == (n % 2 == 0)
        assert ("sex" in items[f"sub-{n:03d}"]) == (n % 3 == 0)
    assert "group" not in datalist["options"]
    labelled.cohort.scans["site"] = list("abcdefgh") * 2
    (datalist,) = split_cohort(label_scans(labelled.cohort, classes=["CN", "AD"]), SplitOptions(group="site"))
    assert datalist["options"]["group"] == "site"
