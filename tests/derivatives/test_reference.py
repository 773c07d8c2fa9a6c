from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from neuroxai.derivatives.reference import read_reference, write_reference
from neuroxai.errors import InputError
from neuroxai.statistics import Reference, Subject


@pytest.fixture
def cohort(rng):
    ids = [f"sub-{k:04d}" for k in range(30)]
    scores = pd.DataFrame(1e-6 * rng.normal(size=(30, 4)), index=ids, columns=["a", "b", "Gyrus, 1", "ø"])
    scores["b"] = np.nan
    people = pd.DataFrame({"age": rng.uniform(50, 90, 30), "sex": np.where(np.arange(30) % 3, "F", "M")}, index=ids)
    return scores, people


def test_a_reference_survives_its_file(cohort, tmp_path):
    scores, people = cohort
    reference = Reference.fit(scores, people, provenance={"method": "lrp_epsilon", "options": {"epsilon": 0.1}})
    path = write_reference(tmp_path / "reference.json", reference)
    read = read_reference(path)
    assert (read.regions, read.measure, dict(read.provenance)) == (
        reference.regions,
        "density",
        dict(reference.provenance),
    )
    new = Subject("sub-new", dict(scores.iloc[2] + 1e-6), 66.0, "F")
    pd.testing.assert_frame_equal(read.compare(new), reference.compare(new), rtol=1e-12)
    # ranks and leave-one-out bear the seven digits of the file
    own = Subject("sub-0002", dict(scores.iloc[2]), *people.iloc[2])
    pd.testing.assert_frame_equal(
        read.compare(own, "leave-one-out"), reference.compare(own, "leave-one-out"), rtol=1e-12
    )
    assert path.read_bytes() == write_reference(tmp_path / "again.json", read).read_bytes()


def test_regions_on_a_scale_of_their_own_survive(cohort, tmp_path):
    scores = np.exp(cohort[0])
    scores.iloc[0, 2] = 0.0
    reference = Reference.fit(scores, cohort[1], scale=None)
    found = read_reference(write_reference(tmp_path / "r.json", reference))
    assert found.linear == reference.linear == {str(scores.columns[2])}
    assert found.logs.tolist() == reference.logs.tolist()
    # who reads version 1 alone would take that region's numbers for logarithms
    assert json.loads((tmp_path / "r.json").read_text())["version"] == 2
    whole = Reference.fit(np.exp(cohort[0]), cohort[1], scale=None)
    assert json.loads(write_reference(tmp_path / "w.json", whole).read_text())["version"] == 1


def test_the_scale_survives_and_a_file_without_one_is_linear(cohort, tmp_path):
    scores, people = cohort
    reference = Reference.fit(np.exp(1e6 * scores), people, scale="log")
    path = write_reference(tmp_path / "reference.json", reference)
    new = Subject("sub-new", dict(np.exp(1e6 * scores.iloc[2])), 66.0, "F")
    pd.testing.assert_frame_equal(read_reference(path).compare(new), reference.compare(new), rtol=1e-12)
    record = json.loads(path.read_text())
    assert record.pop("scale") == "log"
    path.write_text(json.dumps(record))
    assert read_reference(path).scale == "linear"
    path.write_text(json.dumps({**record, "scale": "cubic"}))
    with pytest.raises(InputError, match=r"unknown .*scale 'cubic'"):
        read_reference(path)


def test_the_file_names_no_one_and_is_small(cohort, tmp_path):
    scores, people = cohort
    path = write_reference(tmp_path / "reference.json", Reference.fit(scores, people))
    assert "sub-" not in path.read_text()
    record = json.loads(path.read_text())
    # sorted within each region: no row of the file is a person
    for region in record["regions"]:
        assert region["ordered"] == sorted(region["ordered"])
    wide = pd.DataFrame(np.random.default_rng(0).normal(size=(200, 100)), index=[f"s{k}" for k in range(200)])
    assert write_reference(tmp_path / "wide.json", Reference.fit(wide)).stat().st_size < 600_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.clear(), "is no reference"),
        (lambda r: r.update(version=9), "version 9 of the format, expected 1 or 2"),
        (lambda r: r.pop("inverse"), "is damaged"),
        (lambda r: r["regions"][0].update(ordered=[1.0]), "is damaged"),
        (lambda r: r["regions"].pop(), None),
        (lambda r: r["regions"][1].update(name="a"), "do not fit each other"),
        (lambda r: r.update(age_mean=None), "do not fit each other"),
        (lambda r: r.update(regions=[]), "is damaged"),
        (lambda r: r.update(controls="many"), "is damaged"),
    ],
)
def test_a_damaged_file_is_one_line(cohort, tmp_path, change, message):
    path = write_reference(tmp_path / "reference.json", Reference.fit(*cohort))
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    if message is None:
        assert len(read_reference(path).regions) == 3
        return
    with pytest.raises(InputError, match=message) as error:
        read_reference(path)
    assert "\n" not in str(error.value)
