from __future__ import annotations

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.command import run
from neuroxai import attribution, io
from neuroxai.components import load_weights
from neuroxai.networks import ad_cnn
from neuroxai.space import Space, Volume, mni152


@pytest.fixture(scope="module")
def explained(trained_bundle, tiny_cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("explained")
    result = run("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", out, "--option", "beta=0")
    assert result.code == 0, result.err
    return out


@pytest.fixture
def scan(tiny_cohort):
    """A patient of the test part."""
    return tiny_cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"


def heatmap(folder, space="network", subject="sub-17"):
    return io.read_volume(folder / subject / "anat" / f"{subject}_space-{space}_desc-lrpAlphaBeta_heatmap.nii.gz")


def test_predictions_name_classes_and_probabilities(explained):
    table = pd.read_csv(explained / "predictions.tsv", sep="\t", keep_default_na=False)
    assert list(table) == [
        "participant_id", "session_id", "true", "predicted", "probability_CN", "probability_AD", "score",
        "fit", "fit_distance", "unlike", "seen",
    ]  # fmt: skip
    assert list(table["participant_id"]) == ["sub-16", "sub-17", "sub-18", "sub-19"]
    assert list(table["true"]) == ["CN", "AD", "CN", "AD"]
    assert list(table["predicted"]) == list(table["true"])
    np.testing.assert_allclose(table["probability_CN"] + table["probability_AD"], 1, atol=1e-6)


def test_the_report_says_which_scans_were_asked_for(explained, trained_bundle, tiny_cohort, scan, tmp_path):
    record = io.read_json(explained / "explain.json")
    assert (record["datalist"], record["part"]) == ("datalist.json", "test")
    assert run("report", explained, "--out", tmp_path / "report", "--subject", "sub-17").code == 0
    page = (tmp_path / "report" / "sub-17.html").read_text()
    for label, value in (("Datalist", "datalist.json"), ("Part of the datalist", "test"), ("Start", "probability")):
        assert re.search(rf'<th scope="row">{label}</th><td[^>]*>{value}</td>', page), label
    # one scan alone stands in no list
    assert run("explain", trained_bundle, scan, "--out", tmp_path / "one", "--no-native").code == 0
    alone = io.read_json(tmp_path / "one" / "explain.json")
    assert (alone["datalist"], alone["part"]) == (None, None)


def test_viewers_get_one_scale_for_all_scans(explained):
    record = io.read_json(explained / "explain.json")
    maps = [heatmap(explained, subject=f"sub-{n}").data for n in range(16, 20)]
    widest = max(np.percentile(np.abs(m.astype(np.float64)), 99.9) for m in maps)
    assert record["scale"]["limit"] == pytest.approx(widest, rel=1e-6)
    totals = sorted(np.abs(maps[n].astype(np.float64)).sum() for n in (1, 3))  # the patients
    np.testing.assert_allclose(record["scale"]["patients"], totals, rtol=1e-5)
    # all four held-out scans are told right
    assert (record["held_out"]["roc_auc"], record["held_out"]["scans"]) == (1.0, 4)
    for path in explained.glob("sub-*/anat/*_heatmap.nii.gz"):
        header = nib.load(path).header
        assert (header["cal_min"], header["cal_max"]) == (np.float32(-widest), np.float32(widest)), path


def test_the_heatmap_is_what_the_python_call_gives(explained, trained_bundle, scan):
    network = ad_cnn(mni152(5).shape, padding="same")
    network = load_weights(network, str(trained_bundle / "models" / "model.pt")).eval()
    data = io.read_volume(scan).data
    inputs = torch.from_numpy((data - data.min()) / (data.max() - data.min()))[None, None]
    method = attribution.create("lrp_alpha_beta", network, beta=0)
    expected = method.attribute(inputs, target=1)[0, 0]
    found = heatmap(explained)
    assert found.space.matches(mni152(5))
    scale = float(expected.abs().max())
    np.testing.assert_allclose(found.data, expected.detach().numpy(), atol=1e-5 * scale)
    # the scan lies on the network's grid already: nothing is interpolated
    np.testing.assert_array_equal(heatmap(explained, "orig").data, found.data)


def test_the_sidecar_says_how_it_was_made(explained, trained_bundle):
    sidecar = io.read_json(explained / "sub-17" / "anat" / "sub-17_space-network_desc-lrpAlphaBeta_heatmap.json")
    assert sidecar["method"] == "lrp_alpha_beta"
    assert sidecar["options"] == {"beta": 0}
    assert sidecar["target"] == "AD"
    assert sidecar["source"] == "sub-17/anat/sub-17_desc-brain_T1w.nii.gz"
    assert sidecar["checkpoint_sha256"] == io.sha256(trained_bundle / "models" / "model.pt")
    assert "research use" in sidecar["ResearchUse"].lower()


def test_region_scores_are_sums_over_the_heatmap(explained):
    from neuroxai.atlas import builtin

    regions = pd.read_csv(
        explained / "sub-17" / "anat" / "sub-17_space-network_desc-lrpAlphaBeta_regions.tsv", sep="\t"
    )
    atlas, data = builtin().resampled_to(mni152(5)), heatmap(explained).data.astype(np.float64)
    assert list(regions["name"]) == [name for value, name in atlas.names.items() if value != 0]
    for _, row in regions.iterrows():
        chosen = data[atlas.labels == row["index"]]
        assert row["voxels"] == chosen.size
        if chosen.size:
            assert row["sum"] == pytest.approx(chosen.sum(), rel=1e-6, abs=1e-12)
            assert row["density"] == pytest.approx(chosen.mean(), rel=1e-6, abs=1e-12)
            assert row["positive"] == pytest.approx(chosen[chosen > 0].sum(), rel=1e-6, abs=1e-12)


BLOB = (-30, -20, 0)


def turned(degrees):
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 2)
    about_z = np.array([[np.cos(a), -np.sin(a), 0, 0], [np.sin(a), np.cos(a), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, np.cos(b), -np.sin(b), 0], [0, np.sin(b), np.cos(b), 0], [0, 0, 0, 1]])
    return about_z @ about_x


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "LIA", "PSR"])
@pytest.mark.parametrize("degrees", [0, 18])
def test_the_heatmap_comes_back_on_the_right_side_of_any_scan(tmp_path, trained_bundle, scan, orientation, degrees):
    """The phantom's blob is on the left: stored in any axis order, turned, finer, it is explained there."""
    original = io.read_volume(scan)
    # an oblique grid of 3 x 4 x 5 mm voxels about the same centre, then its axes reordered
    affine = turned(degrees) @ np.diag([3.0, 4.0, 5.0, 1.0])
    shape = np.array([78, 68, 48])
    affine[:3, 3] = (-1, -17, 19) - affine[:3, :3] @ (shape - 1) / 2
    stored = original.resampled_to(Space(shape.tolist(), affine), antialias=False).reoriented(orientation)
    path = tmp_path / "sub-17_T1w.nii.gz"
    io.write_volume(path, stored)
    assert run("explain", trained_bundle, path, "--out", tmp_path / "out", "--option", "beta=0").code == 0

    native = heatmap(tmp_path / "out", "orig")
    assert native.space.shape == stored.space.shape
    np.testing.assert_allclose(native.space.affine, stored.space.affine, atol=1e-4)
    # the native map says at each place in the world what the network's map says there
    network = heatmap(tmp_path / "out")
    np.testing.assert_allclose(
        native.data, network.resampled_to(native.space).data, atol=1e-6 * np.abs(network.data).max()
    )
    # and what speaks for a patient lies at the blob, left of the middle
    data = np.clip(native.data, 0, None).astype(np.float64)
    voxels = np.argwhere(data >= 0.2 * data.max())
    centre = np.average(native.space.world(voxels), axis=0, weights=data[tuple(voxels.T)])
    assert np.linalg.norm(centre - BLOB) < 15.0


