from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from helpers.thirds import sampled
from neuroxai.errors import InputError, LeakageError
from neuroxai.statistics import Reference, Subject
from neuroxai.statistics.reference import MINIMUM, left_out_t, percentiles, two_sided, without

REGIONS = [f"Region {k}" for k in range(6)]


def controls(rng, n=40, regions=REGIONS, slope=0.0, offset=0.0):
    """Scores and people; each region falls with age and differs between the sexes as asked."""
    ids = [f"sub-{k:04d}" for k in range(n)]
    people = pd.DataFrame({"age": rng.uniform(55, 85, n), "sex": np.where(np.arange(n) % 2, "F", "M")}, index=ids)
    scores = rng.normal(size=(n, len(regions))) + slope * people[["age"]].to_numpy()
    scores = scores + offset * (people[["sex"]] == "M").to_numpy()
    return pd.DataFrame(scores, index=ids, columns=regions), people


def subject(row, age=None, sex=None, name="sub-new"):
    return Subject(name, dict(row), age, sex)


def test_without_adjustment_it_is_crawford_and_howell(rng):
    scores, _ = controls(rng, 15)
    found = Reference.fit(scores).compare(subject(scores.iloc[0] + 1))
    x, y = scores.to_numpy(), scores.iloc[0].to_numpy() + 1
    t = (y - x.mean(axis=0)) / (x.std(axis=0, ddof=1) * np.sqrt(1 + 1 / 15))
    np.testing.assert_allclose(found["z"], t, rtol=1e-10)
    np.testing.assert_allclose(found["p"], 2 * stats.t.sf(np.abs(t), 14), rtol=1e-10)
    np.testing.assert_allclose(found["q"], stats.false_discovery_control(found["p"]), rtol=1e-12)
    np.testing.assert_allclose(found["expected"], x.mean(axis=0), rtol=1e-10)
    below = (x < y).sum(axis=0)
    np.testing.assert_allclose(found["percentile"], 100 * (below + 0.5) / 16)


def test_adjusted_it_is_the_prediction_interval_of_least_squares(rng):
    scores, people = controls(rng, 30, slope=0.1, offset=2.0)
    found = Reference.fit(scores, people).compare(subject(scores.iloc[3] - 1, 91.0, "F"))
    # by hand, with columns of another parametrisation
    x = np.column_stack([people["sex"] == "F", people["sex"] == "M", people["age"]]).astype(float)
    new = np.array([1.0, 0.0, 91.0])
    beta, rss, _, _ = np.linalg.lstsq(x, scores.to_numpy(), rcond=None)
    error = np.sqrt(rss / 27 * (1 + new @ np.linalg.inv(x.T @ x) @ new))
    np.testing.assert_allclose(found["z"], (scores.iloc[3] - 1 - new @ beta) / error, rtol=1e-8)
    np.testing.assert_allclose(found["p"], 2 * stats.t.sf(np.abs(found["z"]), 27), rtol=1e-10)
    assert found["beyond"].all()
    # the same t is that of a dummy variable of the new person in the regression of all (Belsley 1980)
    stacked = np.vstack([np.column_stack([x, np.zeros(30)]), [*new, 1.0]])
    both = np.vstack([scores.to_numpy(), scores.iloc[3] - 1])
    gamma, rest, _, _ = np.linalg.lstsq(stacked, both, rcond=None)
    spread = np.sqrt(rest / 27 * np.linalg.inv(stacked.T @ stacked)[3, 3])
    np.testing.assert_allclose(found["z"], gamma[3] / spread, rtol=1e-8)


def test_leave_one_out_equals_a_reference_without_that_control(rng):
    scores, people = controls(rng, 25, slope=0.1)
    whole = Reference.fit(scores, people)
    for name in scores.index[:5]:
        one = subject(scores.loc[name], *people.loc[name], name=name)
        rest = Reference.fit(scores.drop(name), people.drop(name)).compare(one)
        found = whole.compare(one, members="leave-one-out")
        for column in ("value", "expected", "z", "p", "q"):
            np.testing.assert_allclose(found[column], rest[column], rtol=1e-8, err_msg=column)
    plain = Reference.fit(scores)
    name = scores.index[7]
    expected = Reference.fit(scores.drop(name)).percentiles(subject(scores.loc[name]))
    found = plain.percentiles(subject(scores.loc[name], name=name), members="leave-one-out")
    np.testing.assert_allclose(found, expected)


