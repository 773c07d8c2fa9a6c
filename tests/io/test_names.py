from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroxai.errors import InputError
from neuroxai.io.names import BidsName, entity, identity_of, session_id, without_run

_LABELS = st.text("abzABZ0129", min_size=1, max_size=4)
_KEYS = st.text("abcxyz", min_size=3, max_size=5).filter(lambda key: key not in ("sub", "ses", "run"))
_NAMES = st.builds(
    BidsName,
    st.one_of(st.just(""), _LABELS.map("sub-{}".format)),
    st.builds(session_id, st.none() | _LABELS, st.none() | _LABELS),
    st.dictionaries(_KEYS, _LABELS | st.just(""), max_size=4),
    _LABELS,
    st.sampled_from((".nii.gz", ".nii", ".json", ".tsv", "")),
)


@given(_NAMES)
def test_a_name_is_read_as_it_was_built(name):
    assert BidsName.parse(str(name)) == name


@given(_NAMES, _LABELS)
def test_the_readers_of_single_entities_agree_with_the_whole_name(name, label):
    other = name.replaced(desc=label)
    assert entity(str(other), "desc") == label
    assert name.replaced(desc=None).replaced(desc=label, suffix=name.suffix).entities["desc"] == label
    if name.participant:
        assert identity_of(str(name).removesuffix(name.extension)) == (name.participant, name.session)


def test_a_replaced_entity_stays_in_its_place_and_a_new_one_comes_last():
    name = BidsName.parse("sub-01_ses-1_run-2_space-network_desc-lrpZero_heatmap.nii.gz")
    assert (name.participant, name.session) == ("sub-01", "ses-1_run-2")
    assert str(name.replaced(space="orig")) == "sub-01_ses-1_run-2_space-orig_desc-lrpZero_heatmap.nii.gz"
    assert name.replaced("regions", ".tsv", desc=None, res="2").place == (
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_space-network_res-2_regions.tsv"
    )


def test_any_name_has_a_suffix_and_some_identity():
    assert BidsName.parse("brain.nii") == BidsName("", "", {}, "brain", ".nii")
    assert str(BidsName.parse("sub-1_my_scan.nii.gz")) == "sub-1_my_scan.nii.gz"
    assert identity_of("IM 0001") == ("sub-IM0001", "")
    assert (without_run("ses-1_run-2"), without_run("run-2"), without_run("")) == ("ses-1", None, None)
    with pytest.raises(InputError):
        identity_of("sub-1_sub-2_T1w")
