from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

from neuroxai.atlas import Atlas
from neuroxai.atlas.sides import hemispheres, is_background, is_no_region, split_side
from neuroxai.errors import InputError, SpaceError
from neuroxai.space import Space


def small(affine=None):
    labels = np.zeros((4, 3, 2), dtype=np.int16)
    labels[0, 0, 0] = labels[0, 1, 1] = 300
    labels[3, 2, 1] = 301
    labels[2, 0, 0] = 7
    return Atlas(
        labels,
        {301: "Left Amygdala", 300: "Right Amygdala", 7: "Brain-Stem", 40000: "Left Nowhere"},
        Space((4, 3, 2), np.diag([-2.0, 2, 2, 1]) if affine is None else affine),
    )


def test_names_are_ordered_by_value_and_absent_regions_stay():
    atlas = small()
    assert list(atlas.names) == [7, 300, 301, 40000]
    assert atlas.counts().tolist() == [1, 2, 1, 0]


def test_array_is_copied_and_read_only():
    labels = np.ones((1, 1, 1), dtype=np.int32)
    atlas = Atlas(labels, {1: "a"}, Space((1, 1, 1), np.eye(4)))
    labels[:] = 9
    assert atlas.labels.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        atlas.labels[0, 0, 0] = 2
    with pytest.raises(TypeError):
        atlas.names[1] = "b"  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["u1", ">i2", "<u2", "i4", ">u4", "i8", "u8"])
def test_any_integer_type_keeps_values(dtype):
    labels = np.array([[[0, 130, 255]]], dtype=dtype)
    atlas = Atlas(labels, {130: "a", 255: "b"}, Space((1, 1, 3), np.eye(4)))
    assert atlas.labels.tolist() == [[[0, 130, 255]]]
    assert atlas.labels.dtype == np.int32
    assert atlas.labels.dtype.isnative


def test_centroids_are_world_coordinates():
    atlas = small()
    # value 300 lies at voxels (0, 0, 0) and (0, 1, 1) of 2 mm, x reversed
    np.testing.assert_allclose(atlas.centroids()[1], (0, 1, 1))
    np.testing.assert_allclose(atlas.centroids()[2], (-6, 4, 2))
    assert np.isnan(atlas.centroids()[3]).all()


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        (np.zeros((1, 1, 1)), {}, "float64"),
        (np.full((1, 1, 1), -1), {}, "from -1"),
        (np.ones((1, 1, 1), int), {}, "label 1 has no name"),
        (np.ones((1, 1, 1), int), {1: "a", 2: "a"}, "share the name 'a'"),
        (np.zeros((1, 1, 1), int), {0: "Hippocampus"}, "value 0 is the background"),
        (np.full((1, 1, 1), 2**31), {2**31: "a"}, "2147483648"),
    ],
)
def test_refusals(labels, names, words):
    with pytest.raises(InputError, match=words):
        Atlas(labels, names, Space((1, 1, 1), np.eye(4)))


def test_wrong_shape_is_refused_with_both_shapes():
    with pytest.raises(SpaceError, match=r"\(2, 1, 1\).*\(1, 1, 1\)"):
        Atlas(np.zeros((2, 1, 1), int), {}, Space((1, 1, 1), np.eye(4)))


def test_merged_hemispheres_takes_the_lower_value():
    merged = small().merged_hemispheres()
    assert dict(merged.names) == {7: "Brain-Stem", 300: "Amygdala", 40000: "Left Nowhere"}
    assert merged.counts().tolist() == [1, 3, 0]
    assert merged.labels[3, 2, 1] == 300