def test_a_finished_scan_is_not_redone_and_other_options_are(tmp_path, trained_bundle, tiny_cohort):
    arguments = ("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", tmp_path, "--no-native")
    assert run(*arguments).code == 0
    path = tmp_path / "sub-16" / "anat" / "sub-16_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"
    stamp = path.stat().st_mtime_ns
    table = (tmp_path / "predictions.tsv").read_bytes()
    path.with_name(path.name.replace("sub-16", "sub-17"))
    again = run(*arguments)
    assert again.code == 0
    assert "4 of 4 scans were finished before" in again.err
    assert path.stat().st_mtime_ns == stamp
    assert (tmp_path / "predictions.tsv").read_bytes() == table
    # one scan's sidecar lost, as after a kill: that scan alone is redone
    (path.parent / path.name.replace(".nii.gz", ".json")).unlink()
    assert "3 of 4 scans were finished before" in run(*arguments).err
    assert path.stat().st_mtime_ns > stamp
    assert (tmp_path / "predictions.tsv").read_bytes() == table
    assert "finished before" not in run(*arguments, "--option", "beta=1").err


def test_a_scan_whose_content_changed_is_redone(tmp_path, trained_bundle, scan):
    path = tmp_path / "sub-17_T1w.nii.gz"
    shutil.copy(scan, path)
    arguments = ("explain", trained_bundle, path, "--out", tmp_path / "out", "--no-native")
    assert run(*arguments).code == 0
    first = heatmap(tmp_path / "out").data
    original = io.read_volume(scan)
    io.write_volume(path, Volume(original.data * np.linspace(1, 2, original.data.shape[0])[:, None, None], SPACE))
    again = run(*arguments)
    assert again.code == 0
    assert "finished before" not in again.err
    assert not np.array_equal(heatmap(tmp_path / "out").data, first)


