from __future__ import annotations

import logging
import re
import warnings
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest

from neuroxai.atlas import load
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import read_labels, write_volume
from neuroxai.space import Space, Volume

SPACE = Space((5, 1, 1), np.eye(4))
# One table of three regions in each format, all naming 3, 130 and 40000.
TABLES = {
    "bids.tsv": "index\tname\tcolour\n0\tBackground\t#000\n3\tLeft A\t#f00\n130\tRight A\t#0f0\n40000\tB, deep\t#00f\n",
    "bids_name_first.tsv": "name\tabbreviation\tindex\nLeft A\tla\t3\nRight A\tra\t130\nB, deep\tb\t40000.0\n",
    "columns.csv": 'Index,Code,Name\n3,x,Left A\n130,y,Right A\n40000,z,"B, deep"\n',
    "freesurfer.txt": (
        "#No. Label Name:\n0 Unknown 0 0 0 0\n\n3 Left A 1 2 3 0\n130  Right A  4 5 6 0\n40000 B, deep 0 0 0 0\n"
    ),
    "plain.txt": "3 Left A\n130\tRight A\n40000, B, deep\n",
    "itk.label": (
        "################\n# ITK-SnAP Label Description File\n################\n"
        '    0     0    0    0        0  0  0    "Clear Label"\n'
        '    3   255    0    0        1  1  1    "Left A"\n'
        '  130     0  255    0      0.5  1  1    "Right A"\n40000 0 0 255 1 1 1 "B, deep"\n'
    ),
    "spm.xml": (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<atlas version="2.0"><data><!-- c -->'
        "<label><index>3</index><name>Left A</name></label><label><index>130</index><name>Right A</name></label>"
        "<label><index>40000</index><name>B, deep</name></label></data></atlas>"
    ),
    "fsl_label.xml": (
        "<atlas><header><type>Label</type></header><data>"
        '<label index="0" x="0" y="0" z="0">Unclassified</label><label index="3" x="1">Left A</label>'
        '<label index="130">Right A</label><label index="40000">B, deep</label></data></atlas>'
    ),
    "fsl_maxprob.xml": (
        "<atlas><header><type>Probabilistic</type></header><data>"
        '<label index="2" x="1">Left A</label><label index="129">Right A</label>'
        '<label index="39999">B, deep</label></data></atlas>'
    ),
    "fsl_value.xml": (
        "<atlas><header><type>Probabilistic</type></header><data>"
        '<label index="0" value="3">Left A</label><label index="1" value="130">Right A</label>'
        '<label index="2" value="40000">B, deep</label></data></atlas>'
    ),
}


def image(folder, values=(0, 3, 130, 40000, 3), name="atlas.nii.gz", dtype=np.int32, space=SPACE):
    data = np.array(values).reshape(space.shape)
    return write_volume(folder / name, Volume(data, space), dtype=dtype)


@pytest.mark.parametrize("table", TABLES)
def test_every_format_gives_the_same_atlas(tmp_path, table):
    (tmp_path / table).write_text(TABLES[table], encoding="utf-8")
    atlas = load(image(tmp_path), tmp_path / table)
    assert dict(atlas.names) == {3: "Left A", 130: "Right A", 40000: "B, deep"}
    assert atlas.labels.ravel().tolist() == [0, 3, 130, 40000, 3]
    assert atlas.origin


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_windows_files_are_read(tmp_path, table, encoding):
    text = TABLES[table].replace("Left A", "Left Ä").replace("\n", "\r\n")
    (tmp_path / table).write_bytes(text.encode(encoding))
    assert load(image(tmp_path), tmp_path / table).names[3] == "Left Ä"


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint16])
def test_storage_type_does_not_matter(tmp_path, dtype):
    atlas = load(image(tmp_path, dtype=dtype))
    assert list(atlas.names) == [3, 130, 40000]
    assert atlas.labels.dtype == np.int32


def test_without_a_table_regions_are_named_by_value(tmp_path):
    assert load(image(tmp_path, (0, 17, 17, 2, 0))).names == {2: "region 2", 17: "region 17"}


@pytest.mark.parametrize("end", [".tsv", ".xml", ".txt"])
def test_table_beside_the_image_is_found(tmp_path, end):
    table = {".tsv": "bids.tsv", ".xml": "fsl_maxprob.xml", ".txt": "plain.txt"}[end]
    (tmp_path / f"atlas{end}").write_text(TABLES[table])
    (tmp_path / "other.txt").write_text("3 Wrong\n")
    assert load(image(tmp_path)).names[130] == "Right A"


def test_names_without_voxels_stay_and_shift_nothing(tmp_path):
    (tmp_path / "t.txt").write_text("1 a\n2 b\n3 c\n4 d\n")
    atlas = load(image(tmp_path, (0, 4, 4, 2, 0)), tmp_path / "t.txt")
    assert dict(atlas.names) == {1: "a", 2: "b", 3: "c", 4: "d"}
    assert atlas.counts().tolist() == [0, 1, 0, 2]