def test_a_control_is_not_scored_by_itself(rng):
    scores, people = controls(rng)
    reference = Reference.fit(scores, people)
    name = scores.index[3]
    one = subject(scores.loc[name], *people.loc[name], name=name)
    with pytest.raises(LeakageError, match="sub-0003 is one of the controls"):
        reference.z(one)
    # somebody else, of another cohort, who bears the same identifier
    other = subject(scores.loc[name], *people.loc[name], name="sub-other")
    pd.testing.assert_series_equal(reference.z(one, "strangers"), reference.z(other))
    changed = subject(scores.loc[name] + 0.5, *people.loc[name], name=name)
    with pytest.raises(InputError, match="not those that the reference was made from"):
        reference.z(changed, "leave-one-out")
    with pytest.raises(InputError, match="unknown choice for members 'maybe'"):
        reference.z(one, "maybe")


@pytest.mark.parametrize(("n", "adjusted"), sampled([(10, False), (60, False), (25, True)], 2))
def test_held_out_controls_are_flagged_at_the_nominal_rate(n, adjusted):
    rng = np.random.default_rng(n)
    names, alarms, family, low, deviations = [f"r{k}" for k in range(20)], 0, 0, 0, []
    for _ in range(400):
        scores, people = controls(rng, n + 1, names, slope=0.1 * adjusted, offset=adjusted)
        new = scores.index[-1]
        reference = Reference.fit(scores[:-1], people if adjusted else None)
        one = reference.compare(subject(scores.loc[new], *people.loc[new], name=new))
        alarms += (one["p"] < 0.05).sum()
        family += (one["q"] <= 0.05).any()
        low += (one["percentile"] < 10).sum()
        deviations.append(one["p"].iloc[0])
    # 8000 independent given the reference; the regions of one draw share nothing but ages: binomial bounds at 1e-4
    bounds = stats.binom(8000, 0.05).interval(1 - 1e-4)
    assert bounds[0] <= alarms <= bounds[1]
    # all regions are healthy: Benjamini-Hochberg finds any in at most 5 % of people
    assert family <= stats.binom(400, 0.05).ppf(1 - 1e-4)
    # ranks are exact without adjustment: of n + 1 places, those with (b + .5) / (n + 1) < .1
    places = sum((b + 0.5) / (n + 1) < 0.1 for b in range(n + 1)) / (n + 1)
    if adjusted:
        assert low / 8000 == pytest.approx(places, abs=0.015)
    else:
        bounds = stats.binom(8000, places).interval(1 - 1e-4)
        assert bounds[0] <= low <= bounds[1]
    assert stats.kstest(deviations, "uniform").pvalue > 0.001


def test_ranks_of_people_beyond_the_controls_ages_bear_the_uncertainty_there():
    # at 110 years the expectation is about as uncertain as a score: plain deviations would be called low twice as often
    rng, names, low = np.random.default_rng(8), [f"r{k}" for k in range(40)], 0
    for _ in range(200):
        scores, people = controls(rng, 25, names)
        reference = Reference.fit(scores, people, adjust=("age",))
        found = reference.compare(subject(pd.Series(rng.normal(size=40), index=names), 110.0, "F"))
        low += (found["percentile"] < 10).sum()
    # the regions of one draw share their design, not their noise: standard error .0033
    assert low / 8000 == pytest.approx(0.1, abs=0.025)


def test_adjustment_removes_a_planted_trend():
    rng = np.random.default_rng(3)
    scores, people = controls(rng, 120, slope=0.15, offset=3.0)
    train, test = scores[:60], scores[60:]
    z = {}
    for adjust in ((), ("age",), ("age", "sex")):
        reference = Reference.fit(train, people, adjust=adjust)
        z[adjust] = np.array([reference.z(subject(test.loc[k], *people.loc[k])) for k in test.index])
    ages, men = people["age"][60:], (people["sex"][60:] == "M").to_numpy()
    trend = {k: np.mean([stats.pearsonr(ages, column).statistic for column in v.T]) for k, v in z.items()}
    between = {k: (v[men].mean() - v[~men].mean()) for k, v in z.items()}
    # slope .15 over 30 years: sd of age 8.7 gives 1.3 against noise of 1 and a sex offset of sd 1.5
    assert trend[()] > 0.4
    assert abs(trend["age", "sex"]) < 0.1
    assert between[("age",)] > 1
    assert abs(between["age", "sex"]) < 0.2