@pytest.mark.parametrize(
    ("left", "right", "merged"),
    [
        ("Left Insula", "Right Insula", "Insula"),
        ("Left-Insula", "Right-Insula", "Insula"),
        ("L Insula", "R Insula", "Insula"),
        ("L_Insula_ROI", "R_Insula_ROI", "Insula_ROI"),
        ("lh-Insula", "rh-Insula", "Insula"),
        ("LH_Insula", "RH_Insula", "Insula"),
        ("ctx-lh-insula", "ctx-rh-insula", "ctx-insula"),
        ("ctx_lh_G_insular", "ctx_rh_G_insular", "ctx_G_insular"),
        ("wm-lh-insula", "wm-rh-insula", "wm-insula"),
        ("Insula_L", "Insula_R", "Insula"),
        ("Insula L", "Insula R", "Insula"),
        ("Insula (L)", "Insula (R)", "Insula"),
        ("Insula_left", "Insula_right", "Insula"),
        ("Insula, left", "insula, right", "Insula"),
        ("insula.lh", "insula.rh", "insula"),
        ("7Networks_LH_Vis_1", "7Networks_RH_Vis_1", "7Networks_Vis_1"),
        ("LH_Vis_1", "RH_Vis_1", "Vis_1"),
        ("SFG_L_7_1", "SFG_R_7_1", "SFG_7_1"),
        ("Precentral_L 2001", "Precentral_R 2002", "Precentral"),
        ("Area 44, left hemisphere", "Area 44, right hemisphere", "Area 44"),
        ("Area 44 hemisphere left", "Area 44 hemisphere right", "Area 44"),
        ("Left-VentralDC", "Right VentralDC", "VentralDC"),
        ("HIP-head-m1-lh", "HIP-head-m1-rh", "HIP-head-m1"),
        ("L G_and_S", "R G_and_S", "G_and_S"),
        ("af_l", "af_r", "af"),
        ("AG, L (BA 39)", "AG, R (BA 39)", "AG, (BA 39)"),
        ("lPreCG", "rPreCG", "PreCG"),
        ("InsulaL", "InsulaR", "Insula"),
        ("LeftInsula", "RightInsula", "Insula"),
        ("Left", "Right", "hemisphere"),
    ],
)
def test_every_style_of_side_is_merged(left, right, merged):
    labels = np.arange(4, dtype=int).reshape(4, 1, 1)
    atlas = Atlas(labels, {1: right, 2: "Lingual", 3: left}, Space((4, 1, 1), np.eye(4))).merged_hemispheres()
    assert {v: n.casefold() for v, n in atlas.names.items()} == {1: merged.casefold(), 2: "lingual"}
    assert atlas.labels.ravel().tolist() == [0, 1, 2, 1]


def test_what_has_no_other_side_is_not_merged():
    space = Space((5, 1, 1), np.eye(4))
    twice = {1: "Left X", 2: "left-X", 3: "Right X", 4: "Thalamus VL"}
    with pytest.raises(InputError, match=r"no two of the 4 regions.*Left X, left-X, Right X"):
        Atlas(np.arange(5).reshape(5, 1, 1), twice, space).merged_hemispheres()
    some = {1: "L_A", 2: "R_A", 3: "VL", 4: "VR"}
    assert dict(Atlas(np.arange(5).reshape(5, 1, 1), some, space).merged_hemispheres().names) == {1: "A", 3: "V"}
    few = {1: "Stem", 2: "Pons", 3: "VL", 4: "Vermis"}
    assert {side for side, _ in hemispheres(few.values()).values()} == {""}


def test_merged_name_never_takes_anothers():
    labels = np.arange(4, dtype=int).reshape(4, 1, 1)
    names = {1: "Left Cerebellum", 2: "Right Cerebellum", 3: "Cerebellum"}
    merged = Atlas(labels, names, Space((4, 1, 1), np.eye(4))).merged_hemispheres()
    assert dict(merged.names) == {1: "Cerebellum (left and right)", 3: "Cerebellum"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Left Hippocampus", ("left", "Hippocampus")),
        ("left hippocampus", ("left", "hippocampus")),
        ("Right-Thalamus-Proper", ("right", "Thalamus-Proper")),
        ("Cingulum (hippocampus) L", ("left", "Cingulum (hippocampus)")),
        ("Hippocampus_R", ("right", "Hippocampus")),
        ("R_V1_ROI", ("right", "V1_ROI")),
        ("lh.bankssts", ("left", "bankssts")),
        ("ctx-rh-insula", ("right", "ctx-insula")),
        ("ctx_lh_G_insular_short", ("left", "ctx_G_insular_short")),
        ("Insula (right)", ("right", "Insula")),
        ("Lingual gyrus", ("", "Lingual gyrus")),
        ("Leftover", ("", "Leftover")),
        ("Rolandic operculum", ("", "Rolandic operculum")),
        ("Layer l", ("", "Layer l")),
        ("Brain-Stem", ("", "Brain-Stem")),
        ("3rd Ventricle", ("", "3rd Ventricle")),
        ("7Networks_LH_Vis_1", ("left", "7Networks_Vis_1")),
        ("SFG_R_7_1", ("right", "SFG_7_1")),
        ("Left Cerebrum.Frontal Lobe.Gray Matter", ("left", "Cerebrum.Frontal Lobe.Gray Matter")),
        ("Area hOc1 (V1, 17, CalcS) - left hemisphere", ("left", "Area hOc1 (V1, 17, CalcS)")),
        ("Left-R", ("left", "R")),  # the reticular nucleus
        ("Right-L-Sg", ("right", "L-Sg")),
        ("lAMY-rh", ("right", "lAMY")),
        ("GM Superior parietal lobule 5L R", ("right", "GM Superior parietal lobule 5L")),
        ("Amygdala links", ("left", "Amygdala")),
        ("Left-right commissure", ("", "Left-right commissure")),
        ("Gyrus droit", ("", "Gyrus droit")),
        ("L'insula", ("", "L'insula")),
        ("Thalamus VL", ("", "Thalamus VL")),
        ("SFG_L_a", ("", "SFG_L_a")),
        ("L", ("", "L")),
    ],
)
def test_sides_by_name(name, expected):
    assert split_side(name) == expected


