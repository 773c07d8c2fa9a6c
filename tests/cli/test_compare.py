from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from helpers.explained import REGIONS, VOXELS, regions_path, write_regions, write_tables
from neuroxai.io import read_tsv, write_json
from neuroxai.statistics import Reference, Subject, group_difference, group_gain, mean_interval, most_different

FAST = ("--permutations", 499, "--replicates", 200)
SUMS = (*FAST, "--measure", "sum", "--scale", "linear")
FILES = {
    "groups.tsv", "gain.tsv", "percentiles.tsv", "fingerprints.tsv", "groups.png", "fingerprints.png", "compare.json",
}  # fmt: skip


@pytest.fixture
def explained(tmp_path):
    return write_tables(tmp_path)


def densities(out, names):
    tables = [read_tsv(regions_path(out, name)) for name in names]
    return np.array([t["sum"] for t in tables]) / np.where(VOXELS > 0, VOXELS, np.nan)


CONTROLS, PATIENTS = [f"sub-{k:03d}" for k in range(14)], [f"sub-{k:03d}" for k in range(14, 26)]


def test_the_tables_hold_what_the_functions_give(explained, tmp_path):
    out = tmp_path / "compared"
    result = run("compare", explained, "--control", "CN", "--out", out, *SUMS)
    assert result.code == 0, result.err
    assert {p.name for p in out.iterdir()} == FILES
    healthy, sick = densities(explained, CONTROLS), densities(explained, PATIENTS)

    groups = read_tsv(out / "groups.tsv")
    assert tuple(groups["region"]) == REGIONS
    test = group_difference(np.concatenate([sick, healthy]), np.arange(26) < 12, permutations=499)
    for column in ("difference", "t", "p", "p_family", "q"):
        np.testing.assert_allclose(groups[column], getattr(test, column), rtol=1e-6, err_msg=column)
    np.testing.assert_allclose(groups["gain"][:5], group_gain(sick * VOXELS, healthy * VOXELS)[:5], rtol=1e-6)
    interval = mean_interval(sick[:, :5], replicates=200)
    np.testing.assert_allclose(groups["patients_low"][:5], interval.low, rtol=1e-6)
    # a region without voxels keeps its place and has no figure
    assert groups.drop(columns=["region", "voxels"]).iloc[5].isna().all()
    assert (groups["q"][:2] < 0.05).all()

    gains = read_tsv(out / "gain.tsv").set_index(["participant_id", "region"])
    assert len(gains) == 12 * 6
    expected = sick[3, 1] / healthy[:, 1].mean()
    assert gains.loc[("sub-017", REGIONS[1]), "gain"] == pytest.approx(expected, rel=1e-6)

    table = read_tsv(out / "percentiles.tsv")
    assert set(table["participant_id"]) == {*CONTROLS, *PATIENTS}
    people = read_tsv(explained.parent / "cohort" / "participants.tsv").set_index("participant_id")
    reference = Reference.fit(pd.DataFrame(healthy, CONTROLS, REGIONS), people)
    for name, row, how in (("sub-020", sick[6], "refuse"), ("sub-003", healthy[3], "leave-one-out")):
        one = Subject(name, dict(zip(REGIONS, row, strict=True)), *people.loc[name, ["age", "sex"]])
        found = table[table["participant_id"] == name].set_index("region")
        np.testing.assert_allclose(found["z"], reference.compare(one, how)["z"], rtol=1e-5)

    prints = read_tsv(out / "fingerprints.tsv")
    sure = read_tsv(explained / "predictions.tsv").set_index("participant_id").loc[PATIENTS, "probability_AD"]
    pair = most_different(sick, sure)
    assert (prints["first"][0], prints["second"][0]) == (PATIENTS[pair.first], PATIENTS[pair.second])
    assert prints["cosine_distance"][0] == pytest.approx(pair.distance, rel=1e-6)
    assert (prints["first_probability"] > 0.9).all()

    record = json.loads((out / "compare.json").read_text())
    assert (record["controls"], record["patients"], record["regions"]) == (14, 12, 6)
    assert set(record["findings"]["regions_false_discovery"]) >= set(REGIONS[:2])
    assert record["reference"]["adjusted"] == ["age", "sex"]
    some = {
        name: set(table["participant_id"][(table["class"] == name) & (table["q"] <= 0.05)]) for name in ("AD", "CN")
    }
    assert record["findings"]["flagged"] == {"AD": [len(some["AD"]), 12], "CN": [len(some["CN"]), 14]}
    for text in ("12 AD against 14 CN", "Left Hippocampus", "adjusted for age and sex", "most different: sub-0"):
        assert text in result.out


