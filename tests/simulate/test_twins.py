"""Effects in the user's own scans: twins, doses, sides, and a folder that can be split and resumed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from helpers.brains import left_block
from helpers.thirds import sampled
from neuroxai.cohort import SplitOptions, label_scans, read_cohort, split_cohort
from neuroxai.errors import InputError
from neuroxai.io import read_json, read_tsv, read_volume, sha256, write_volume
from neuroxai.simulate import (
    Anatomy,
    Planting,
    RandomPose,
    Raw,
    Regions,
    ScanOptions,
    find_sources,
    simulate_from,
    simulate_scan,
)
from neuroxai.simulate.anatomy import anatomy_of
from neuroxai.simulate.effects.regional import RegionalAtrophy
from neuroxai.simulate.real_scans import OwnScan
from neuroxai.simulate.regions import Regions as Choice
from neuroxai.space import Space, Volume


def hashes(folder):
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def made(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("twins") / "cohort"
    sources = find_sources(prepared / "participants.tsv")
    calls = []
    summary = simulate_from(folder, sources, Planting("atrophy", 30), seed=2, progress=lambda *n: calls.append(n))
    assert calls == [(0, 6), (2, 6), (4, 6), (6, 6)]
    return folder, summary, sources


def images(folder, name):
    anat = folder / name / "anat"
    stem = f"{name}_space-MNI152_res-4_desc"
    return (
        read_volume(anat / f"{stem}-brain_T1w.nii.gz"),
        read_volume(anat / f"{stem}-effect_mask.nii.gz", check_content=False).data > 0,
        read_volume(anat / f"{stem}-effect_logjacobian.nii.gz", check_content=False).data,
    )


def test_the_folder(made, prepared):
    folder, summary, _ = made
    assert (summary.subjects, summary.made, summary.failed) == (6, 6, [])
    table = read_tsv(folder / "participants.tsv")
    assert list(table["participant_id"]) == [f"sub-{n:02d}{x}" for n in (1, 3, 4) for x in "AB"]
    assert list(table["twin"]) == [f"sub-{n:02d}" for n in (1, 1, 3, 3, 4, 4)]
    assert list(table["age"]) == [31, 31, 33, 33, 34, 34]
    assert set(read_json(folder / "participants.json")) == set(table.columns)
    patients = table[table["diagnosis"] == "atrophy"]
    assert len(patients) == 3
    for name in ("hippocampus", "hippocampus_left", "hippocampus_right"):
        assert (patients[f"{name}_loss_percent"] - 30).abs().max() < 3
    shams = table[table["diagnosis"] == "sham"]
    assert (shams["dose"] == 0).all()
    assert (shams["hippocampus_loss_percent"] == 0).all()
    for person, scan in zip(table["participant_id"], table["twin"], strict=True):
        image, mask, change = images(folder, person)
        source = read_volume(prepared / scan / "anat" / f"{scan}_space-MNI152_desc-brain_T1w.nii.gz")
        assert image.space.matches(source.space)
        assert image.space.orientation == source.space.orientation
        ill = person in set(patients["participant_id"])
        assert mask.any() == (change != 0).any() == ill
        # the source's own units, moved by less than a voxel
        inside = (image.data > 0) & (source.data > 0)
        assert np.corrcoef(image.data[inside], source.data[inside])[0, 1] > 0.8
        assert np.median(image.data[inside]) == pytest.approx(np.median(source.data[inside]), rel=0.05)
        sidecar = json.loads(next((folder / person / "anat").glob("*.json")).read_text())
        assert sidecar["Source"]["participant_id"] == scan
        assert "PoseMNI152ToScan" not in sidecar


def test_twins_differ_by_the_effect_alone(made):
    folder, *_ = made
    table = read_tsv(folder / "participants.tsv").set_index("participant_id")
    for _, pair in table.groupby("twin"):
        ill, well = (images(folder, pair.index[pair["diagnosis"] == name][0]) for name in ("atrophy", "sham"))
        distance = ndimage.distance_transform_edt(~ill[1], sampling=4.0)
        different = ill[0].data != well[0].data
        assert different[ill[1]].mean() > 0.9
        # no voxel beyond the reach, where one interpolation more for one of the classes would change them all
        assert not different[distance > 28].any()
        assert (ill[0].data[distance > 28] > 0).sum() > 10_000


def test_split_keeps_twins_together_unasked(made):
    cohort = read_cohort(made[0])
    labelled = label_scans(cohort)
    assert labelled.classes == ["sham", "atrophy"]
    for datalist in split_cohort(labelled, SplitOptions(folds=3)):
        where = {}
        for part in ("training", "validation", "test"):
            for item in datalist[part]:
                assert where.setdefault(item["twin"], part) == part


def test_a_rerun_keeps_what_is_whole_and_redoes_changed_sources(made, prepared, tmp_path):
    folder, _, sources = made
    before = hashes(folder)
    assert simulate_from(folder, sources, Planting("atrophy", 30), seed=2).kept == 6
    victim = next((folder / "sub-03A" / "anat").glob("*T1w.nii.gz"))
    victim.write_bytes(b"cut off")
    summary = simulate_from(folder, sources, Planting("atrophy", 30), seed=2)
    assert (summary.made, summary.kept) == (1, 5)
    assert hashes(folder) == before
    copied = tmp_path / "prepared"
    shutil.copytree(prepared, copied)
    scan = next((copied / "sub-01" / "anat").glob("*T1w.nii.gz"))
    changed = read_volume(scan)
    write_volume(scan, Volume(changed.data * np.float32(2), changed.space))
    own = tmp_path / "cohort"
    shutil.copytree(folder, own)
    summary = simulate_from(own, find_sources(copied / "participants.tsv"), Planting("atrophy", 30), seed=2)
    assert (summary.made, summary.kept) == (2, 4)
    with pytest.raises(InputError, match=r"loss 30\.0, now 20\.0"):
        simulate_from(folder, sources, Planting("atrophy", 20), seed=2)
    with pytest.raises(InputError, match="misalign None, now"):
        simulate_from(folder, sources, Planting("atrophy", 30, scan_options=ScanOptions(misalign=RandomPose())), seed=2)


def test_one_bad_scan_does_not_stop_the_rest(prepared, tmp_path):
    copied = tmp_path / "prepared"
    shutil.copytree(prepared, copied)
    scan = next((copied / "sub-03" / "anat").glob("*T1w.nii.gz"))
    scan.write_bytes(scan.read_bytes()[:2000])
    away = next((copied / "sub-04" / "anat").glob("*T1w.nii.gz"))
    moved = read_volume(away)
    affine = moved.space.affine.copy()
    affine[:3, 3] += (60, 0, 0)
    write_volume(away, Volume(moved.data, Space(moved.space.shape, affine)))
    summary = simulate_from(tmp_path / "c", find_sources(copied / "participants.tsv"), Planting("atrophy"))
    assert summary.made == 2
    told = {item["participant_id"]: item["error"] for item in summary.failed}
    assert sorted(told) == ["sub-03A", "sub-03B", "sub-04A", "sub-04B"]
    assert "truncated" in told["sub-03A"] or "cannot be read" in told["sub-03A"]
    assert "Dice" in told["sub-04A"]


def test_lesions_turn_a_t1w_into_a_flair(prepared, tmp_path):
    sources = find_sources(prepared / "participants.tsv")
    assert simulate_from(tmp_path / "c", sources, Planting("lesions"), subjects=2).failed == []
    table = read_tsv(tmp_path / "c" / "participants.tsv").set_index("diagnosis")
    ill, well = (next((tmp_path / "c" / table.loc[k, "participant_id"]).rglob("*_FLAIR.nii.gz")) for k in ("MS", "HC"))
    mask = read_volume(str(ill).replace("brain_FLAIR", "effect_mask")).data > 0
    difference = read_volume(ill).data - read_volume(well).data
    assert (difference[mask] > 0).mean() > 0.9
    assert table.loc["MS", "lesion_volume_mm3"] > 500
    assert not list((tmp_path / "c").rglob("*logjacobian*"))
    # grey matter, dark on the T1w, is brighter than white matter
    t1w, flair = (read_volume(f).data for f in (sources.scans[0].scan, well))
    inside = ndimage.binary_erosion(t1w > 0, iterations=3)
    grey, white = inside & (t1w > 200) & (t1w < 240), inside & (t1w > 280)
    assert np.median(flair[grey]) > np.median(flair[white])
    assert np.median(flair[white]) == pytest.approx(np.median(t1w[white]), rel=0.25)


def test_which_twin_is_ill_is_drawn(prepared):
    from neuroxai.simulate.real_scans import twins_of

    source = find_sources(prepared / "participants.tsv").scans[0]
    first = [twins_of(source, 0, seed)[0].patient for seed in range(60)]
    assert 15 < sum(first) < 45


def ball_on_the_left(prepared_scan, orientation):
    """A scan with a bright ball in the left hemisphere, and the ball as the region that shrinks."""
    block = left_block(prepared_scan.space)
    painted = np.where(block, 600, np.where(prepared_scan.data > 0, np.maximum(prepared_scan.data, 60), 0))
    scan = Volume(painted.astype(np.float32), prepared_scan.space).reoriented(orientation)
    label = Volume(block, prepared_scan.space).reoriented(orientation).data.astype(np.float32)
    plain, white = anatomy_of(prepared_scan.reoriented(orientation), "phantom")
    anatomy = Anatomy("phantom", scan.space, scan.data / np.float32(white), plain.gm, plain.wm, plain.brain)

    def find(cropped):
        return {"block": Volume(label, scan.space).resampled_to(cropped.space).data}

    return OwnScan(RegionalAtrophy(anatomy, find, 30.0), scan.space, white, "T1w")


@pytest.fixture(scope="module")
def reference(prepared_scan):
    acquisition = ball_on_the_left(prepared_scan, "RAS")
    return simulate_scan(acquisition, np.random.SeedSequence(11), True).image


@pytest.mark.parametrize("orientation", sampled(["PSR", "RAS", "LAS"], 3))
def test_a_region_on_the_left_shrinks_on_the_left_in_every_orientation(prepared_scan, reference, orientation):
    """The volume is measured in the image itself: a bright ball, by its integral above the tissue around."""
    acquisition, seed = ball_on_the_left(prepared_scan, orientation), np.random.SeedSequence(11)
    ill, well = (simulate_scan(acquisition, seed, present) for present in (True, False))
    assert ill.columns["block_loss_percent"] == pytest.approx(30, abs=3)

    def ball(image):
        return np.clip((image - 330.0) / 240.0, 0.0, 1.0).sum()

    assert 100 * (1 - ball(ill.image) / ball(well.image)) == pytest.approx(30, abs=4)
    centre = ill.space.world(np.argwhere(ill.mask)).mean(0)
    np.testing.assert_allclose(centre, (-28, -10, 26), atol=4)
    # and where a pose puts it: a slip of sides would put the ball on the other
    posed = simulate_scan(acquisition, seed, False, RandomPose(20, 20, 0.1))
    bright = posed.space.world(np.argwhere(posed.image > 500)).mean(0)
    np.testing.assert_allclose(bright, posed.pose[:3, :3] @ (-28, -10, 26) + posed.pose[:3, 3], atol=1.5)
    # the same scan in another order of voxels gives the same in the world
    np.testing.assert_allclose(Volume(ill.image, ill.space).reoriented("RAS").data, reference, atol=2.0)


@pytest.mark.parametrize("loss", sampled([50.0, 1.0, 10.0], 3))
def test_doses_are_met(prepared_scan, seed, loss):
    anatomy, white = anatomy_of(prepared_scan, "phantom")
    effect = RegionalAtrophy(anatomy, Choice(("hippocampus", "amygdala")).finder(), loss)
    scan = simulate_scan(OwnScan(effect, prepared_scan.space, white, "T1w"), seed, True)
    for name in ("hippocampus_left", "hippocampus_right", "amygdala_left", "amygdala_right"):
        assert scan.columns[f"{name}_loss_percent"] == pytest.approx(loss, abs=3)
    # each voxel's tissue had a volume of exp(-log-Jacobian) before: around the regions as much is gained as they lost
    gained = -np.expm1(-scan.log_jacobian)
    assert abs(float(gained.sum())) < 0.1 * float(np.abs(gained).sum())


def test_label_maps_and_atlas_give_the_regions(prepared, tmp_path):
    maps = find_sources(prepared / "participants.tsv", label_maps="sub-*/anat/*_dseg.nii.gz")
    assert all(source.label_map for source in maps.scans)
    planting = Planting("atrophy", 25, Regions(("region 17",)))
    summary = simulate_from(tmp_path / "maps", maps, planting, subjects=4)
    assert summary.failed == []
    table = read_tsv(tmp_path / "maps" / "participants.tsv")
    assert sorted((table["region_17_loss_percent"] - 25 * (table["dose"] > 0)).abs() < 3) == [True] * 4
    sources = find_sources(prepared / "participants.tsv")
    planting = Planting("atrophy", 25, Regions(("Left hippocampus",), "builtin"))
    assert simulate_from(tmp_path / "atlas", sources, planting, subjects=2).failed == []
    row = read_tsv(tmp_path / "atlas" / "participants.tsv").query("dose > 0").iloc[0]
    assert row["left_hippocampus_loss_percent"] == pytest.approx(25, abs=3)
    mask = read_volume(next((tmp_path / "atlas" / row["participant_id"] / "anat").glob("*mask*")), check_content=False)
    assert mask.space.world(np.argwhere(mask.data)).mean(0)[0] < -15


def test_poses_and_heads_are_shared_by_twins(prepared, tmp_path):
    scan_options = ScanOptions(misalign=RandomPose(), raw=Raw())
    sources = find_sources(prepared / "participants.tsv")
    assert (
        simulate_from(tmp_path / "c", sources, Planting("atrophy", scan_options=scan_options), subjects=2).failed == []
    )
    scans = sorted((tmp_path / "c").rglob("*space-orig_desc-head_T1w.nii.gz"))
    assert len(scans) == 2
    one, two = (read_volume(scan) for scan in scans)
    assert one.space.matches(two.space)
    np.testing.assert_array_equal(one.data[:, :, -6:], two.data[:, :, -6:])
    sides = [json.loads((s.parent / s.name.replace(".nii.gz", ".json")).read_text()) for s in scans]
    assert sides[0]["PoseMNI152ToScan"] == sides[1]["PoseMNI152ToScan"]
    assert sides[0]["SkullStripped"] is False
    assert not any("MNI152" in p.name for p in (tmp_path / "c").rglob("*"))
    assert len(list((tmp_path / "c").rglob("*desc-true_biasfield.nii.gz"))) == 2
    assert len(list((tmp_path / "c").rglob("*desc-brain_mask.nii.gz"))) == 2


def plant(out, sources, planting=None, **options):
    return simulate_from(out, sources, Planting(**{"effect": "atrophy", **(planting or {})}), **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"subjects": 3}, "subjects is 3,"),
        ({"subjects": 8}, "subjects is 8, expected 6"),
        ({"seed": -1}, "seed is -1"),
        ({"jobs": 0}, "jobs is 0"),
        ({"planting": {"loss": 0.5}}, "--loss is 0.5 %, expected 1 to 50"),
        ({"planting": {"loss": 51}}, "--loss is 51 %"),
        ({"planting": {"loss": float("nan")}}, "--loss is nan"),
        ({"planting": {"effect": "ageing"}}, "unknown effect 'ageing'"),
        ({"planting": {"scan_options": ScanOptions(masks=Path("masks"))}}, "--effect lesions, got 'atrophy'"),
        (
            {"planting": {"effect": "lesions", "scan_options": ScanOptions(masks=Path("absent"))}},
            "absent: no such folder",
        ),
        ({"planting": {"regions": Regions(("cerebellum",))}}, "unknown region 'cerebellum'.*--atlas"),
        ({"planting": {"regions": Regions((), "builtin")}}, "name those that shrink with --region"),
        (
            {"planting": {"regions": Regions(("Left hippo",), "builtin")}},
            "no region is called 'Left hippo'",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(prepared, tmp_path, options, words):
    sources = find_sources(prepared / "participants.tsv")
    with pytest.raises(InputError, match=words):
        plant(tmp_path / "new", sources, **options)
    assert not (tmp_path / "new").exists()


def test_a_label_map_on_another_grid_is_refused(prepared, tmp_path):
    copied = tmp_path / "prepared"
    shutil.copytree(prepared, copied)
    label = next((copied / "sub-01" / "anat").glob("*_dseg.nii.gz"))
    volume = read_volume(label, check_content=False)
    write_volume(
        label, Volume(volume.data[1:].astype(np.int32), type(volume.space)((47, 57, 48), volume.space.affine)), np.int32
    )
    sources = find_sources(copied / "participants.tsv", label_maps="sub-*/anat/*_dseg.nii.gz")
    summary = simulate_from(tmp_path / "c", sources, Planting("atrophy", 25, Regions(("region 17",))), subjects=2)
    assert "_dseg.nii.gz: is on a grid of" in summary.failed[0]["error"]