def test_a_general_colour_table_names_only_what_is_there(tmp_path):
    (tmp_path / "lut.txt").write_text("0 Unknown 0 0 0 0\n3 a 1 1 1 0\n17 b 1 1 1 0\n")
    assert dict(load(image(tmp_path, (0, 3, 3, 0, 0)), tmp_path / "lut.txt").names) == {3: "a"}


def test_labels_without_names_are_named_by_value_and_told(tmp_path):
    (tmp_path / "t.txt").write_text("3 a\n130 ?\n")
    with pytest.warns(UserWarning, match=r"no name .*\(130, 40000\)"):
        atlas = load(image(tmp_path), tmp_path / "t.txt")
    assert dict(atlas.names) == {3: "a", 130: "region 130", 40000: "region 40000"}


def test_duplicate_names_are_told_apart_by_value(tmp_path):
    (tmp_path / "t.txt").write_text("3 Hippocampus\n130 hippocampus\n40000 b\n")
    with pytest.warns(UserWarning, match="labels 3, 130 share their names"):
        atlas = load(image(tmp_path), tmp_path / "t.txt")
    assert dict(atlas.names) == {3: "Hippocampus (3)", 130: "hippocampus (130)", 40000: "b"}


def test_background_names_become_background(tmp_path):
    (tmp_path / "t.txt").write_text("3 a\n130 Unknown\n40000 b\n")
    atlas = load(image(tmp_path), tmp_path / "t.txt")
    assert dict(atlas.names) == {3: "a", 40000: "b"}
    assert atlas.labels.ravel().tolist() == [0, 3, 0, 40000, 3]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3 a\n3 b\n130 c\n40000 d\n", "index 3 has two names, 'a' and 'b'"),
        ("1 a\n2 b\n", r"names none of the labels.*\(3, 130, 40000\)"),
        ("hello\nworld\n", "no known format.*FSL XML"),
        ("", "no known format"),
        ("index\tname\n1.5\ta\n", "'1.5'.*not a whole number"),
        ("index\tname\n1\n", "line 2 has fewer columns"),
        ("<atlas><label index='1'>a</label>", "not valid XML"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><atlas><label index='1'>&a;</label></atlas>", "document type"),
        (
            "<atlas><header><type>Statistic</type></header><label index='1'>a</label></atlas>",
            "'statistic'.*Probabilistic",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, words):
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match=words) as error:
        load(image(tmp_path), tmp_path / "t.txt")
    assert "t.txt" in str(error.value)


def test_fsl_xml_that_does_not_explain_the_image_is_refused_not_shifted(tmp_path):
    rows = "".join(f"<label index='{i}'>r{i}</label>" for i in range(3))
    for kind, values in (("Probabilistic", (0, 1, 2, 4, 0)), ("Label", (0, 1, 2, 3, 0))):
        (tmp_path / "t.xml").write_text(f"<atlas><header><type>{kind}</type></header><data>{rows}</data></atlas>")
        with pytest.raises(InputError, match="have no name"):
            load(image(tmp_path, values), tmp_path / "t.xml")
    # a label atlas may not name the background
    with pytest.raises(InputError, match="index 0 is the region 'r0'"):
        load(image(tmp_path, (0, 1, 2, 0, 0)), tmp_path / "t.xml")


def test_absent_table_and_absent_image(tmp_path):
    with pytest.raises(InputError, match="no such label table"):
        load(image(tmp_path), tmp_path / "no.tsv")
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "no.nii.gz")


def test_maps_and_negative_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"0\.5"):
        load(image(tmp_path, (0, 0.5, 1, 0, 0), dtype=np.float32))
    with pytest.raises(InputError, match="-2"):
        load(image(tmp_path, (0, -2, 1, 0, 0)))


def test_probabilistic_image_is_refused_with_the_way_out(tmp_path):
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3, 2), np.float32), np.eye(4)), tmp_path / "p.nii.gz")
    with pytest.raises(SpaceError, match="maximum-probability image"):
        load(tmp_path / "p.nii.gz")


def test_big_endian_image(tmp_path):
    import nibabel as nib

    data = np.array([0, 200, 5, 31000], dtype=">i2").reshape(4, 1, 1)
    nib.save(nib.Nifti1Image(data, np.eye(4), nib.Nifti1Header(endianness=">")), tmp_path / "b.nii")
    assert list(load(tmp_path / "b.nii").names) == [5, 200, 31000]


