from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from neuroxai.deformation import Displacement, grid_points, jacobian_determinant
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import Orientation
from neuroxai.preprocess.mapping import Mapping
from neuroxai.preprocess.qc import coverage, similarity
from neuroxai.preprocess.qc.flags import Flag, Thresholds, flags, thresholds
from neuroxai.preprocess.qc.measures import decompose, measure
from neuroxai.preprocess.template import Template
from neuroxai.space import Space, Volume

GRID = Space((24, 30, 22), np.array([[4.0, 0, 0, -46], [0, 4, 0, -60], [0, 0, 4, -40], [0, 0, 0, 1]]))
NATIVE = Space((64, 72, 60), np.array([[2.0, 0, 0, -60], [0, 2, 0, -70], [0, 0, 2, -58], [0, 0, 0, 1]]))
CODES = ["".join(c) for p in itertools.permutations(("LR", "PA", "IS")) for c in itertools.product(*p)]


def anatomy(points):
    """A lopsided T1w brain in the prepared world, mm: (intensity, inside)."""
    x, y, z = points
    radius = np.sqrt((x / 34) ** 2 + (y / 46) ** 2 + (z / 32) ** 2)
    inside = radius < 1
    # nowhere quite even, as no template is
    value = np.where(radius < 0.72, 104.0, 72.0) - 4 * radius
    value[np.sqrt(((x - 8) / 7) ** 2 + ((y + 4) / 14) ** 2 + (z / 6) ** 2) < 1] = 20.0  # one ventricle, on the right
    value[radius > 0.95] = 35.0
    return np.where(inside, value, 0.0), inside


def scene(pose=None, noise=0.0, native=NATIVE, orientation="RAS", arm=None):
    """Arguments of `measure` for a head of known pose (prepared world to native world) and mapping `arm`."""
    pose = np.eye(4) if pose is None else pose
    arm = pose if arm is None else arm
    inverse = np.linalg.inv(pose)
    points = grid_points(native)
    there = inverse[:3, :3] @ points + inverse[:3, 3:]
    values, inside = anatomy(there)
    skin = ~inside & (np.sqrt((there[0] / 42) ** 2 + (there[1] / 54) ** 2 + (there[2] / 40) ** 2) < 1)
    values = np.where(skin, 60.0, values) + noise * np.random.default_rng(0).normal(size=values.shape)
    scan = Volume(values.reshape(native.shape).astype(np.float32), native).reoriented(orientation)
    brain = Volume(inside.reshape(native.shape), native).reoriented(orientation)
    target = grid_points(GRID)
    moved = arm[:3, :3] @ target + arm[:3, 3:]
    index = np.rint(scan.space.voxels(moved.T)).astype(int)
    valid = ((index >= 0) & (index < scan.space.shape)).all(1)
    picked = tuple(np.where(valid[:, None], index, 0).T)
    mask = (brain.data[picked] & valid).reshape(GRID.shape)
    image = np.where(mask, scan.data[picked].reshape(GRID.shape), 0)
    template, template_brain = anatomy(target)
    return {
        "scan": scan,
        "brain": brain,
        "prepared": Volume(image.astype(np.float32), GRID),
        "prepared_brain": Volume(mask, GRID),
        "template": Volume(template.reshape(GRID.shape).astype(np.float32), GRID),
        "template_brain": Volume(template_brain.reshape(GRID.shape), GRID),
        "affine": arm,
    }


def pose_of(degrees=(0, 0, 0), shift=(0, 0, 0), scale=(1, 1, 1)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scale)
    matrix[:3, 3] = shift
    return matrix


# the small phantom has a small brain and no template of noise: those limits are its own
LIMITS = Thresholds(brain_least=100, brain_most=400, pearson=0.5, mutual_information=1.03)


def measured(template, template_brain, affine, warp=None, **arguments):
    """Measure a scene; of a warp the inverse, which no test here looks at, is still."""
    still = None if warp is None else Displacement(np.zeros_like(warp.field), warp.space)
    return measure(
        **arguments, template=Template("phantom", template, template_brain), mapping=Mapping(affine, warp, still)
    )


