"""JSON of the wrong shape is refused by one error that says what the file should have been."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError, SpaceError
from neuroxai.io import parse_pairs, read_json, read_object
from neuroxai.space import Space

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "shape", "affine"]), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "is no datalist (holds a list, expected an object)"),
        ("null", "holds null"),
        ("3", "holds a number"),
        ('"x"', "holds a text"),
        ("{}", "has no 'classes'"),
        ('{"classes": null}', "'classes' is null, expected a list"),
        ('{"classes": {"0": "CN"}}', "'classes' is an object, expected a list"),
        ('{"classes": [], "space": 1}', "'space' is a number, expected an object"),
        ("", "is not valid JSON"),
        ('{"classes": [], "classes": ["CN", "AD"]}', "key 'classes' stands 2 times in one object, expected once"),
        ('{"classes": [{"label": 1, "a": 0, "label": 1}]}', "key 'label' stands 2 times"),
        ("[" * 100_000, "is not valid JSON"),
        ("9" * 10_000, "is not valid JSON"),
    ],
)
def test_each_wrong_shape_is_named(tmp_path, text, words):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_object(path, "datalist", {"classes": list}, {"space": dict})
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    path.write_bytes(b"\xff\xfe{\x00}\x00")
    with pytest.raises(InputError, match="is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["a=1", " b =x", "c=", "d=[1]", "e=a=b"], {"a": 1, "b": "x", "c": "", "d": [1], "e": "a=b"}),
        (["a=1", "a=2"], "option 'a' is given twice"),
        (['a={"b":1,"b":2}'], "option 'a': key 'b' stands 2 times"),
        (["a=" + "[" * 100_000], "option 'a': "),
        (["a=" + "9" * 5_000], "option 'a': "),
        (["=1"], "option '=1' is not NAME=VALUE"),
    ],
)
def test_pairs_of_the_command_line(pairs, expected):
    if isinstance(expected, dict):
        assert parse_pairs(pairs, "option") == expected
    else:
        with pytest.raises(InputError, match=re.escape(expected)):
            parse_pairs(pairs, "option")


@given(VALUES)
def test_any_json_is_taken_or_refused(tmp_path, value):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    try:
        found = read_object(path, "thing", {"a": list}, {"b": dict})
    except InputError:
        assert not (isinstance(value, dict) and isinstance(value.get("a"), list) and "b" not in value)
    else:
        assert found == value
        assert isinstance(found["a"], list)
    with pytest.raises(SpaceError):
        Space.from_dict(value)