def test_a_log_file_gets_timed_lines(explained, tmp_path):
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert re.search(r"^\[0:00:\d\d\] scans: (\d+) of \1$", result.err, re.MULTILINE), result.err
    assert run("compare", explained, "--out", tmp_path / "out", *FAST, "--json").err == ""


def test_same_seed_same_bytes(explained, tmp_path):
    for name in ("one", "two"):
        assert run("compare", explained, "--out", tmp_path / name, *FAST).code == 0
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert run("compare", explained, "--out", tmp_path / "two", *FAST, "--seed", 1).code == 0
    assert (tmp_path / "one" / "groups.tsv").read_bytes() != (tmp_path / "two" / "groups.tsv").read_bytes()


def test_scans_of_a_participant_count_once(tmp_path):
    explained = write_tables(tmp_path, sessions=3)
    result = run("compare", explained, "--out", tmp_path / "out", *SUMS, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    assert (record["participants"], record["scans"], record["patients"]) == (26, 78, 12)
    assert record == json.loads((tmp_path / "out" / "compare.json").read_text())
    gains = read_tsv(tmp_path / "out" / "gain.tsv").set_index(["participant_id", "region"])
    tables = [read_tsv(regions_path(explained, "sub-020", f"ses-{k}")) for k in (1, 2, 3)]
    expected = np.mean([t["sum"][0] for t in tables])
    assert gains.loc[("sub-020", REGIONS[0]), "sum"] == pytest.approx(expected, rel=1e-6)


def test_shares_compare_patterns_and_not_class_scores(tmp_path):
    # patients have a hundredfold of everything, as with relevance that starts at the probability, and no pattern
    explained = write_tables(tmp_path, effect=0.0)
    before = run("compare", explained, "--out", tmp_path / "before", *FAST, "--measure", "share")
    assert before.code == 0, before.err
    for name in PATIENTS:
        path = regions_path(explained, name)
        table = read_tsv(path)
        table[["sum", "absolute", "positive", "negative"]] *= 100
        table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    result = run("compare", explained, "--out", tmp_path / "sum", *SUMS)
    assert "much of every difference is the class score itself; --measure share" in result.out
    assert (read_tsv(tmp_path / "sum" / "groups.tsv")["p_family"][:5] < 0.05).all()
    result = run("compare", explained, "--out", tmp_path / "share", *FAST, "--measure", "share")
    assert result.code == 0, result.err
    assert "note" not in result.out
    for name in ("groups.tsv", "percentiles.tsv"):
        one, two = (read_tsv(tmp_path / folder / name) for folder in ("before", "share"))
        pd.testing.assert_frame_equal(one, two, rtol=1e-6)
    first = read_tsv(regions_path(explained, "sub-014"))
    gains = read_tsv(tmp_path / "share" / "gain.tsv").set_index(["participant_id", "region"])
    assert gains.loc[("sub-014", "Insula"), "share"] == pytest.approx(
        first["sum"][4] / first["absolute"].sum(), rel=1e-6
    )


def test_logarithms_of_scores_on_demand(explained, tmp_path):
    file = tmp_path / "reference.json"
    result = run("compare", explained, "--out", tmp_path / "log", *FAST, "--scale", "log", "--save-reference", file)
    assert result.code == 0, result.err
    assert "reference of logarithms of 14 controls" in result.out
    one = read_tsv(tmp_path / "log" / "percentiles.tsv")
    plain = run("compare", explained, "--out", tmp_path / "linear", *FAST, "--scale", "linear")
    assert "reference of 14 controls" in plain.out
    two = read_tsv(tmp_path / "linear" / "percentiles.tsv")
    np.testing.assert_allclose(one["value"], two["value"])
    assert not np.allclose(one["z"], two["z"], equal_nan=True)
    # a stored reference brings its scale along
    again = run("compare", explained, "--reference", file, "--members", "leave-one-out", "--out", tmp_path / "b", *FAST)
    assert again.code == 0, again.err
    np.testing.assert_allclose(read_tsv(tmp_path / "b" / "percentiles.tsv")["z"], one["z"], rtol=1e-5)
    assert json.loads((tmp_path / "b" / "compare.json").read_text())["reference"]["scale"] == "log"
    shutil.rmtree(explained / "sub-004")
    write_regions(explained, "sub-004", None, np.array([9.0, 9.0, -1.5, 9.0, 9.0, 9.0]))
    refused = run("compare", explained, "--out", tmp_path / "c", *FAST, "--measure", "sum", "--scale", "log")
    assert refused.code == 0, refused.err
    note = next(line for line in refused.out.splitlines() if "no percentiles" in line)
    assert all(value in note for value in ("sub-004", "-1.5", "'log'"))
    assert not (tmp_path / "c" / "percentiles.tsv").exists()


def test_a_scan_without_relevance_has_no_shares(explained, tmp_path):
    shutil.rmtree(explained / "sub-004")
    write_regions(explained, "sub-004", None, np.zeros(6))
    result = run("compare", explained, "--out", tmp_path / "out", *FAST, "--measure", "share")
    assert result.code == 1
    assert "failed: sub-004: no relevance in any region" in result.err


def test_nothing_but_its_own_results_is_overwritten(explained, tmp_path):
    table = tmp_path / "groups.tsv"
    table.write_text("my own\n")
    other = tmp_path / "notes.json"
    other.write_text("{}")
    for out, more, words in (
        (explained, (), "is an input of this command"),
        (tmp_path, (), "holds groups.tsv of somebody else"),
        (tmp_path / "new", ("--save-reference", explained / "explain.json"), "exists and is no reference"),
        (tmp_path / "new", ("--save-reference", other), "exists and is no reference"),
        (tmp_path / "new", ("--save-reference", tmp_path / "new" / "compare.json"), "is an input"),
    ):
        result = run("compare", explained, "--out", out, *FAST, *more)
        assert (result.code, words in result.err) == (2, True), result.err
    assert (table.read_text(), other.read_text()) == ("my own\n", "{}")
    assert not (tmp_path / "new").exists()


def test_a_stored_reference_serves_another_cohort(explained, tmp_path):
    file = tmp_path / "reference.json"
    assert run("compare", explained, "--out", tmp_path / "one", "--save-reference", file, *FAST).code == 0
    # a single patient without any control
    other = write_tables(tmp_path / "other", controls=0, patients=1, seed=5, effect=8.0, prefix="sub-x")
    result = run("compare", other, "--reference", file, "--out", tmp_path / "two", *FAST)
    assert result.code == 0, result.err
    assert {p.name for p in (tmp_path / "two").iterdir()} == {"percentiles.tsv", "compare.json"}
    assert "note: " in result.out
    table = read_tsv(tmp_path / "two" / "percentiles.tsv").set_index("region")
    assert (table["q"][list(REGIONS[:2])] <= 0.05).all()
    assert (table["percentile"][list(REGIONS[:2])] > 90).all()


def test_a_reference_does_not_score_its_own_controls_unasked(explained, tmp_path):
    file = tmp_path / "reference.json"
    assert run("compare", explained, "--out", tmp_path / "one", "--save-reference", file, *FAST).code == 0
    again = ("compare", explained, "--out", tmp_path / "two", "--reference", file, *FAST)
    result = run(*again)
    assert result.code == 2
    assert "sub-000 is one of the controls" in result.err
    assert not (tmp_path / "two").exists()
    assert run(*again, "--members", "leave-one-out").code == 0
    one, two = (read_tsv(tmp_path / n / "percentiles.tsv") for n in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"checkpoint_sha256": "cd"}, "checkpoint_sha256 'ab', these scores with 'cd'"),
        ({"options": {"beta": 1.0}}, "options {'beta': 0.0}"),
        ({"explained": 0}, "explained 'AD', these scores with 'CN'"),
    ],
)
def test_a_reference_of_other_scores_is_refused(explained, tmp_path, change, named):
    file = tmp_path / "reference.json"
    assert run("compare", explained, "--out", tmp_path / "one", "--save-reference", file, *FAST).code == 0
    other = write_tables(tmp_path / "other", prefix="sub-x", **change)
    result = run("compare", other, "--reference", file, "--out", tmp_path / "two", *FAST)
    assert result.code == 2
    assert named in result.err
    result = run("compare", explained, "--reference", file, "--measure", "absolute", "--out", tmp_path / "two", *FAST)
    assert "measure 'share', these scores with 'absolute'" in result.err