def test_a_planted_deviation_is_found(rng):
    scores, people = controls(rng, 60, [f"r{k}" for k in range(50)])
    reference = Reference.fit(scores, people)
    hits = alarms = 0
    for k in range(100):
        values = pd.Series(rng.normal(size=50), index=scores.columns)
        values.iloc[:3] += 6
        found = reference.compare(subject(values, 70.0, "F", name=f"sub-p{k}"))["q"] <= 0.05
        hits, alarms = hits + found[:3].sum(), alarms + found[3:].sum()
    assert hits / 300 > 0.9
    # at most 5 % of the findings are false, give or take
    assert alarms / (hits + alarms) < 0.09


def test_false_alarms_tell_when_scores_are_not_normal():
    rng = np.random.default_rng(1)
    scores, _ = controls(rng, 200, [f"r{k}" for k in range(50)])
    assert Reference.fit(scores).false_alarms == pytest.approx(0.05, abs=0.006)
    # heavy tails: t does not hold at the small levels that matter, but the ranks do
    heavy = pd.DataFrame(rng.standard_t(1.5, size=scores.shape), index=scores.index, columns=scores.columns)
    assert Reference.fit(heavy).false_alarms < 0.04


@given(st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 20), st.permutations(REGIONS))
def test_unit_offset_and_order_do_not_matter(factor, offset, seed, order):
    scores, people = controls(np.random.default_rng(seed), 20)
    new = scores.iloc[0] * 2
    one = Reference.fit(scores, people).compare(subject(new, 60.0, "M"))
    two = Reference.fit(factor * scores + offset, people).compare(subject((factor * new + offset)[order], 60.0, "M"))
    np.testing.assert_allclose(two["z"], one["z"], rtol=1e-6)
    np.testing.assert_allclose(two["percentile"], one["percentile"])
    mirrored = Reference.fit(-scores, people).compare(subject(-new, 60.0, "M"))
    np.testing.assert_allclose(mirrored["percentile"], 100 - one["percentile"])


def test_a_large_reference_keeps_evenly_spaced_ranks(rng):
    scores, people = controls(rng, 1500, REGIONS[:2])
    reference = Reference.fit(scores, people, adjust=())
    assert reference.ordered.shape == (999, 2)
    new = scores.iloc[5] + 0.01
    expected = [100 * stats.percentileofscore(scores[k], new[k]) / 100 for k in REGIONS[:2]]
    np.testing.assert_allclose(reference.percentiles(subject(new)), expected, atol=0.2)


def test_what_cannot_be_compared_is_refused(rng):
    scores, people = controls(rng, 20)
    reference = Reference.fit(scores, people)
    with pytest.raises(InputError, match=r"'Region 1'.*'Insula'"):
        reference.z(subject(scores.iloc[0].rename({"Region 1": "Insula"}), 60.0, "F"))
    with pytest.raises(InputError, match="sub-new has no age"):
        reference.z(subject(scores.iloc[0], None, "F"))
    with pytest.raises(InputError, match="sub-new has no sex"):
        reference.z(subject(scores.iloc[0], 60.0))
    with pytest.raises(InputError, match="sex of sub-new: 'O'; choose one of: F, M"):
        reference.z(subject(scores.iloc[0], 60.0, "O"))
    with pytest.raises(InputError, match="Region 2 is not a finite number"):
        reference.z(subject(scores.iloc[0].where(scores.columns != "Region 2"), 60.0, "F"))
    assert not reference.compare(subject(scores.iloc[0], 60.0, "F"))["beyond"].any()
    assert reference.compare(subject(scores.iloc[0], 99.0, "F"))["beyond"].all()