def moved(affine, field):
    """A mapping whose warp and inverse are one field: each test below looks at one of the two."""
    return Mapping(affine, Displacement(field, GRID), Displacement(field, GRID))


def codes(arguments, limits=LIMITS):
    return {flag.code for flag in flags(measured(**arguments), limits)}


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "AIL"])
def test_a_good_scan_has_no_flag_however_its_axes_are_stored(orientation):
    arguments = scene(pose_of((8, -5, 12), (4, -3, 2), (0.95, 1.02, 0.9)), noise=2.0, orientation=orientation)
    assert codes(arguments) == set()
    values = measured(**arguments)
    assert values["dice"] > 0.95
    assert values["pearson"] > 0.9
    assert values["outside_scan"] == values["outside_grid"] == 0
    truth = 4 / 3 * np.pi * 34 * 46 * 32 * 0.95 * 1.02 * 0.9 / 1000
    assert values["brain_ml"] == pytest.approx(truth, rel=0.01)
    assert values["rotation_degrees"] == pytest.approx(
        np.degrees(Rotation.from_euler("xyz", (8, -5, 12), degrees=True).magnitude()), abs=0.5
    )


def test_what_is_wrong_is_flagged():
    good = pose_of()
    assert "mirrored" in codes({**scene(), "affine": np.diag([-1.0, 1, 1, 1])})
    assert {"brain_overlap", "unlike_template"} <= codes(scene(good, arm=pose_of(shift=(0, 24, 0))))
    assert {"brain_overlap", "outside_scan"} <= codes(scene(good, arm=pose_of(shift=(0, 0, -60))))
    assert "rotation" in codes(scene(good, arm=pose_of((180, 0, 0))))
    assert "small_against_template" in codes(scene(pose_of(scale=(0.6, 1, 1))))
    assert "large_against_template" in codes(scene(pose_of(scale=(1, 1.3, 1))))
    assert "noise" in codes(scene(noise=25.0))
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    assert "shear" in codes(scene(sheared))
    noise = scene()
    data = np.random.default_rng(0).normal(50, 50, NATIVE.shape).astype(np.float32)
    prepared = np.random.default_rng(1).normal(50, 50, GRID.shape).astype(np.float32)
    noise |= {"scan": Volume(data, NATIVE), "prepared": Volume(prepared, GRID)}
    assert {"unlike_template", "unrelated_to_template", "noise"} <= codes(noise)
    empty = scene() | {
        "prepared": Volume(np.zeros(GRID.shape), GRID),
        "prepared_brain": Volume(np.zeros(GRID.shape), GRID),
    }
    assert {"unlike_template", "unrelated_to_template", "modality", "brain_overlap"} <= codes(empty)
    stripped = scene()
    stripped["scan"] = Volume(stripped["scan"].data * stripped["brain"].data, NATIVE)
    assert codes(stripped) == {"already_stripped"}
    pieces = scene()
    mask = pieces["brain"].data.copy()
    mask[1:8, 1:8, 1:8] = True
    assert "brain_in_pieces" in codes(pieces | {"brain": Volume(mask, NATIVE)})
    nothing = scene() | {"brain": Volume(np.zeros(NATIVE.shape), NATIVE)}
    assert {"brain_small", "noise"} <= codes(nothing)


def test_thick_slices():
    thick = Space((64, 72, 30), NATIVE.affine @ np.diag([1, 1, 2, 1]))
    assert "thick_slices" in codes(scene(native=thick))


def test_a_flair_scan_under_the_name_of_t1w_and_the_other_way_round():
    arguments = scene()
    assert "modality" in codes(arguments, replace(LIMITS, pearson=None, contrast_least=None, contrast_most=0.03))
    swapped = arguments["prepared"].data.copy()
    white, grey = swapped > 90, (swapped > 60) & (swapped <= 90)
    swapped[white] -= 30
    swapped[grey] += 10
    other = arguments | {"prepared": Volume(swapped, GRID)}
    assert measured(**other)["tissue_contrast"] < 0
    assert "modality" in codes(other)
    assert "modality" not in codes(other, replace(thresholds("linear", "FLAIR")))