@pytest.mark.parametrize("kind", ["u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("form", ["Nifti1", "Nifti2"])
def test_any_byte_order_and_type_keeps_values_and_places(tmp_path, kind, order, form):
    import nibabel as nib

    values = [0, 128, 255, 256, 32768, 65535]
    header = getattr(nib, f"{form}Header")(endianness=order)
    data = np.array(values, dtype=order + kind).reshape(6, 1, 1)
    nib.save(getattr(nib, f"{form}Image")(data, np.eye(4), header), tmp_path / "b.nii.gz")
    (tmp_path / "b.txt").write_text("".join(f"{v} region of {v}\n" for v in reversed(values[1:])))
    atlas = load(tmp_path / "b.nii.gz")
    assert atlas.labels.ravel().tolist() == values
    assert dict(atlas.names) == {v: f"region of {v}" for v in values[1:]}


def test_labels_that_wrapped_around_are_refused(tmp_path):
    import nibabel as nib

    for kind, value in ((np.int8, 130), (np.int16, 40000)):
        data = np.array([0, 1, value]).astype(kind).reshape(3, 1, 1)
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "w.nii.gz")
        with pytest.raises(InputError, match="holds the label -"):
            load(tmp_path / "w.nii.gz")


def test_an_image_without_labels_is_refused(tmp_path):
    with pytest.raises(InputError, match="every voxel is 0"):
        load(image(tmp_path, (0, 0, 0, 0, 0)))


def test_bids_missing_names_are_no_names(tmp_path):
    (tmp_path / "t.tsv").write_text("index\tname\n3\ta\n130\tn/a\n40000\tb\n9\tn/a\n")
    with pytest.warns(UserWarning, match=r"no name .*\(130\)"):
        atlas = load(image(tmp_path), tmp_path / "t.tsv")
    assert dict(atlas.names) == {3: "a", 130: "region 130", 40000: "b"}


# Real atlases: name, table, a check that value and name belong together, and where regions must be.

REAL = {
    "HarvardOxford-sub-maxprob-thr25-1mm": ("HarvardOxford-Subcortical.xml", 21, "value = index + 1"),
    "HarvardOxford-sub-maxprob-thr25-2mm": ("HarvardOxford-Subcortical.xml", 21, "value = index + 1"),
    "HarvardOxford-cort-maxprob-thr25-1mm": ("HarvardOxford-Cortical.xml", 48, "value = index + 1"),
    "HarvardOxford-cort-maxprob-thr25-2mm": ("HarvardOxford-Cortical.xml", 48, "value = index + 1"),
    "JHU-ICBM-labels-1mm": ("JHU-labels.xml", 48, "value = index (index 0 is 'Unclassified')"),
    "JHU-ICBM-labels-2mm": ("JHU-labels.xml", 48, "value = index (index 0 is 'Unclassified')"),
    "JHU-ICBM-tracts-maxprob-thr25-1mm": ("JHU-tracts.xml", 20, "value = index + 1"),
    "JHU-ICBM-tracts-maxprob-thr25-2mm": ("JHU-tracts.xml", 20, "value = index + 1"),
    "MNI-maxprob-thr25-1mm": ("MNI.xml", 9, "value = index + 1"),
    "MNI-maxprob-thr25-2mm": ("MNI.xml", 9, "value = index + 1"),
    "labels_Neuromorphometrics": (None, 136, "SPM XML, value = index"),
}


@cache
def real_atlas(real_data, name):
    table = REAL[name][0]
    folder = real_data / "atlases"
    return load(folder / f"{name}.nii.gz", folder / table if table else None)


@pytest.mark.real
# a grid of 1 mm takes eight times as long as one of 2 mm
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.full(0)) if "1mm" in n else n for n in REAL])
def test_real_atlas_reads_with_its_rule(real_data, name, caplog):
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "neuroxai.atlas"):
        warnings.simplefilter("error")
        atlas = real_atlas.__wrapped__(real_data, name)
    assert len(atlas.names) == REAL[name][1]
    assert REAL[name][2] in atlas.origin
    assert REAL[name][2] in caplog.text
    assert (atlas.counts() > 0).all()
    assert atlas.share_outside_mni152() < 0.01
    image_path = real_data / "atlases" / f"{name}.nii.gz"
    assert np.array_equal(atlas.labels, read_labels(image_path).data)


@pytest.mark.real
@pytest.mark.parametrize("name", [n for n in REAL if "1mm" in n or "2mm" in n])
def test_fsl_names_lie_where_the_xml_points(real_data, name):
    # each <label> carries a voxel of the 1 mm or 2 mm image that stands for its region: an oracle beside the offset
    atlas = real_atlas(real_data, name)
    root = ElementTree.parse(real_data / "atlases" / REAL[name][0]).getroot()
    spots = {re.sub(r"\s+", " ", e.text).strip(): [int(e.get(a)) for a in "xyz"] for e in root.iter("label")}
    spots = {name: spot for name, spot in spots.items() if name in atlas.names.values()}
    # the voxels are those of the 1 mm or of the 2 mm image, whichever the file was made on
    made_on = 1 if max(max(spot) for spot in spots.values()) > 109 else 2
    indices = {
        region: np.rint(np.array(s) * made_on / atlas.space.spacing[0]).astype(int) for region, s in spots.items()
    }

    def share(shift):
        hits = [names_near(atlas, index, shift) == region for region, index in indices.items()]
        return np.mean(hits)

    assert share(0) > 0.8
    assert max(share(1), share(-1)) < 0.2


