"""Declarations: what YAML says, and what is refused by the name of its key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from helpers.studies import SMALL, declared
from neuroxai.errors import InputError
from neuroxai.studies import Study, names, read_study, text_of
from neuroxai.studies.reading import DeclarationError, load, merged, study_of


def test_a_declaration_becomes_a_study(tmp_path):
    study = read_study(declared(tmp_path / "mine.yaml"))
    assert isinstance(study, Study)
    assert study.name == "mine"
    assert list(study.arms) == ["plain", "dropout"]
    assert study.arms["dropout"].settings == {"dropout": 0.1}
    assert study.arms["plain"].train is True
    assert study.explain["lrp"].method == "lrp_alpha_beta"
    assert study.split.fractions == [0.6, 0.2, 0.2]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("quick", [False, True])
def test_the_packages_own_declarations_can_be_read(name, quick):
    study = read_study(name, quick)
    assert study.name == name
    assert study.title
    assert study.paper


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"repetitons": 3}, ["key", "'repetitons'", "Did you mean 'repetitions'", "about, analysis"]),
        ({"arms": {"plain": {"setings": {}}}}, ["arms: plain", "'setings'", "settings"]),
        ({"explain": {"lrp": {"metod": "x"}}}, ["explain: lrp", "'metod'", "Did you mean 'method'"]),
        ({"explain": {"lrp": {}}}, ["explain: lrp", "'method' is absent"]),
        ({"repetitions": "three"}, ["repetitions is 'three'", "a whole number"]),
        ({"repetitions": True}, ["repetitions is True", "a whole number"]),
        ({"split": {"fractions": [0.6, "x", 0.2]}}, ["split: fractions[1] is 'x'", "a number"]),
        ({"split": {"match": 1}}, ["split: match is 1", "true or false"]),
        ({"arms": []}, ["arms is []", "a mapping of names"]),
        ({"arms": {"a/b": {}}}, ["arms: a/b is 'a/b'", "letters, digits"]),
        ({"explain": {"../x": {"method": "saliency"}}}, ["explain: ../x is '../x'", "letters, digits"]),
        ({"parts": "test"}, ["parts is 'test'", "a list"]),
    ],
)
def test_what_is_wrong_is_named_with_the_choices(tmp_path, changes, words):
    with pytest.raises(DeclarationError) as caught:
        read_study(declared(tmp_path / "mine.yaml", **changes))
    for word in ("mine.yaml", *words):
        assert word in str(caught.value)


def test_all_faults_of_a_declaration_are_reported_at_once(tmp_path):
    changes = {"repetitons": 3, "seed": -1, "split": {"match": 1}, "arms": {"a": {"share": 2}, "b": {"coh": "x"}}}
    with pytest.raises(DeclarationError) as caught:
        read_study(declared(tmp_path / "mine.yaml", **changes))
    assert sorted(sentence.split(";")[0].split(",")[0] for sentence in caught.value.faults) == [
        "arms: a: share is 2",
        "seed is -1",
        "split: match is 1",
        "unknown key 'repetitons'",
        "unknown key in arms: b 'coh'",
    ]


@given(st.sampled_from(["repetitions", "seed", "threads"]), st.one_of(st.booleans(), st.floats(), st.text()))
def test_nothing_is_converted_to_a_whole_number(key, value):
    """A float is none, even if it is whole, nor is true, nor a text of digits."""
    with pytest.raises(DeclarationError) as caught:
        study_of({**SMALL, "name": "mine", key: value}, "mine")
    (fault,) = caught.value.faults
    assert fault == f"{key} is {value!r}, expected a whole number"


def test_numbers_stay_as_they_are_written():
    study = study_of({**SMALL, "name": "m", "cohorts": {"main": {"simulate": {"subjects": 9, "spacing": 2}}}}, "m")
    assert repr(study.cohorts["main"].simulate) == "{'subjects': 9, 'spacing': 2}"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "holds a list"),
        ("", "holds a NoneType"),
        ("a: 1\nb: 2\na: 3", "'a' stands twice (line 3)"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_what_is_no_declaration_is_refused(text, word):
    with pytest.raises(InputError, match=word.replace("(", r"\(").replace(")", r"\)")):
        load(text, "mine.yaml")


def test_numbers_are_those_of_yaml_1_2():
    found = load("a: 1e-4\nb: 5\nc: -2.5\nd: 1.0e+3\ne: 0x1\nf: '1e-4'\ng: 1_000\nh: sub-01\ni: 01", "x")
    assert found["a"] == 1e-4
    assert isinstance(found["b"], int)
    assert (found["c"], found["d"], found["f"]) == (-2.5, 1000.0, "1e-4")
    assert found["h"] == "sub-01"
    assert (found["e"], found["g"], found["i"]) == (1, "1_000", 1)


def test_what_yaml_1_1_would_take_for_something_else_stays_what_it_says():
    found = load("a: 010\nb: [NO, YES, on, off, y]\nc: 1:30\nd: 2020-01-31\ne: 0o10\nf: null\ng: true\nh:", "x")
    assert found["a"] == 10
    assert found["b"] == ["NO", "YES", "on", "off", "y"]
    assert (found["c"], found["d"]) == ("1:30", "2020-01-31")
    assert (found["e"], found["f"], found["g"], found["h"]) == (8, None, True, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("? [a, b]\n: 1", ["line 1", "no text"]),
        ("a: !!int x", ["not valid YAML"]),
        ("a: &a [*a]", ["aliases"]),
        ("a: !!timestamp 2020-99-99", ["not valid YAML"]),
        ("a: " + "[" * 3000 + "]" * 3000, ["not valid YAML"]),
        (
            "\n".join(["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]),
            ["aliases"],
        ),
        ("<<: 5\na: 1", ["not valid YAML"]),
        ("a: \x07", ["not valid YAML"]),
    ],
)
def test_odd_yaml_is_refused_in_one_line(text, words):
    with pytest.raises(InputError) as caught:
        load(text, "mine.yaml")
    assert all(word in str(caught.value) for word in ["mine.yaml", *words])
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused_and_a_mark_of_utf_8_is_read(tmp_path):
    path = declared(tmp_path / "mine.yaml", title="Größe")
    text = path if isinstance(path, str) else str(path)
    plain = Path(text).read_text(encoding="utf-8")
    marked, latin, wide = (tmp_path / name for name in ("marked.yaml", "latin.yaml", "wide.yaml"))
    marked.write_text(plain, encoding="utf-8-sig")
    latin.write_bytes("title: Größe".encode("latin-1"))
    wide.write_text(plain, encoding="utf-16")
    assert read_study(str(marked)).title == "Größe"
    for other in (latin, wide):
        with pytest.raises(InputError) as caught:
            read_study(str(other))
        assert all(word in str(caught.value) for word in (other.name, "UTF-8"))


def test_quick_lies_over_the_rest(tmp_path):
    quick = {"repetitions": 2, "settings": {"max_epochs": 1}, "explain": {"lrp": None, "grad": {"method": "saliency"}}}
    path = declared(tmp_path / "mine.yaml", quick=quick)
    assert read_study(path).repetitions == 1
    study = read_study(path, quick=True)
    assert study.repetitions == 2
    assert study.settings == {**SMALL["settings"], "max_epochs": 1}
    assert list(study.explain) == ["grad"]
    with pytest.raises(InputError, match="no block 'quick'"):
        read_study(declared(tmp_path / "other.yaml"), quick=True)


def test_merging_replaces_all_but_mappings():
    assert merged({"a": [1, 2], "b": {"c": 1, "d": 2}}, {"a": [3], "b": {"c": None}}) == {"a": [3], "b": {"d": 2}}


def test_an_unknown_study_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="unknown study 'boehle'"):
        read_study("boehle")
    with pytest.raises(InputError, match="no such file"):
        read_study("absent.yaml")
    with pytest.raises(InputError, match="unknown study"):
        text_of("../../setup")


def test_what_is_written_as_json_is_read_again(tmp_path):
    from dataclasses import asdict

    study = read_study(declared(tmp_path / "mine.yaml"))
    assert study_of(yaml.safe_load(yaml.safe_dump(asdict(study))), "again") == study


def test_the_study_in_the_docs_can_be_read(tmp_path):
    import re

    from helpers.bundles import REPOSITORY

    page = (REPOSITORY / "docs/how-to/studies.md").read_text()
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    study = read_study(str(path))
    assert study.settings["learning_rate"] == 1e-4
    check_cohortless(study)


def check_cohortless(study):
    """All but the cohort's folder, which the reader has."""
    from dataclasses import replace

    from neuroxai.studies import CohortSource, check

    simulate = {"effect": "atrophy", "subjects": 12, "spacing": 5}
    check(replace(study, cohorts={"main": CohortSource(simulate)}))