@pytest.mark.parametrize("code", CODES)
def test_a_cut_is_named_by_its_side_in_every_orientation(code):
    """The brain ends at the head's right and top, by world coordinates."""
    mask = np.zeros((9, 10, 11), dtype=bool)
    mask[4:, 3:8, 5:] = True  # right half, upper half
    brain = Volume(mask, Space(mask.shape, np.diag([2.0, 1.0, 3.0, 1.0]))).reoriented(code)
    shares = coverage.cut_faces(brain)
    right, top, front = 5 * 6 * 3.0, 5 * 5 * 2.0, 5 * 6 * 6.0
    surface = 2 * (right + top + front)
    assert shares["right"] == pytest.approx(right / surface)
    assert shares["superior"] == pytest.approx(top / surface)
    assert [shares[face] for face in ("left", "posterior", "anterior", "inferior")] == [0, 0, 0, 0]
    assert set(coverage.cut_faces(Volume(~mask & mask, brain.space.reoriented("RAS"))).values()) == {0.0}


def test_a_scan_that_ends_in_the_brain():
    low = Space((64, 72, 34), NATIVE.affine)  # up to z = 9 mm, the brain reaches 32
    found = codes(scene(native=low, orientation="LPS"))
    assert {"cut_superior", "outside_scan", "brain_overlap"} <= found
    assert not {"cut_inferior", "cut_left", "cut_right", "outside_grid"} & found
    values = measured(**scene(native=low))
    z = np.linspace(9, 32, 5000)
    cap = (1 - (z / 32) ** 2).mean() * 23 / (4 / 3 * 32)
    assert values["outside_scan"] == pytest.approx(cap, rel=0.1)


def test_a_warp_that_leads_out_of_the_scan():
    brain = scene()["template_brain"]
    low = Space((64, 72, 48), NATIVE.affine)  # up to z = 37 mm, the brain reaches 32
    up = np.zeros((3, *GRID.shape), np.float32)
    up[2] = 23
    assert coverage.outside_scan(brain, low, Mapping(np.eye(4))) == 0
    z = np.linspace(14, 32, 5000)
    cap = (1 - (z / 32) ** 2).mean() * 18 / (4 / 3 * 32)
    assert coverage.outside_scan(brain, low, moved(np.eye(4), up)) == pytest.approx(cap, rel=0.1)
    # the warp comes first: turned upside down afterwards, up is down
    flipped = np.diag([1.0, 1, -1, 1])
    assert coverage.outside_scan(brain, low, moved(flipped, up)) < 0.02


def test_an_output_grid_that_ends_in_the_brain():
    inside = scene()["brain"]
    affine = GRID.affine.copy()
    affine[2, 3] = -60
    small = Space((24, 30, 19), affine)  # up to z = 14 mm
    z = np.linspace(14, 32, 5000)
    cap = (1 - (z / 32) ** 2).mean() * 18 / (4 / 3 * 32)
    assert coverage.outside_grid(inside, small, Mapping(np.eye(4))) == pytest.approx(cap, rel=0.1)
    assert coverage.outside_grid(inside, small, Mapping(pose_of(shift=(0, 0, 20)))) == pytest.approx(0.0, abs=0.01)
    # a warp that lowers everything by 20 mm, as the last step towards the grid
    down = np.zeros((3, *GRID.shape), np.float32)
    down[2] = -20
    assert coverage.outside_grid(inside, small, moved(np.eye(4), down)) < 0.01