def names_near(atlas, index, shift):
    """Name of the label nearest to a voxel, were the values counted `shift` off."""
    low = np.maximum(index - 4, 0)
    window = atlas.labels[tuple(slice(a, i + 5) for a, i in zip(low, index, strict=True))]
    places = np.argwhere(window > 0)
    if len(places) == 0:
        return None
    nearest = places[np.argmin(np.linalg.norm(places + low - index, axis=1))]
    return atlas.names.get(int(window[tuple(nearest)]) + shift)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "region", "expected", "within"),
    [
        ("HarvardOxford-sub-maxprob-thr25-1mm", "Left Hippocampus", (-25, -20, -15), 5),
        ("HarvardOxford-sub-maxprob-thr25-1mm", "Right Hippocampus", (25, -20, -15), 5),
        ("HarvardOxford-sub-maxprob-thr25-1mm", "Left Amygdala", (-23, -5, -18), 4),
        ("HarvardOxford-sub-maxprob-thr25-1mm", "Right Caudate", (13, 10, 10), 4),
        ("HarvardOxford-sub-maxprob-thr25-1mm", "Brain-Stem", (0, -31, -34), 5),
        ("labels_Neuromorphometrics", "Left Hippocampus", (-25, -20, -15), 6),
        ("labels_Neuromorphometrics", "Right Hippocampus", (25, -20, -15), 6),
        ("labels_Neuromorphometrics", "Left Amygdala", (-23, -5, -18), 5),
        ("JHU-ICBM-labels-1mm", "Genu of corpus callosum", (0, 26, 7), 5),
        ("JHU-ICBM-labels-1mm", "Splenium of corpus callosum", (0, -40, 18), 6),
        ("JHU-ICBM-labels-1mm", "Posterior limb of internal capsule L", (-25, -15, 10), 8),
        ("JHU-ICBM-tracts-maxprob-thr25-1mm", "Forceps minor", (0, 45, 8), 15),
        ("JHU-ICBM-tracts-maxprob-thr25-1mm", "Corticospinal tract R", (20, -22, 10), 10),
        ("MNI-maxprob-thr25-2mm", "Cerebellum", (0, -60, -38), 6),
    ],
)
def test_regions_are_where_anatomy_has_them(real_data, name, region, expected, within):
    atlas = real_atlas(real_data, name)
    centre = atlas.centroids()[list(atlas.names).index(atlas.value(region))]
    assert np.linalg.norm(centre - expected) < within


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["HarvardOxford-sub-maxprob-thr25-1mm", "labels_Neuromorphometrics", "JHU-ICBM-labels-1mm"]
)
def test_left_is_left_in_every_named_pair(real_data, name):
    from neuroxai.atlas.sides import split_side

    atlas = real_atlas(real_data, name)
    sides = [split_side(region)[0] for region in atlas.names.values()]
    assert sides.count("left") == sides.count("right") >= 10
    for side, x in zip(sides, atlas.centroids()[:, 0], strict=True):
        assert side == "" or (x < -1) == (side == "left"), (side, x)


@pytest.mark.real
def test_derived_aseg_has_question_marks_for_names(real_data):
    folder = real_data / "atlases"
    with pytest.warns(UserWarning, match=r"no name .*\(30, 62, 85\)"):
        atlas = load(folder / "derived_aseg_from_SynthSeg20_MNI_2mm.nii.gz", folder / "derived_aseg_labels.tsv")
    assert atlas.names[85] == "region 85"
    assert 57 not in atlas.names
    centre = atlas.centroids()[list(atlas.names).index(17)]
    assert np.linalg.norm(centre - (-25, -20, -15)) < 5


@pytest.mark.real
def test_lost_origin_is_told(real_data):
    with pytest.warns(UserWarning, match=r"outside the brain's place in MNI152 .*0\.0, 0\.0.* header is wrong"):
        load(real_data / "atlases" / "JHU_MNI_SS_WMPM_Type-III_BADHEADER.nii.gz")


@pytest.mark.real
def test_wrong_table_is_refused(real_data):
    folder = real_data / "atlases"
    # 48 labels under 21 names, by the same offset
    with pytest.raises(InputError, match="have no name"):
        load(folder / "HarvardOxford-cort-maxprob-thr25-2mm.nii.gz", folder / "HarvardOxford-Subcortical.xml")