def test_what_is_no_reference_is_refused(rng):
    scores, people = controls(rng, 20)
    with pytest.raises(InputError, match=f"9 controls, expected {MINIMUM} or more"):
        Reference.fit(scores[:9])
    with pytest.raises(InputError, match="11 controls, expected 12 or more"):
        Reference.fit(scores[:11], people)
    with pytest.raises(InputError, match=r"1 controls have no age \(the first is sub-0003\)"):
        Reference.fit(scores, people.assign(age=people["age"].where(people.index != "sub-0003")))
    with pytest.raises(InputError, match="sub-0004 has scores, but no row"):
        Reference.fit(scores, people.drop("sub-0004"))
    with pytest.raises(InputError, match="sub-0000 has two rows"):
        Reference.fit(pd.concat([scores, scores[:1]]))
    with pytest.raises(InputError, match="sub-0001 alone decides"):
        Reference.fit(scores, people.assign(sex=np.where(people.index == "sub-0001", "F", "M")))
    with pytest.raises(InputError, match="in some controls only"):
        Reference.fit(scores.replace(scores.loc["sub-0001", "Region 1"], np.nan))
    with pytest.raises(InputError, match="unknown column to adjust for 'site'"):
        Reference.fit(scores, people, adjust=("site",))
    with pytest.raises(InputError, match="sex does not vary"):
        Reference.fit(scores, people.assign(sex="F"), adjust=("sex",))


def test_one_sex_alone_is_no_column_but_is_remembered(rng):
    scores, people = controls(rng, 20)
    reference = Reference.fit(scores, people.assign(sex="F", age=70.0))
    assert reference.design.adjusted == ()
    assert reference.compare(subject(scores.iloc[0], 70.0, "M"))["beyond"].all()
    assert not reference.compare(subject(scores.iloc[0], 70.0, "F"))["beyond"].any()


def test_a_region_without_voxels_or_spread_stays_unknown(rng):
    scores, _ = controls(rng, 20)
    scores["Region 1"], scores["Region 2"] = np.nan, 0.1
    reference = Reference.fit(scores)
    found = reference.compare(subject(scores.iloc[0] + 1))
    assert found.loc[["Region 1", "Region 2"], ["z", "percentile", "p", "q"]].isna().all(axis=None)
    known = found.drop(["Region 1", "Region 2"])
    np.testing.assert_allclose(known["q"], stats.false_discovery_control(known["p"]))
    own = Subject("sub-0003", dict(scores.loc["sub-0003"]))
    assert np.isfinite(reference.z(own, "leave-one-out").drop(["Region 1", "Region 2"])).all()


def test_on_the_scale_log_it_is_the_reference_of_logarithms(rng):
    scores, people = controls(rng, 30, slope=0.05)
    linear, logs = Reference.fit(scores, people), Reference.fit(np.exp(scores), people, scale="log")
    new, name = scores.iloc[4] + 0.5, scores.index[4]
    cases = (("sub-new", new, "refuse"), (name, scores.iloc[4], "leave-one-out"))
    for who, values, members in cases:
        age = people["age"].iloc[4] if who == name else 70.0
        expected = linear.compare(subject(values, age, people["sex"].iloc[4], who), members)
        found = logs.compare(subject(np.exp(values), age, people["sex"].iloc[4], who), members)
        for column in ("z", "percentile", "p", "q"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-8, err_msg=column)
        for column in ("value", "expected"):
            np.testing.assert_allclose(found[column], np.exp(expected[column]), rtol=1e-8, err_msg=column)
    assert logs.false_alarms == linear.false_alarms


def test_logarithms_are_calibrated_where_scores_have_a_long_tail(rng):
    scores = pd.DataFrame(np.exp(rng.normal(size=(60, 200))), index=[f"s{k}" for k in range(60)])
    assert Reference.fit(scores, scale="log").false_alarms == pytest.approx(0.05, abs=0.006)
    people = [subject(dict(enumerate(np.exp(rng.normal(size=200)))), name=f"new-{k}") for k in range(100)]
    people = [Subject(p.participant_id, {str(k): v for k, v in p.scores.items()}) for p in people]
    flagged = {
        scale: np.mean([(Reference.fit(scores, scale=scale).compare(p)["q"] <= 0.05).any() for p in people])
        for scale in ("linear", "log")
    }
    assert flagged["log"] <= 0.12
    assert flagged["linear"] > 0.9