def test_regions_of_another_atlas_are_named(explained, tmp_path):
    file = tmp_path / "reference.json"
    assert run("compare", explained, "--out", tmp_path / "one", "--save-reference", file, *FAST).code == 0
    other = write_tables(tmp_path / "other", controls=0, patients=2, prefix="sub-x")
    for name in ("sub-x000", "sub-x001"):
        shutil.rmtree(other / name)
        write_regions(other, name, None, np.ones(6), ("Putamen", *REGIONS[1:]))
    result = run("compare", other, "--reference", file, "--out", tmp_path / "two", *FAST)
    assert result.code == 2
    assert "'Left Hippocampus' that the subject lacks" in result.err
    assert "'Putamen'" in result.err


def test_unusable_scans_are_named_and_the_rest_is_compared(explained, tmp_path):
    regions_path(explained, "sub-003").unlink()
    table = explained.parent / "cohort" / "participants.tsv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:20], *lines[21:]]) + "\n")
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 1
    assert "failed: sub-003: " in result.err
    assert "failed: sub-019: participants.tsv has no row for it" in result.err
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert (record["controls"], record["patients"]) == (13, 11)


def test_a_patient_without_age_is_named_where_age_is_adjusted_for(explained, tmp_path):
    table = explained.parent / "cohort" / "participants.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    lines[21][2] = "n/a"
    table.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 1
    assert "failed: sub-020: not compared with the reference: sub-020 has no age" in result.err
    assert "sub-020" in set(read_tsv(tmp_path / "out" / "gain.tsv")["participant_id"])
    assert run("compare", explained, "--out", tmp_path / "out", *FAST, "--adjust", "none").code == 0
    assert "sub-020" in set(read_tsv(tmp_path / "out" / "percentiles.tsv")["participant_id"])


