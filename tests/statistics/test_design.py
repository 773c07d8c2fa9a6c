from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from neuroxai.errors import InputError
from neuroxai.statistics.design import Design, design_of

PEOPLE = pd.DataFrame(
    {"age": [60.0, 70.0, 80.0, np.nan], "sex": ["F", "M", "F", None]}, index=["sub-1", "sub-2", "sub-3", "sub-4"]
)
KNOWN = ["sub-1", "sub-2", "sub-3"]


def test_columns_are_intercept_centred_age_and_sex():
    design, rows = design_of(KNOWN, PEOPLE, None)
    np.testing.assert_array_equal(rows, [[1, -10, 0], [1, 0, 1], [1, 10, 0]])
    assert (design.adjusted, design.width) == (("age", "sex"), 3)
    np.testing.assert_array_equal(design.row("x", 65.0, "M"), [1, -5, 1])
    assert design.adjusted == design_of(KNOWN[::-1], PEOPLE, ("sex", "age"))[0].adjusted


@pytest.mark.parametrize(
    ("people", "adjust", "adjusted"),
    [
        (None, None, ()),
        (PEOPLE, (), ()),
        (PEOPLE, ("age",), ("age",)),
        (PEOPLE[["sex"]], None, ("sex",)),
        (PEOPLE.assign(age=70.0), None, ("sex",)),
        (PEOPLE.assign(age=np.nan), None, ("sex",)),
    ],
)
def test_what_exists_and_varies_is_adjusted_for(people, adjust, adjusted):
    design, rows = design_of(KNOWN, people, adjust)
    assert design.adjusted == adjusted
    assert rows.shape == (3, design.width) == (3, 1 + len(adjusted))


def test_missing_values_are_named():
    with pytest.raises(InputError, match=r"1 controls have no age \(the first is sub-4\)"):
        design_of(PEOPLE.index.tolist(), PEOPLE, ("age",))
    with pytest.raises(InputError, match="age does not vary"):
        design_of(KNOWN, PEOPLE.drop(columns="age"), ("age",))
    with pytest.raises(InputError, match="x has no age"):
        Design(age_mean=70.0).row("x", float("nan"), None)


def test_beyond_the_controls():
    design = Design(70.0, (60.0, 80.0), ("F",))
    assert [design.beyond(age, "F") for age in (59.9, 60.0, 80.0, 80.1, None)] == [True, False, False, True, False]
    assert design.beyond(70.0, "M")
    assert not Design().beyond(99.0, "M")