def test_header_orientation():
    mirrored = np.diag([-1.0, 1, 1, 1]) @ NATIVE.affine
    moved = NATIVE.affine.copy()
    moved[1, 3] += 3
    cases = {
        "agree": (Orientation(NATIVE.shape, NATIVE.affine, NATIVE.affine), set()),
        "sform only": (Orientation(NATIVE.shape, NATIVE.affine, None), set()),
        "qform only": (Orientation(NATIVE.shape, None, NATIVE.affine), set()),
        "differ": (Orientation(NATIVE.shape, NATIVE.affine, moved), {"orientation_differ"}),
        "mirrored": (Orientation(NATIVE.shape, NATIVE.affine, mirrored), {"orientation_mirrored"}),
        "unknown": (Orientation(NATIVE.shape, None, None), {"orientation_unknown"}),
        "no header": (None, set()),
    }
    arguments = scene()
    for state, (orientation, expected) in cases.items():
        assert measured(**arguments, orientation=orientation)["orientation"] == state
        assert codes({**arguments, "orientation": orientation}) == expected
        assert codes({**arguments, "orientation": orientation}, replace(LIMITS, orientation=False)) == set()
    (flag,) = flags(measured(**arguments, orientation=cases["differ"][0]), LIMITS)
    assert "3.0 mm apart" in str(flag)


def test_a_warp_that_folds():
    x = grid_points(GRID)[0].reshape(GRID.shape)
    field = np.zeros((3, *GRID.shape), np.float32)
    field[0] = np.where((x > -10) & (x < 10), -1.5 * x, 0)
    values = measured(**scene(), warp=Displacement(field, GRID))
    assert values["folded"] > 0.1
    assert "folded" in {f.code for f in flags(values, LIMITS)}
    assert measured(**scene(), warp=Displacement(field * 0.1, GRID))["folded"] == 0
    # on a grid of its own, stored left to right reversed
    other = Volume(field[0], GRID).reoriented("LPS")
    turned = np.stack([Volume(c, GRID).reoriented("LPS").data for c in field])
    assert measured(**scene(), warp=Displacement(turned, other.space))["folded"] == values["folded"]


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAL"])
def test_the_jacobian_of_an_affine_displacement(code):
    matrix = np.array([[1.1, 0.2, 0], [0, 0.9, -0.1], [0.05, 0, 1.2]])
    space = Space((6, 7, 8), np.diag([2.0, 3.0, 1.5, 1.0])).reoriented(code)
    points = grid_points(space)
    field = (matrix @ points - points).reshape(3, *space.shape).astype(np.float32)
    np.testing.assert_allclose(jacobian_determinant(Displacement(field, space)), np.linalg.det(matrix), rtol=1e-4)


@given(
    angles=st.tuples(*[st.floats(-80, 80)] * 3),
    scale=st.tuples(*[st.floats(0.5, 2)] * 3),
    mirror=st.booleans(),
)
def test_decomposition(angles, scale, mirror):
    rotation = Rotation.from_euler("xyz", angles, degrees=True)
    matrix = rotation.as_matrix() @ np.diag(scale)
    if mirror:
        matrix = matrix @ np.diag([-1.0, 1, 1])
    determinant, scales, shear, angle = decompose(matrix)
    assert determinant == pytest.approx(np.prod(scale) * (-1 if mirror else 1))
    np.testing.assert_allclose(scales, scale, rtol=1e-6)
    assert shear < 1e-6
    assert angle == pytest.approx(np.degrees(rotation.magnitude()), abs=1e-4)


