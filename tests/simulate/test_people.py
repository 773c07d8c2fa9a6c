from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.simulate.cohort import draw_people

AGES = (70.0, 7.0, 55.0, 90.0)


@given(st.integers(2, 120), st.integers(0, 2**40))
def test_classes_and_sexes_are_balanced(count, seed):
    people = draw_people(count, seed, AGES)
    assert [p.participant_id for p in people] == [f"sub-{i:04d}" for i in range(1, count + 1)]
    patients = sum(p.patient for p in people)
    assert abs(2 * patients - count) <= 1
    assert 0 < patients < count
    for sex in "FM":
        mine = [p.patient for p in people if p.sex == sex]
        assert abs(2 * sum(mine) - len(mine)) <= 1
    assert all(AGES[2] <= p.age <= AGES[3] for p in people)


@given(st.integers(0, 1000))
def test_a_person_is_the_same_in_a_larger_cohort(seed):
    assert draw_people(9, seed, AGES) == draw_people(40, seed, AGES)[:9]


def test_order_and_age_do_not_tell_the_class():
    people = draw_people(400, 5, AGES)
    odd = np.array([p.patient for p in people][::2])
    assert 60 < odd.sum() < 140
    ages = np.array([p.age for p in people])
    patient = np.array([p.patient for p in people])
    assert abs(ages[patient].mean() - ages[~patient].mean()) < 0.5
    assert ages.std() > 5