def test_one_bad_scan_is_reported_and_the_rest_go_on(tmp_path, trained_bundle, tiny_cohort):
    cohort = tmp_path / "cohort"
    for subject in ("sub-16", "sub-17", "sub-18"):
        shutil.copytree(tiny_cohort / subject, cohort / subject)
    bad = cohort / "sub-17" / "anat" / "sub-17_desc-brain_T1w.nii.gz"
    bad.write_bytes(bad.read_bytes()[:3000])
    for command in ("predict", "explain"):
        result = run(command, trained_bundle, cohort, "--out", tmp_path / command, "--json")
        assert result.code == 1
        summary = json.loads(result.out)
        assert summary["done"] == 2
        (failed,) = summary["failed"]
        assert failed["participant_id"] == "sub-17"
        assert "truncated" in failed["error"]
        table = pd.read_csv(tmp_path / command / "predictions.tsv", sep="\t")
        assert list(table["participant_id"]) == ["sub-16", "sub-18"]
    assert io.read_json(tmp_path / "explain" / "explain.json")["failed"][0]["participant_id"] == "sub-17"
    assert not list((tmp_path / "explain").rglob("*sub-17*"))


SPACE = mni152(5)
FAR = SPACE.affine + np.array([[0, 0, 0, 500.0], *[[0] * 4] * 3])


def good():
    return np.random.default_rng(0).random(SPACE.shape).astype(np.float32)


def write(path, data, affine=None):
    import nibabel as nib

    nib.save(nib.Nifti1Image(data, SPACE.affine if affine is None else affine), path)


def nan_scan(path):
    data = good()
    data[4, 4, 4] = np.nan
    write(path, data)


def truncated(path):
    write(path, good())
    path.write_bytes(path.read_bytes()[:5000])


def singular(path):
    # written around nibabel, which would mend the header
    write(path, good())
    import gzip

    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[252:256] = np.array([0, 2], "<i2").tobytes()  # no qform, an sform
    raw[280:328] = np.zeros(12, "<f4").tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))