def test_a_zero_makes_its_own_region_linear_alone(rng):
    scores = np.exp(controls(rng)[0])
    scores.iloc[3, 1] = 0.0
    mixed = Reference.fit(scores, scale=None)
    assert (mixed.scale, mixed.linear) == ("log", {REGIONS[1]})
    assert mixed.scale_notes()[0].startswith(f"1 of {len(REGIONS)} regions are compared as they are")
    linear, rest = Reference.fit(scores, scale="linear"), [name for name in REGIONS if name != REGIONS[1]]
    logs = Reference.fit(scores[rest], scale="log")
    new = dict.fromkeys(REGIONS, 1.5)
    found = mixed.compare(subject(new))
    columns = ["value", "expected", "z", "percentile", "p"]
    # alike but for the last bit, which depends on how numpy adds up
    alone = linear.compare(subject(new)).loc[[REGIONS[1]], columns]
    pd.testing.assert_frame_equal(found.loc[[REGIONS[1]], columns], alone, rtol=1e-12)
    others = logs.compare(subject(dict.fromkeys(rest, 1.5)))[columns]
    pd.testing.assert_frame_equal(found.loc[rest, columns], others, rtol=1e-12)
    # scores of both signs have no logarithms, whatever a region's look like
    scores.iloc[3, 1] = -0.1
    signed = Reference.fit(scores, scale=None)
    assert (signed.scale, signed.linear, signed.scale_notes()) == ("linear", frozenset(), [])


def test_the_scale_log_wants_scores_above_zero(rng):
    scores = np.exp(controls(rng)[0])
    reference = Reference.fit(scores.assign(none=np.nan), scale="log")
    own = {**scores.iloc[0], "none": np.nan}
    assert reference.compare(subject(own))["p"].isna().tolist() == [False] * len(REGIONS) + [True]
    # a score of 0 has no logarithm, but a rank: below all others; the other regions are compared as before
    zero, whole = reference.compare(subject({**own, REGIONS[2]: 0.0})), reference.compare(subject(own))
    row = zero.loc[REGIONS[2]]
    assert (row["value"], row["percentile"]) == (0.0, pytest.approx(50 / (len(scores) + 1)))
    assert row[["z", "p", "q"]].isna().all()
    rest = [name for name in REGIONS if name != REGIONS[2]]
    assert zero.loc[rest, ["value", "z", "percentile", "p"]].equals(whole.loc[rest, ["value", "z", "percentile", "p"]])
    with pytest.raises(InputError, match="sub-new: a region's score is -1, expected above 0 on the scale 'log'"):
        reference.compare(subject({**own, REGIONS[2]: -1.0}))
    scores.iloc[3, 1] = -2.0
    with pytest.raises(InputError, match=f"{scores.index[3]}: a region's score is -2"):
        Reference.fit(scores, scale="log")
    with pytest.raises(InputError, match="unknown scale 'logarithm'"):
        Reference.fit(scores, scale="logarithm")


def test_left_out_t_by_fitting_without_that_row(rng):
    x, y = np.column_stack([np.ones(12), rng.normal(size=12)]), rng.normal(size=12)
    hat = x @ np.linalg.inv(x.T @ x) @ x.T
    error = y - hat @ y
    sd = np.sqrt((error**2).sum() / 10)
    for k in range(12):
        rest = np.arange(12) != k
        beta, rss, _, _ = np.linalg.lstsq(x[rest], y[rest], rcond=None)
        spread = np.sqrt(rss[0] / 9 * (1 + x[k] @ np.linalg.inv(x[rest].T @ x[rest]) @ x[k]))
        assert float(left_out_t(error[k], hat[k, k], sd, 10)) == pytest.approx((y[k] - x[k] @ beta) / spread)


def test_two_sided_is_students():
    t = np.array([-2.0, 0.0, 2.228])
    np.testing.assert_allclose(two_sided(t, 10), 2 * stats.t.sf(np.abs(t), 10))
    assert two_sided(t, 10)[2] == pytest.approx(0.05, abs=1e-4)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30), st.integers(-6, 6))
def test_percentile_is_the_middle_of_ties(values, own):
    ordered = np.sort(np.array(values, dtype=float))[:, None]
    found = percentiles(ordered, np.array([float(own)]))[0]
    below, ties = sum(v < own for v in values), values.count(own)
    assert found == pytest.approx(100 * (below + ties / 2 + 0.5) / (len(values) + 1))
    assert 0 < found < 100


def test_one_control_is_taken_out_of_each_region():
    ordered = np.array([[1.0, -3.0], [2.0, 0.0], [5.0, 4.0]])
    np.testing.assert_array_equal(without(ordered, np.array([5.0, 0.0]), "x"), [[1, -3], [2, 4]])
    with pytest.raises(InputError, match="x: scores, age or sex are not those"):
        without(ordered, np.array([5.0, 0.1]), "x")