@pytest.mark.parametrize("name", ["Background", "unknown", "Clear Label", "Unclassified", "Unlabelled"])
def test_background_names(name):
    assert is_background(name)


@pytest.mark.parametrize("name", ["Background noise area", "Unknown nucleus", "Hippocampus", "ctx-lh-unknown"])
def test_other_names_are_no_background(name):
    assert not is_background(name)


@pytest.mark.parametrize(
    "name", ["", "???", "*.*.*.*.*", "NA", "n/a", "None", "Outside brain", "0", "unknown", "Medial_wall"]
)
def test_names_of_the_value_0_that_are_no_region(name):
    assert is_no_region(name)


@pytest.mark.parametrize(
    "name", ["Airway", "Left-Cerebral-Exterior", "Frontal pole", "Other side of the moon", "A", "44a"]
)
def test_regions_are_regions_at_0_too(name):
    assert not is_no_region(name)


def test_only_keeps_values_and_order():
    atlas = small().only(["left amygdala", "Brain-Stem"])
    assert dict(atlas.names) == {7: "Brain-Stem", 301: "Left Amygdala"}
    assert sorted(np.unique(atlas.labels)) == [0, 7, 301]


def test_only_refuses_an_unknown_name_and_offers_similar_ones():
    with pytest.raises(InputError, match=r"'Amygdala'.*Left Amygdala"):
        small().only(["Amygdala"])
    with pytest.raises(InputError, match=r"only\(\['Brain-Stem'\]\)"):
        small().only("Brain-Stem")


def test_resampling_keeps_world_places_over_flips_and_permutations():
    atlas = small()
    # LAS 4 x 3 x 2 seen as a grid whose axes are (A, I, R): exact, nothing may be lost
    turned = Space((3, 2, 4), np.array([[0, 0, 2, -6], [2, 0, 0, 0], [0, -2, 0, 2], [0, 0, 0, 1.0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = atlas.resampled_to(turned)
    assert other.counts().tolist() == atlas.counts().tolist()
    np.testing.assert_allclose(other.centroids(), atlas.centroids())
    assert not np.array_equal(other.labels.shape, atlas.labels.shape)


def test_resampling_warns_of_regions_that_disappear():
    with pytest.warns(UserWarning, match=r"2 of 4 regions .*: Brain-Stem, Left Amygdala;"):
        result = small().resampled_to(Space((1, 2, 2), np.diag([-2.0, 2, 2, 1])))
    assert list(result.names) == [7, 300, 301, 40000]


def test_share_outside_the_mni_brain():
    inside = np.eye(4)
    assert small(inside).share_outside_mni152() == 0
    outside = np.eye(4)
    outside[0, 3] = 100
    assert small(outside).share_outside_mni152() == 1


def test_pickles():
    atlas = pickle.loads(pickle.dumps(small()))
    assert dict(atlas.names) == dict(small().names)
    assert not atlas.labels.flags.writeable


def test_data_object_does_not_plot():
    assert not [name for name in dir(Atlas) if "plot" in name or "show" in name]