BAD = {
    "missing": (lambda path: None, "no such file"),
    "truncated": (truncated, "truncated or damaged"),
    "four dimensions": (lambda path: write(path, np.stack([good()] * 3, -1)), "4 dimensions"),
    "nan": (nan_scan, "1 of .* voxels are NaN"),
    "all zero": (lambda path: write(path, np.zeros(SPACE.shape, np.float32)), "every voxel has the value 0"),
    "not invertible": (singular, "cannot be inverted"),
    "elsewhere": (lambda path: write(path, good(), FAR), "field of view"),
    "not an image": (lambda path: path.write_text("hello"), "cannot be read as an image"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["predict", "explain"])
def test_a_bad_scan_alone_is_one_clear_message_without_traceback(tmp_path, trained_bundle, command, kind):
    make, message = BAD[kind]
    path = tmp_path / "sub-01_T1w.nii.gz"
    make(path)
    result = run(command, trained_bundle, path, "--out", tmp_path / "out")
    assert result.code == 2
    assert "Traceback" not in result.err
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert pd.Series(lines).str.contains(message, regex=True).all(), result.err
    assert not list(tmp_path.glob("out/**/*.nii.gz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "lrp_magic"], "unknown attribution method 'lrp_magic'"),
        (["--option", "beta"], "is not NAME=VALUE"),
        (["--option", "gamma=1"], "gamma"),
        (["--target", "MS"], "unknown class 'MS'"),
        (["--labels", "x.tsv"], "--labels names the regions of an atlas"),
        (["--atlas", "absent.nii.gz"], "no such file"),
        (["--atlas", "absent"], "unknown atlas 'absent'"),
        (["--start", "end"], "unknown start 'end'"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--device", "meta"], "device 'meta' is not known to work here"),
        (["--part", "test"], "--part go with a cohort"),
    ],
)
def test_bad_options_are_one_line_and_code_two(tmp_path, trained_bundle, scan, arguments, message):
    result = run("explain", trained_bundle, scan, "--out", tmp_path / "out", *arguments)
    assert result.code == 2
    assert result.err.count("error: ") == 1
    assert message in result.err
    assert not (tmp_path / "out").exists()


def test_an_untrained_or_absent_bundle_is_refused(tmp_path, scan):
    from helpers.bundles import AD, copy_of

    untrained = copy_of(AD, tmp_path / "bundle")
    result = run("predict", untrained, scan, "--out", tmp_path / "out")
    assert (result.code, "train the bundle first" in result.err) == (2, True)
    result = run("predict", tmp_path, scan, "--out", tmp_path / "out")
    assert (result.code, "is no bundle" in result.err) == (2, True)


def test_an_atlas_by_path_is_used(tmp_path, trained_bundle, scan):
    labels = np.zeros(SPACE.shape, np.int16)
    labels[:19] = 7  # the left half and more
    io.write_volume(tmp_path / "halves.nii.gz", Volume(labels, SPACE), dtype=np.int16)
    (tmp_path / "halves.tsv").write_text("index\tname\n7\tleft half\n300\tabsent\n")
    result = run(
        "explain", trained_bundle, scan, "--out", tmp_path / "out",
        "--atlas", tmp_path / "halves.nii.gz", "--labels", tmp_path / "halves.tsv",
    )  # fmt: skip
    assert result.code == 0, result.err
    table = pd.read_csv(next((tmp_path / "out").rglob("*_regions.tsv")), sep="\t")
    assert list(table["name"]) == ["left half", "absent"]
    assert table["sum"][0] == pytest.approx(heatmap(tmp_path / "out").data[:19].sum(dtype=np.float64), rel=1e-5)
    assert table["voxels"].tolist() == [int((labels == 7).sum()), 0]
    assert np.isnan(table["density"][1])


def test_regions_of_the_atlas_are_occluded(tmp_path, trained_bundle, scan):
    halves = np.zeros(SPACE.shape, np.int16)
    halves[:19], halves[19:, :20] = 7, 300
    io.write_volume(tmp_path / "halves.nii.gz", Volume(halves, SPACE), dtype=np.int16)
    arguments = ("explain", trained_bundle, scan, "--out", tmp_path / "out", "--method", "region_occlusion")
    arguments = (*arguments, "--option", "score=probability", "--no-native")
    result = run(*arguments, "--atlas", tmp_path / "halves.nii.gz")
    assert result.code == 0, result.err
    found = io.read_volume(next((tmp_path / "out").rglob("*_space-network_desc-regionOcclusion_heatmap.nii.gz")))
    network = load_weights(ad_cnn(SPACE.shape, padding="same"), str(trained_bundle / "models" / "model.pt")).eval()
    data = io.read_volume(scan).data
    inputs = torch.from_numpy((data - data.min()) / (data.max() - data.min()))[None, None]
    network.requires_grad_(False)
    whole = network(inputs).softmax(1)[0, 1]
    for value in (7, 300):
        without = network(inputs * torch.from_numpy(halves != value)).softmax(1)[0, 1]
        np.testing.assert_allclose(found.data[halves == value], float(whole - without), atol=1e-5)
    assert not found.data[halves == 0].any()
    sidecar = io.read_json(next((tmp_path / "out").rglob("*_desc-regionOcclusion_heatmap.json")))
    assert sidecar["options"] == {"score": "probability"}
    assert sidecar["atlas"]["file"] == "halves.nii.gz"
    again = run(*arguments, "--atlas", tmp_path / "halves.nii.gz")
    assert "1 of 1 scans were finished before" in again.err
    other = run(*arguments)  # the built-in parcellation: other regions, another map
    assert other.code == 0, other.err
    assert "finished before" not in other.err


def test_an_atlas_by_name_is_found_and_recorded(tmp_path, trained_bundle, scan, monkeypatch):
    labels = np.zeros(SPACE.shape, np.uint8)
    labels[:19], labels[19:] = 48, 47
    (tmp_path / "tpm").mkdir()
    io.write_volume(tmp_path / "tpm/labels_Neuromorphometrics.nii", Volume(labels, SPACE), dtype=np.uint8)
    (tmp_path / "tpm/labels_Neuromorphometrics.xml").write_text(
        "<atlas><data><label><index>47</index><name>Right Hippocampus</name></label>"
        "<label><index>48</index><name>Left Hippocampus</name></label></data></atlas>"
    )
    monkeypatch.setenv("SPM_HOME", str(tmp_path))
    result = run("explain", trained_bundle, scan, "--out", tmp_path / "out", "--atlas", "neuromorphometrics")
    assert result.code == 0, result.err
    table = pd.read_csv(next((tmp_path / "out").rglob("*_regions.tsv")), sep="\t").set_index("name")
    assert table["sum"]["Left Hippocampus"] == pytest.approx(
        heatmap(tmp_path / "out").data[:19].sum(dtype=np.float64), rel=1e-5
    )
    record = json.loads((tmp_path / "out" / "explain.json").read_text())["atlas"]
    assert record["name"] == "neuromorphometrics"
    assert record["sha256"] == io.sha256(tmp_path / "tpm/labels_Neuromorphometrics.nii")


def test_sessions_are_kept_apart(tmp_path, trained_bundle, tiny_cohort):
    for session, subject in (("ses-1", "sub-16"), ("ses-2", "sub-17")):
        source = tiny_cohort / subject / "anat" / f"{subject}_desc-brain_T1w.nii.gz"
        target = tmp_path / "cohort" / "sub-16" / session / "anat" / f"sub-16_{session}_T1w.nii.gz"
        target.parent.mkdir(parents=True)
        shutil.copy(source, target)
    result = run("explain", trained_bundle, tmp_path / "cohort", "--out", tmp_path / "out", "--no-native")
    assert result.code == 0, result.err
    table = pd.read_csv(tmp_path / "out" / "predictions.tsv", sep="\t")
    assert list(table["session_id"]) == ["ses-1", "ses-2"]
    assert list(table["predicted"]) == ["CN", "AD"]
    for session in ("ses-1", "ses-2"):
        name = f"sub-16_{session}_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"
        assert (tmp_path / "out" / "sub-16" / session / "anat" / name).is_file()
    assert run("report", tmp_path / "out", "--dataset-dir", tmp_path / "cohort").code == 0
    pages = sorted(p.name for p in (tmp_path / "out" / "report").glob("sub-*.html"))
    assert pages == ["sub-16_ses-1.html", "sub-16_ses-2.html"]


def test_compare_reads_what_explain_writes(explained, tmp_path):
    table = tmp_path / "participants.tsv"
    rows = [f"sub-{n:02d}\t{'AD' if n % 2 else 'CN'}" for n in range(16, 20)]
    table.write_text("\n".join(["participant_id\tdiagnosis", *rows]) + "\n")
    result = run("compare", explained, "--participants", table, "--out", tmp_path / "out", "--permutations", 99,
                 "--measure", "sum")  # fmt: skip
    assert result.code == 0, result.err
    groups = pd.read_csv(tmp_path / "out" / "groups.tsv", sep="\t").set_index("region")
    tables = [
        pd.read_csv(next(explained.glob(f"sub-{n}/anat/*_regions.tsv")), sep="\t").set_index("name")["sum"]
        for n in range(16, 20)
    ]
    expected = (tables[1] + tables[3]) / (tables[0] + tables[2])
    known = groups["gain"].notna()
    assert known.sum() > len(groups) / 2
    np.testing.assert_allclose(groups["gain"][known], expected[groups.index][known], rtol=1e-5)
    assert "no percentiles: 2 controls, expected 10 or more for a reference" in result.out


@pytest.mark.parametrize("command", ["explain", "predict"])
def test_labels_in_another_order_than_the_network_s_are_refused(trained_bundle, tiny_cohort, tmp_path, command):
    datalist = io.read_json(tiny_cohort / "datalist.json")
    io.write_json(tmp_path / "other.json", {**datalist, "classes": ["AD", "CN"]})
    arguments = (trained_bundle, tiny_cohort, "--datalist", tmp_path / "other.json", "--out", tmp_path / "out")
    result = run(command, *arguments)
    assert result.code == 2
    assert "classes are ['AD', 'CN'], the network was trained on ['CN', 'AD']" in result.err
    assert not (tmp_path / "out").exists()
