"""Label tables of other programs, fitted to the values that an image holds; right answers were read off by eye."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from neuroxai.atlas import load
from neuroxai.atlas.label_tables import read_table
from neuroxai.atlas.readers import AtlasWarning
from neuroxai.atlas.sides import hemispheres
from neuroxai.errors import DimensionsError, InputError
from neuroxai.io import write_volume
from neuroxai.space import Space, Volume

TWO = {1: "Left A", 2: "Right A"}
AAL = "1 Precentral_L 2001\n2 Precentral_R 2002\n3 Frontal_Sup_L 2101\n"

# what it is: text, and the names of the image's values
READ = {
    "FSLeyes": (
        "0  0. 0. 0. Unknown\n1  0.00000 0.93333 0.00000 Frontal Pole\n14 0.8 0.71372549 1. 3rd Gyrus, pars x\n",
        {1: "Frontal Pole", 14: "3rd Gyrus, pars x"},
    ),
    "FastSurfer": (
        "ID\tLabelName\tR\tG\tB\tA\n0\tBackground\t0\t0\t0\t0\n2\tLeft-WM\t245\t245\t245\t0\n41\tRight-WM\t1\t2\t3\t0\n",
        {2: "Left-WM", 41: "Right-WM"},
    ),
    "AtlasPack": (
        "index\tlabel\tnetwork_label\tindex_17network\tlabel_17network\n1\tLH_Vis_1\tVis\t3.0\t17Networks_LH_B\n"
        "2\tRH_Vis_1\tVis\t1.0\t17Networks_LH_A\n3\tLH-Pu\tn/a\tn/a\tn/a\n",
        {1: "LH_Vis_1", 2: "RH_Vis_1", 3: "LH-Pu"},
    ),
    "CAT12": (
        "ROIid;ROIabbr;ROIname;ROIcolor\n1;lPreCG;Left Precentral, gyrus;203 142 203\n2;rPreCG;Right Precentral;2 1\n",
        {1: "Left Precentral, gyrus", 2: "Right Precentral"},
    ),
    "Slicer ctbl": (
        "# Color table file C:/x.ctbl\n# 3 values\n0 Background 0 0 0 0\n1 left_a 128 17 128 9\n2 right_a 1 2 3 9\n",
        {1: "left_a", 2: "right_a"},
    ),
    "CerebrA": (
        "Mindboggle ID,Label Name,RH Label,LH Labels,Notes\n2005,Cuneus,43,94,\n0,Brainstem,5,,\n0,Optic Chiasm,7,7,\n",
        {5: "Brainstem", 7: "Optic Chiasm", 43: "Cuneus (right)", 94: "Cuneus (left)"},
    ),
    "names for each side": ("index,left_label,right_label,name\n1,LA,RA,A\n2,LB,RB,B\n", {1: "A", 2: "B"}),
    "Slicer csv": (
        "LabelValue,Name,Color_R,Color_G,Color_B,Color_A,Category_CodingScheme\n1,Left A,1,2,3,255,SCT\n"
        "2,Right A,1,2,3,255,SCT\n",
        TWO,
    ),
    "MRtrix": (
        "# c\n\n0     ???      Unknown   0 0 0 0\n1     L.TH     Left-Thalamus   0 118 14 255\n"
        "1     L.TH     Left-Thalamus-Proper   0 118 14 255\n2     R.TH     Right-Thalamus   0 118 14 255\n",
        {1: "Left-Thalamus", 2: "Right-Thalamus"},
    ),
    "MRtrix without abbreviations": (
        "0 Unknown\n6     Left-Thalamus\n6     Left-Thalamus-Proper\n7     Right-Thalamus\n",
        {6: "Left-Thalamus", 7: "Right-Thalamus"},
    ),
    "workbench": ("Left A\n1 255 0 0 255\n# Right A\n2 3 4 5 255\n", {1: "Left A", 2: "# Right A"}),
    "trailing commas": ("index,name,,\n1,Left A,,\n2,Right A,,\n,,,\n", TWO),
    "trailing commas, no header": ("1,Left A,,\n2,Right A,,\n", TWO),
    "AAL, running number": (AAL, {1: "Precentral_L", 2: "Precentral_R", 3: "Frontal_Sup_L"}),
    "AAL, code": (AAL, {2001: "Precentral_L", 2002: "Precentral_R", 2101: "Frontal_Sup_L"}),
    "AAL, tabs": (AAL.replace(" ", "\t"), {2001: "Precentral_L", 2002: "Precentral_R", 2101: "Frontal_Sup_L"}),
    "AAL, in words": ("Anatomical-region-name(*) Gray-level\nX_L 2001\nX_R 2002\n", {2001: "X_L", 2002: "X_R"}),
    "AAL3": ("1 X_L 1\n2 X_R 2\n4 Y_L 4\n", {1: "X_L", 2: "X_R", 4: "Y_L"}),
    "AAL3 with gaps": ("1 X_L 1\n2 X_R 2\n37 Y_L 41\n", {1: "X_L", 2: "X_R", 41: "Y_L"}),
    "numbers are names": ("1 Area 44\n2 Area 45\n", {1: "Area 44", 2: "Area 45"}),
    "numbers belong to names": ("1 Vermis 3\n2 Crus 1\n", {1: "Vermis 3", 2: "Crus 1"}),
    "index last": ("Left A,1\nRight A,2\n", TWO),
    "roi_value": ("index,roi_name,roi_value\n0,Left A,1\n1,Right A,2\n", TWO),
    "two numbers": ("row,region,roi_value\n1,Left A,7\n2,Right A,9\n", {7: "Left A", 9: "Right A"}),
    "a title above": (
        "subregion_func\nLabel,subregion_name,region,Yeo_7network,,\n1,A8m,SFG_L_7_1,6,,\n2,A8m,SFG_R_7_1,4,,\n",
        {1: "SFG_L_7_1", 2: "SFG_R_7_1"},
    ),
    "a column of hemispheres": (
        "index,name,hemisphere\n1,Caudate,L\n2,Caudate,R\n3,Stem,bilateral\n",
        {1: "Caudate (left)", 2: "Caudate (right)", 3: "Stem"},
    ),
    "Julich-Brain": (
        '<Structures><Structure grayvalue="1" id="7">Area 4p left</Structure>'
        '<Structure grayvalue="2" id="8">Area 4p right</Structure></Structures>',
        {1: "Area 4p left", 2: "Area 4p right"},
    ),
    "FSL, background under another name": (
        '<atlas><header><type>Label</type></header><data><label index="0">*.*.*</label><label index="1">Left B.*'
        "</label></data></atlas>",
        {1: "Left B.*"},
    ),
    "JSON": ('{"1": "Left A", "2": "Right A"}', TWO),
    "JSON by name": ('{"background": 0, "Left A": 1, "Right A": 2}', TWO),
    "YAML": ("1: 'Left A'\n2: 'Right A'\n", TWO),
    "names alone": ("HIP-rh\nAMY-rh\nHIP-lh\n", {1: "HIP-rh", 2: "AMY-rh", 3: "HIP-lh"}),
    "names alone with the background": ("Background\nLeft A\nRight A\n", TWO),
    "one line": ("1 Left A 2 Right A 3 B", {**TWO, 3: "B"}),
    "one line, marks": ("1:Left A;2:Right A", TWO),
    "one line, commas": ("1,Left A,2,Right A", TWO),
    "one line, index last": ("Left A=1, Right A=2", TWO),
    "one line, code": ("1 X_L 2001 2 X_R 2002", {2001: "X_L", 2002: "X_R"}),
    "one line, numbers are names": ("1 Area 44 2 Area 45", {1: "Area 44", 2: "Area 45"}),
    "one label": ("1 Lesion 2b\n", {1: "Lesion 2b"}),
    "blanks and a header": ("id label network\n1 X_L Vis\n2 X_R Mot\n", {1: "X_L", 2: "X_R"}),
    "headings in another language": ("Wert;Bezeichnung\n1;Left A\n2;Right A\n", TWO),
    "UTF-16": ("index\tname\n1\tLeft Ä\n2\tRight A\n", {1: "Left Ä", 2: "Right A"}),
}

ZERO = {
    "BIDS": "index\tname\n0\ta\n1\tb\n2\tc\n",
    "csv": "0,a\n1,b\n2,c\n",
    "plain": "0 a\n1 b\n2 c\n",
    "FreeSurfer": "0 a 1 2 3 0\n1 b 1 2 3 0\n2 c 1 2 3 0\n",
    "FSLeyes": "0 .1 .2 .3 a\n1 .1 .2 .3 b\n2 .1 .2 .3 c\n",
    "ITK-SNAP": "".join(f'{i} 0 0 0 0 0 0 "{n}"\n' for i, n in enumerate("abc")),
    "SPM": "<x>" + "".join(f"<label><index>{i}</index><name>{n}</name></label>" for i, n in enumerate("abc")) + "</x>",
    "workbench": "a\n0 1 2 3 4\nb\n1 1 2 3 4\nc\n2 1 2 3 4\n",
    "CAT12": "ROIid;ROIabbr;ROIname\n0;x;a\n1;y;b\n2;z;c\n",
    "JSON": '{"0": "a", "1": "b", "2": "c"}',
}


def table(folder, text, encoding="utf-8"):
    path = folder / "t.txt"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("form", READ)
def test_tables_of_other_programs(tmp_path, form):
    text, names = READ[form]
    found = read_table(table(tmp_path, text, "utf-16" if form == "UTF-16" else "utf-8"), sorted(names))
    assert {value: found.names.get(value) for value in names} == names
    assert not found.shifted


@pytest.mark.parametrize("form", ZERO)
def test_a_table_that_counts_from_0_is_settled_by_the_values_or_refused(tmp_path, form):
    path = table(tmp_path, ZERO[form])
    up = read_table(path, [1, 2, 3])
    assert (up.names, up.shifted) == ({1: "a", 2: "b", 3: "c"}, True)
    assert "value = index + 1" in up.rule
    for values in ([1, 2], [2]):  # both readings name them
        with pytest.raises(InputError, match=r"two ways.*value = index .*value = index \+ 1.*'a'.*Background"):
            read_table(path, values)
    with pytest.raises(InputError, match="two ways"):
        read_table(path, [1, 4])
    named = table(
        tmp_path, ZERO[form].replace(">a<", ">NA<").replace('"a"', '"NA"').replace("a\n", "NA\n").replace(" a ", " NA ")
    )
    as_is = read_table(named, [1, 2])
    assert ({1: as_is.names[1], 2: as_is.names[2]}, as_is.shifted) == ({1: "b", 2: "c"}, False)


def test_a_shift_is_reported(tmp_path):
    image = write_volume(tmp_path / "a.nii.gz", Volume(np.arange(4).reshape(4, 1, 1), Space((4, 1, 1), np.eye(4))))
    with pytest.warns(AtlasWarning, match=r"counts from 0 while.*'a' is label 1"):
        atlas = load(image, table(tmp_path, ZERO["plain"]))
    assert dict(atlas.names) == {1: "a", 2: "b", 3: "c"}
    assert "value = index + 1" in atlas.origin


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('index,name\n1,"Left A\n2,Right A\n3,C"\n', "line 2: a quote is not closed"),
        ('index\tname\n1\tLeft A\n2\t"Right A\n', "line 3: a quote is not closed"),
        ('ROIid;ROIname\n1;"Left A\n2;Right A\n3;"C"\n', "line 2: a quote is not closed"),
        ('1 Left A\n2 "Right A\n3 C\n', "line 2: a quote is not closed"),
        ("index,name\n1,Left A, deep\n2,Right A\n3,C\n", "line 2 has 3 cells, the header has 2"),
        ("index,name,roi_value\n1,a,3\n2,b,1\n3,c,2\n", "two ways.*'roivalue'.*keep one"),
        ("index,name,mapping\n1,a,1\nx,b,2\n3,c,3\n", "line 3: index 'x'"),
        ("index,name,mapping\n1,a,1\n1,b,2\n3,c,3\n", "line 3: index 1 has two names, 'a' and 'b'"),
        ("index,name,mapping\n1,a,1\n2,b,2\n7,c,3\n", "two ways.*'mapping'"),
        ("1 ctx-lh-a\n1 ctx-lh-b\n2 c\n3 d\n", "line 2: index 1 has two names"),
        ("1 Left-X\n1 Left-X Right\n2 c\n3 d\n", "line 2: index 1 has two names"),
        ("1 Left 2 A 3 x 9", "hold a whole table"),
        ("index,aaa,bbb\n1,x,y\n2,z,w\n3,u,v\n", "no known format|call one 'name'"),
        ("index,name,hemi\n1,a left,L\n2,b right,L\n3,c,L\n", "line 3: 'b right' says right, .* says left"),
        ("0 Unknown\n" + "".join(f"{i} ctx-lh-{n}{i}\n" for n in "ab" for i in (1, 2, 3)), r"3 ind.*_labels\.txt"),
        ('{"1": {"name": "a"}}', "JSON gives no name"),
        (
            '[{"index": 1, "name": "a", "side": "left"}, {"index": 2, "name": "b", "side": "left"}]',
            "JSON gives no name",
        ),
        ('{"1": "a", "1": "b"}', "index 1 has two names"),
        ("1 a\n2 b\n99999999999 c\n", "above 2147483647"),
        ("9" * 5000 + " a\n2 b\n", "line 1: index '9999.* is not a whole number from 0 to 2147483647"),
        ("1 " + "L_" * 20000 + "\n2 b\n", r"line 1: the name 'L_L_.* has 40000 letters, expected at most 1000"),
        ("1_0 a\n2 b\n", "no known format"),
        ("a\nb\n", "no known format"),
        ("index\t" + "name\t" * 1000 + "\n1\ta\n", "names 1002 columns"),
        ("1 a\n" * 2**23, "33554432 bytes, expected at most"),
        ("index\tname\tlobe\tx\n1\ta\tb\n2\tc\td\n3\te\tf\n", "line 1 names 4 columns.*no row has more than 3"),
        ("1\ta\t9\n2\tb\t8\n3\tc\n", "line 3 has 2 cells, the others have 3"),
        ("1 a\n2 b\n3c\n", "line 3 is not in the form of the others"),
        ("1 a 1 2 3 0\n2 b 1 2 3 0\n3 c 1 2 x 0\n", "line 3 is not in the form of the others"),
        ("\0\0\0", "NUL"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        read_table(table(tmp_path, text), [1, 2, 3])


def test_a_list_of_another_number_of_regions_is_reported(tmp_path):
    image = write_volume(tmp_path / "a.nii.gz", Volume(np.arange(3).reshape(3, 1, 1), Space((3, 1, 1), np.eye(4))))
    lut = "".join(f"{i} 7Networks_LH_Vis_{i} 1 2 3 0\n" for i in range(1, 6))
    with pytest.warns(AtlasWarning, match=r"3 of its 5 .*\(3, 4, 5\)") as caught:
        load(image, table(tmp_path, lut))
    assert [w.message.kind for w in caught] == ["names without voxels"]


def test_a_probabilistic_atlas_is_refused_with_the_way_out(tmp_path):
    grid = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij")) - 9.5
    per_cent = np.rint(100 * np.exp(-(grid**2).sum(0) / 60)).astype(np.int16)
    one = write_volume(tmp_path / "one.nii.gz", Volume(per_cent, Space(per_cent.shape, np.eye(4))), dtype=np.int16)
    with pytest.raises(InputError, match=r"per cent.*maximum-probability"):
        load(one)
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.stack([per_cent] * 3, -1), np.eye(4)), tmp_path / "X-prob-2mm.nii.gz")
    with pytest.raises(DimensionsError, match=r"maximum-probability image .for example Harvard"):
        load(tmp_path / "X-prob-2mm.nii.gz")
    (tmp_path / "X-maxprob-thr25-2mm.nii.gz").write_bytes(b"")
    with pytest.raises(DimensionsError, match="beside it lies X-maxprob-thr25-2mm"):
        load(tmp_path / "X-prob-2mm.nii.gz")


def test_many_small_labels_are_no_map(tmp_path):
    blocks = np.kron(np.arange(1, 65).reshape(4, 4, 4), np.ones((3, 3, 3), int))
    image = write_volume(tmp_path / "b.nii.gz", Volume(blocks, Space(blocks.shape, np.eye(4))), dtype=np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load(image).names) == 64


@pytest.mark.parametrize(
    ("text", "names"),
    [
        # a column of sides, with names that would be told apart without it
        ("index,name,hemi\n1,hip,L\n2,amy,R\n3,stem,B\n", ["hip (left)", "amy (right)", "stem"]),
        (
            "index\tname\twhere\n1\thip\tlh\n2\tamy\trh\n3\tLeft nail\tleft\n",
            ["hip (left)", "amy (right)", "Left nail"],
        ),
        ("1;hip;L\n2;amy;R\n3;stem;-\n", ["hip (left)", "amy (right)", "stem"]),
        ("1\tR\thip\n2\tL\thip\n3\t\tstem\n", ["hip (right)", "hip (left)", "stem"]),
        # a letter for other things
        ("index,name,grade\n1,hip,L\n2,amy,X\n3,stem,R\n", ["hip", "amy", "stem"]),
        # one name that the other cuts short
        ("1 Left-Accumbens-a\n1 Left-Accumbens-area\n2 b\n3 c\n", ["Left-Accumbens-a", "b", "c"]),
    ],
)
def test_sides_in_a_column_of_their_own(tmp_path, text, names):
    found = read_table(table(tmp_path, text), [1, 2, 3]).names
    assert [found[value] for value in (1, 2, 3)] == names


def test_sides_alone_are_names_of_hemispheres():
    for left, right in (("L", "R"), ("l", "r"), ("lh", "rh"), ("Left", "Right")):
        assert hemispheres([left, right]) == {left: ("left", "hemisphere"), right: ("right", "hemisphere")}
    assert hemispheres(["L", "stem"]) == {"L": ("", "L"), "stem": ("", "stem")}
    assert hemispheres(["L1", "R1", "L12", "R12"])["R12"] == ("right", "12")


def pairs_image(folder, flip=1.0, block=False):
    """Twelve labels of 40 voxels: left and right in turn from front to back, or first all left ones."""
    data = np.zeros((40, 60, 10), int)
    for number in range(12):
        right, place = (number >= 6, number % 6) if block else (number % 2, number // 2)
        data[28 if right else 10 : 30 if right else 12, place * 9 : place * 9 + 4, 0:5] = number + 1
    affine = np.diag([2.0 * flip, 2, 2, 1])
    affine[:3, 3] = [-39 * flip, -60, 0]
    return write_volume(folder / "a.nii.gz", Volume(data, Space(data.shape, affine)))


IN_TURN = [f"{side}_{name}" for name in ("aa", "bb", "cc", "dd", "ee", "ff", "gg") for side in "LR"]
BLOCKS = [f"{side}_{name}" for side in "LR" for name in ("aa", "bb", "cc", "dd", "ee", "ff")] + ["R_gg"]


def test_what_the_values_leave_open_the_sides_settle(tmp_path):
    # 14 names from 0 on and 12 labels from 1 on: label 1 is "L_aa" at the left if the table counts from 0
    text = "".join(f"{index} {name}\n" for index, name in enumerate(IN_TURN))
    with pytest.warns(
        AtlasWarning, match=r"read in two ways; taken is .*value = index \+ 1.*'L_aa' is label 1"
    ) as caught:
        atlas = load(pairs_image(tmp_path), table(tmp_path, text))
    assert "table read by sides" in [w.message.kind for w in caught]
    assert "'L_aa' is label 1" in str(caught[0].message)
    assert [atlas.names[value] for value in range(1, 13)] == IN_TURN[:12]
    # an index in two columns: the second is one off
    text = "index,name,roi_value\n" + "".join(f"{i},{name},{i + 1}\n" for i, name in enumerate(IN_TURN[:12], 1))
    with pytest.warns(AtlasWarning, match="read in two ways"):
        atlas = load(pairs_image(tmp_path), table(tmp_path, text + "13,x,1\n"))
    assert [atlas.names[value] for value in range(1, 13)] == IN_TURN[:12]


@pytest.mark.parametrize("kind", ["mirrored header", "blocks", "no sides", "few"])
def test_where_sides_leave_a_doubt_the_table_is_refused(tmp_path, kind):
    names = {"blocks": BLOCKS, "no sides": [n[2:] + n[0].lower() for n in IN_TURN], "few": IN_TURN[:3]}.get(
        kind, IN_TURN
    )
    if kind == "no sides":
        names = [f"area {number}" for number in range(14)]
    text = "".join(f"{index} {name}\n" for index, name in enumerate(names))
    image = pairs_image(tmp_path, flip=-1.0 if kind == "mirrored header" else 1.0, block=kind == "blocks")
    with pytest.raises(InputError, match="can be read in two ways"):
        load(image, table(tmp_path, text))


def test_labels_called_unknown_are_counted(tmp_path):
    image = write_volume(tmp_path / "a.nii.gz", Volume(np.arange(4).reshape(4, 1, 1), Space((4, 1, 1), np.eye(4))))
    with pytest.warns(AtlasWarning, match=r"background \(labels 2: Unknown\), .*1 voxels"):
        atlas = load(image, table(tmp_path, "1 a\n2 Unknown\n3 c\n"))
    assert dict(atlas.names) == {1: "a", 3: "c"}
    with pytest.raises(InputError, match=r"calls every label of .* background"):
        load(image, table(tmp_path, "1 Unknown\n2 Unknown\n3 Background\n"))