def test_similarity_against_slow_formulas(rng):
    a, b = rng.random((5, 6, 7)), rng.random((5, 6, 7))
    where = rng.random((5, 6, 7)) < 0.7
    assert similarity.pearson(a, b, where) == pytest.approx(np.corrcoef(a[where], b[where])[0, 1])
    assert similarity.pearson(a, -2 * a + 3, where) == pytest.approx(-1)
    assert similarity.pearson(a, np.ones_like(a), where) is None
    assert similarity.normalised_mutual_information(a, np.exp(a), where) <= 2
    assert similarity.normalised_mutual_information(a, 5 * a - 2, where) == pytest.approx(2)
    assert similarity.normalised_mutual_information(a, np.ones_like(a), where) is None
    big = [rng.random(200_000).reshape(100, 40, 50) for _ in range(2)]
    unrelated = similarity.normalised_mutual_information(*big, np.ones(big[0].shape, bool))
    assert unrelated == pytest.approx(1, abs=2e-3)
    # two levels each, counted by hand: p = [[.4, .1], [.1, .4]]
    first = np.repeat([0.0, 1.0], 5)
    second = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1.0])
    joint = -(2 * 0.4 * np.log(0.4) + 2 * 0.1 * np.log(0.1))
    found = similarity.normalised_mutual_information(first, second, np.ones(10, bool))
    assert found == pytest.approx(2 * np.log(2) / joint)
    assert similarity.dice(where, where) == 1
    assert similarity.dice([1, 1, 0], [0, 1, 1]) == 0.5
    assert similarity.dice([0], [0]) == 0
    for shape in ((3, 3), (5, 6, 8)):
        with pytest.raises(SpaceError):
            similarity.pearson(a, np.ones(shape), where)
        with pytest.raises(SpaceError):
            similarity.dice(a, np.ones(shape))
    with pytest.raises(InputError, match="empty"):
        similarity.pearson(a, b, where & ~where)


@pytest.mark.parametrize("level", [0.02, 0.1, 0.3])
def test_noise_is_measured_in_smooth_anatomy(rng, level):
    x, y, z = np.indices((30, 32, 34))
    clean = 100 + 20 * np.sin(x / 9) + 15 * np.cos(y / 7) + 10 * np.sin(z / 8)
    inside = (x - 15) ** 2 + (y - 16) ** 2 + (z - 17) ** 2 < 196
    noisy = clean + rng.normal(0, level * 100, clean.shape)
    assert similarity.noise(noisy, inside) == pytest.approx(level * 100 / np.median(noisy[inside]), rel=0.05, abs=0.004)
    assert similarity.noise(np.zeros((3, 3, 3)), np.ones((3, 3, 3), bool)) is None
    assert similarity.noise(np.ones((2, 2, 2)), np.ones((2, 2, 2), bool)) is None


def test_measures_that_cannot_be_and_refusals():
    arguments = scene()
    with pytest.raises(SpaceError, match="brain mask"):
        measured(**{**arguments, "brain": arguments["template_brain"]})
    with pytest.raises(SpaceError, match="template's mask"):
        measured(**{**arguments, "template_brain": arguments["brain"]})
    for bad in (np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(SpaceError):  # by the mapping itself
            measured(**{**arguments, "affine": bad})
    with pytest.raises(InputError, match="template's brain mask is empty"):
        measured(**{**arguments, "template_brain": Volume(np.zeros(GRID.shape), GRID)})


def test_flags_say_value_and_threshold():
    (flag,) = flags({"dice": 0.5}, Thresholds())
    assert flag == Flag(
        "brain_overlap", "overlap (Dice) of the brain mask with the template's 0.500, expected at least 0.900"
    )
    assert str(flag).startswith("brain_overlap: overlap")
    assert flags({"dice": 0.9, "noise": 0.15, "brain_ml": 800.0}) == []
    assert [f.code for f in flags({"noise": float("nan"), "brain_ml": 799.0})] == ["brain_small", "noise"]
    assert "cannot be measured" in flags({"pearson": None})[0].sentence
    assert flags({"folded": None, "dice": None}) == []
    nothing = Thresholds(**{f.name: (False if f.name == "orientation" else None) for f in fields(Thresholds)})
    assert flags({"dice": 0.0, "pearson": None, "orientation": "unknown"}, nothing) == []


def test_thresholds_by_arm_and_modality():
    assert thresholds("none").dice is None
    assert thresholds("none").cut == thresholds("linear").cut
    assert thresholds("nonlinear").dice > thresholds("linear").dice
    assert thresholds("linear", "FLAIR").pearson is None
    with pytest.raises(InputError, match="'affine'"):
        thresholds("affine")
    with pytest.raises(InputError, match="unknown modality"):
        thresholds("linear", "PET")
    with pytest.raises(InputError, match="threshold 'dice' is nan"):
        Thresholds(dice=float("nan"))