def test_a_participant_without_a_class_is_compared_with_the_reference_alone(explained, tmp_path):
    table = explained.parent / "cohort" / "participants.tsv"
    table.write_text(table.read_text().replace("sub-020\tAD", "sub-020\tn/a"))
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 0, result.err
    found = read_tsv(tmp_path / "out" / "percentiles.tsv").set_index("participant_id")
    assert found.loc["sub-020", "class"].isna().all()
    assert "sub-020" not in set(read_tsv(tmp_path / "out" / "gain.tsv")["participant_id"])


def test_a_participant_of_two_classes_is_left_out(tmp_path):
    explained = write_tables(tmp_path, sessions=2)
    sessions = explained.parent / "cohort" / "sub-002" / "sub-002_sessions.tsv"
    sessions.parent.mkdir()
    sessions.write_text("session_id\tdiagnosis\nses-2\tAD\n")
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 1
    assert "failed: sub-002: its scans have different values of diagnosis" in result.err


def test_few_controls_give_groups_without_percentiles(tmp_path):
    explained = write_tables(tmp_path, controls=4, patients=4)
    out = tmp_path / "out"
    out.mkdir()
    (out / "percentiles.tsv").write_text("of a former run\n")
    (out / "compare.json").write_text('{"settings": {}, "findings": {}, "files": ["percentiles.tsv"]}')
    result = run("compare", explained, "--out", out, *FAST)
    assert result.code == 0, result.err
    assert "no percentiles: 4 controls, expected 12 or more for a reference adjusted for age and sex" in result.out
    assert {p.name for p in out.iterdir()} == FILES - {"percentiles.tsv"}
    result = run("compare", explained, "--out", out, *FAST, "--save-reference", tmp_path / "reference.json")
    assert (result.code, (tmp_path / "reference.json").exists()) == (2, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--control", "XX"), "'XX'; choose one of: AD, CN"),
        (("--target", "site"), "--target 'site'"),
        (("--measure", "mean"), "measure 'mean'"),
        (("--scale", "ln"), "scale 'ln'"),
        (("--members", "maybe"), "members 'maybe'"),
        (("--adjust", "site"), "adjust for 'site'"),
        (("--participants", "/nowhere.tsv"), "/nowhere.tsv"),
        (("--reference", "/nowhere.json"), "/nowhere.json"),
        (("--reference", "a", "--save-reference", "b"), "--save-reference"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(explained, tmp_path, options, message):
    result = run("compare", explained, "--out", tmp_path / "out", *FAST, *options)
    assert result.code == 2, result.out
    timed = [line for line in result.err.splitlines() if line.startswith("[0:0")]
    (error,) = result.err.splitlines()[len(timed) :]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_maps_of_different_classes_are_refused(explained, tmp_path):
    for k, name in enumerate(("sub-000", "sub-001")):
        sidecar = regions_path(explained, name)
        write_json(
            sidecar.with_name(sidecar.name.replace("_regions.tsv", "_heatmap.json")), {"target": ["CN", "AD"][k]}
        )
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert (result.code, "explain different classes" in result.err) == (2, True)


def test_scans_of_different_atlases_are_refused(explained, tmp_path):
    shutil.rmtree(explained / "sub-005")
    write_regions(explained, "sub-005", None, np.ones(6), ("Putamen", *REGIONS[1:]))
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert (result.code, "has other regions (or sizes) than" in result.err) == (2, True)


def by_hand(explained, judged: str) -> np.ndarray:
    """t of the logarithm of shares over voxels, against the controls, without adjustment (Crawford & Howell 1998)."""

    def logs(name):
        table = read_tsv(regions_path(explained, name))[:5]
        return np.log(table["sum"] / table["absolute"].sum() / table["voxels"]).to_numpy()

    healthy = np.array([logs(name) for name in CONTROLS])
    return (logs(judged) - healthy.mean(0)) / (healthy.std(0, ddof=1) * np.sqrt(1 + 1 / len(CONTROLS)))


def test_unasked_logarithms_of_shares_are_compared(explained, tmp_path):
    result = run("compare", explained, "--out", tmp_path / "out", *FAST, "--adjust", "none", "--json")
    record = json.loads(result.out)
    assert (record["settings"]["measure"], record["settings"]["scale"]) == ("share", "log")
    assert (record["reference"]["measure"], record["reference"]["scale"]) == ("share", "log")
    assert record["notes"] == []
    table = read_tsv(tmp_path / "out" / "percentiles.tsv")
    found = table[table["participant_id"] == "sub-020"]["z"].to_numpy()
    np.testing.assert_allclose(found[:5], by_hand(explained, "sub-020"), rtol=1e-5)


def test_signed_scores_are_compared_as_they_are_and_that_is_told(explained, tmp_path):
    shutil.rmtree(explained / "sub-004")
    write_regions(explained, "sub-004", None, np.array([9.0, 9.0, -1.5, 9.0, 9.0, 9.0]))
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 0, result.err
    assert "note: scores (share) are not all above 0: they are compared as they are (scale linear)" in result.out
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["reference"]["scale"] == "linear"


def test_controls_that_the_network_was_trained_on_make_no_reference_unasked(tmp_path):
    explained = write_tables(tmp_path, seen={"sub-003": "training", "sub-005": "training", "sub-020": "training"})
    file = tmp_path / "reference.json"
    asked = ("compare", explained, "--out", tmp_path / "out", *FAST)
    for more in ((), ("--save-reference", file)):
        result = run(*asked, *more)
        assert result.code == 2
        assert "error: sub-003 is one of 2 controls (of 14) that the network was trained on" in result.err
        assert "--accept-trained" in result.err
        assert not (tmp_path / "out").exists()
        assert not file.exists()
    result = run(*asked, "--save-reference", file, "--accept-trained")
    assert result.code == 0, result.err
    told = "2 of the reference's 14 controls are scans that the network was trained on"
    assert told in result.out
    assert "note: 1 participants compared are scans that the network was trained on" in result.out
    # whoever takes the reference reads it too
    other = write_tables(tmp_path / "other", controls=0, patients=2, prefix="sub-x")
    result = run("compare", other, "--reference", file, "--out", tmp_path / "two", *FAST)
    assert result.code == 0, result.err
    assert told in result.out
    seen = json.loads((tmp_path / "two" / "compare.json").read_text())["reference"]["controls_seen"]
    assert seen == {"training": 2, "validation": 0, "unknown": 0}


@pytest.mark.parametrize(("part", "told"), [("validation", "are of the validation part"), ("unknown", "may be scans")])
def test_what_is_not_known_of_controls_is_told(tmp_path, part, told):
    explained = write_tables(tmp_path, seen=part)
    result = run("compare", explained, "--out", tmp_path / "out", *FAST)
    assert result.code == 0, result.err
    assert f"note: 14 of the reference's 14 controls {told}" in result.out


def test_a_stored_reference_brings_its_measure(explained, tmp_path):
    file = tmp_path / "reference.json"
    made = run("compare", explained, "--out", tmp_path / "one", "--save-reference", file, *SUMS)
    assert made.code == 0, made.err
    other = write_tables(tmp_path / "other", controls=0, patients=1, prefix="sub-x")
    assert run("compare", other, "--reference", file, "--out", tmp_path / "two", *FAST).code == 0
    record = json.loads((tmp_path / "two" / "compare.json").read_text())
    assert (record["settings"]["measure"], record["settings"]["scale"]) == ("sum", "linear")


def test_controls_that_are_flagged_themselves_are_told(tmp_path):
    # two kinds of healthy people, of whom few are the other one: each of these stands out against the rest
    explained = write_tables(tmp_path, controls=26, effect=0.0)
    for name in ("sub-001", "sub-009", "sub-013", "sub-021", "sub-022"):
        shutil.rmtree(explained / name)
    for name, region in zip(("sub-001", "sub-009", "sub-013", "sub-021", "sub-022"), range(5), strict=True):
        write_regions(explained, name, None, np.where(np.arange(6) == region, 90.0, 10.0))
    result = run("compare", explained, "--out", tmp_path / "out", *FAST, "--adjust", "none")
    assert "note: 5 of 26 controls are flagged themselves, where 5% may be" in result.out


def test_numbers_that_cannot_be_meant_make_nothing(tmp_path):
    for words, said in ((["--above", "nan"], "--above is nan"), (["--seed", "-1"], "--seed")):
        result = run("compare", tmp_path, "--participants", tmp_path / "p.tsv", "--out", tmp_path / "out", *words)
        assert (result.code, said in result.err) == (2, True)
        assert not (tmp_path / "out").exists()
