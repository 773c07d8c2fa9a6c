from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from helpers.pages import without_own_scripts
from helpers.thirds import sampled
from neuroxai.errors import InputError, SpaceError
from neuroxai.evaluation import classification_metrics
from neuroxai.io import read_volume, write_volume
from neuroxai.pictures import maps
from neuroxai.pictures.text import number
from neuroxai.report import build_report
from neuroxai.report.plots import charts
from neuroxai.report.scan import pages as scan_pages
from neuroxai.space import Space, Volume

NETWORK = "_space-network_desc-lrpAlphaBeta_heatmap.nii.gz"


@pytest.fixture(autouse=True)
def pictures(request, monkeypatch):
    """Draw only where a test asks for it: pictures have tests of their own."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(maps, "mosaic", lambda *_, **__: b"mosaic")
        monkeypatch.setattr(charts, "roc_figure", lambda *_, **__: b"roc")


@pytest.fixture
def drawn():
    """Name it to have the pictures drawn."""


def heatmap_of(out: Path, participant: str) -> Path:
    return out / participant / "anat" / f"{participant}{NETWORK}"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_pages_metrics_and_identical_bytes(explained, drawn):
    out = explained(masks=True)
    built = build_report(out)
    assert built.failures == []
    first = contents(out / "report")
    assert set(first) == {"index.html", "metrics.json", *(f"sub-000{n}.html" for n in range(1, 7))}
    build_report(out)
    assert contents(out / "report") == first
    for name, data in first.items():
        if name.endswith(".html"):
            assert not re.search(rb"https?://", data), name
    index = first["index.html"].decode()
    for target in re.findall(r'href="([^"]+)"', index):
        assert f'id="{target[1:]}"' in index if target[0] == "#" else target in first
    found = json.loads(first["metrics.json"])
    assert found == json.loads(json.dumps(built.metrics))
    assert found["confusion"] == {
        "TP": ["sub-0001", "sub-0002"],
        "FN": ["sub-0003"],
        "TN": ["sub-0004", "sub-0005"],
        "FP": ["sub-0006"],
    }
    assert found["groups"] == {"patients": 3, "controls": 3, "TP": 2, "FN": 1, "TN": 2, "FP": 1, "all": 6}
    expected = classification_metrics([1, 1, 1, 0, 0, 0], [0.9, 0.8, 0.3, 0.2, 0.1, 0.7])
    assert found["classification"] == {k: v.to_dict() for k, v in expected.items()}


def test_several_processes_write_the_same_bytes(explained, drawn):
    out = explained(masks=True)
    heatmap_of(out, "sub-0002").write_bytes(b"")
    told = [build_report(out, jobs=1).failures]
    first = contents(out / "report")
    assert "sub-0002.html" not in first
    shutil.rmtree(out / "report")
    done = []
    told.append(build_report(out, jobs=2, on_scan=lambda *counts: done.append(counts)).failures)
    assert contents(out / "report") == first
    assert told[0] == told[1]
    assert done == [(n, 6) for n in range(1, 7)]
    with pytest.raises(InputError, match="-2"):
        build_report(out, jobs=-2)


def test_a_process_that_the_system_ends_is_one_line(explained, monkeypatch):
    monkeypatch.setattr(scan_pages, "show", die)
    with pytest.raises(InputError, match="--jobs"):
        build_report(explained(), jobs=2)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_known_truth_against_arrays(explained):
    """Recompute from the files, with loops over whole arrays at once: the cohort is small."""
    out = explained(masks=True, orientation="LIA")
    found = build_report(out, truth=True).metrics["known_truth"]
    cohort = out.parent / "cohort"
    maps = {n: read_volume(heatmap_of(out, f"sub-000{n}")).data.astype(np.float64) for n in range(1, 7)}
    scans = [read_volume(p).reoriented("RAS").data for p in sorted(cohort.glob("sub-*/anat/*T1w.nii.gz"))]
    masks = [
        read_volume(p, check_content=False).reoriented("RAS").data > 0
        for p in sorted(cohort.glob("sub-000[123]/anat/*effect_mask.nii.gz"))
    ]
    brain = np.any([scan > 0 for scan in scans], axis=0)
    effect = np.mean(masks, axis=0) >= 0.5
    assert found["patients_with_mask"] == 3
    assert found["effect_voxels"] == effect.sum()
    assert found["brain_voxels"] == brain.sum()
    for group, members in {"patients": (1, 2, 3), "controls": (4, 5, 6)}.items():
        positive = np.maximum(sum(maps[n] for n in members) / 3, 0)
        ratio = positive[effect].mean() / positive[brain & ~effect].mean()
        assert found["density_ratio"][group]["value"] == pytest.approx(ratio, rel=1e-9)
        mass = []
        for n in members:
            own = masks[n - 1] if n <= 3 else effect
            mass.append(np.maximum(maps[n], 0)[own].sum() / np.maximum(maps[n], 0).sum())
        assert found["relevance_mass"][group]["mean"] == pytest.approx(np.mean(mass), rel=1e-9)
        assert list(found["relevance_mass"][group]["scans"].values()) == pytest.approx(mass, rel=1e-9)
    assert found["density_ratio"]["patients"]["value"] > 3 > found["density_ratio"]["controls"]["value"]
    assert found["dose"] == [{"column": "hippocampus_loss_percent", "n": 3, "mean": 21, "sd": 1, "min": 20, "max": 22}]


def test_region_table_against_the_files(explained):
    import pandas as pd

    out = explained()
    regions = {r["name"]: r for r in build_report(out).metrics["regions"]}
    assert "Absent nucleus" not in regions
    tables = [
        pd.read_csv(str(heatmap_of(out, f"sub-000{n}")).replace("_heatmap.nii.gz", "_regions.tsv"), sep="\t")
        for n in range(1, 7)
    ]
    for name in ("Left half", "Right half"):
        rows = [t[t["name"] == name].iloc[0] for t in tables]
        patients, controls = np.mean([r["sum"] for r in rows[:3]]), np.mean([r["sum"] for r in rows[3:]])
        assert regions[name]["gain"] == pytest.approx(patients / controls, rel=1e-9)
        assert regions[name]["sum"]["FN"] == pytest.approx(rows[2]["sum"])
        assert regions[name]["density"]["TP"] == pytest.approx((rows[0]["density"] + rows[1]["density"]) / 2)


def test_no_true_labels_no_metrics_but_pages(explained):
    out = explained(labels=False, masks=True)
    built = build_report(out)
    assert built.metrics["classification"] == {}
    assert built.metrics["known_truth"] is None
    assert built.metrics["groups"]["all"] == 6
    index = built.index.read_text()
    assert "No true labels are known" in index
    assert "Confusion" not in index
    assert "Gain" not in index
    assert (out / "report" / "sub-0004.html").is_file()
    with pytest.raises(InputError, match="--truth"):
        build_report(out, truth=True)


def test_a_single_scan_without_run_record_or_native_heatmap(explained, drawn):
    out = explained(people=[("sub-0001", "", "AD", "AD", 0.9)], labels=False, record=False, native=False)
    built = build_report(out)
    assert built.failures == []
    assert built.metrics["scans"] == 1
    assert "1 scan of 1 participant<" in built.index.read_text()


def test_one_class_only(explained):
    people = [("sub-0001", "", "AD", "AD", 0.9), ("sub-0002", "", "AD", "CN", 0.4)]
    built = build_report(explained(people=people, masks=True))
    metrics = built.metrics
    assert metrics["classification"]["roc_auc"]["value"] is None
    assert metrics["classification"]["sensitivity"]["value"] == 0.5
    assert metrics["known_truth"]["density_ratio"]["controls"] == {"value": None, "reason": "no scan is in this group"}
    assert "No scan is in this group." in built.index.read_text()


def test_several_sessions_of_a_subject_bootstrap_subjects(explained):
    people = [
        (f"sub-000{n}", f"ses-{s}", "AD" if n < 4 else "CN", "AD" if (n < 4) != (n % 3 == 0) else "CN", 0.4 + 0.01 * n)
        for n in range(1, 7)
        for s in (1, 2)
    ]
    out = explained(people=people)
    metrics = build_report(out).metrics
    assert (metrics["scans"], metrics["participants"]) == (12, 6)
    assert "bootstrap over subjects" in metrics["classification"]["balanced_accuracy"]["method"]
    assert (out / "report" / "sub-0003_ses-2.html").is_file()


@pytest.mark.parametrize("damage", sampled(["truncated", "nan", "absent", "no sidecar", "other native grid"], 4))
def test_one_broken_heatmap_is_reported_and_the_rest_go_on(explained, damage):
    out = explained(masks=True)
    path = heatmap_of(out, "sub-0002")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "nan":
        volume = read_volume(path)
        write_volume(path, Volume(np.where(volume.data > 0.5, np.nan, volume.data), volume.space))
    elif damage == "absent":
        path.unlink()
    elif damage == "no sidecar":
        path.with_name(path.name.replace(".nii.gz", ".json")).unlink()
    else:
        native = Path(str(path).replace("space-network", "space-orig"))
        volume = read_volume(native)
        write_volume(native, Volume(volume.data[1:], Space((11, 14, 12), volume.space.affine)))
    built = build_report(out)
    assert [f.title for f in built.failures] == ["sub-0002"]
    assert not (out / "report" / "sub-0002.html").exists()
    assert (out / "report" / "sub-0006.html").is_file()
    assert built.metrics["groups"]["patients"] == 2
    # the prediction stands all the same
    assert built.metrics["classification"]["sensitivity"]["n"] == 3
    index = built.index.read_text()
    assert "Failures" in index
    assert 'href="sub-0002.html"' not in index


def test_a_broken_scan_or_table_leaves_the_page_and_is_reported(explained):
    out = explained()
    scan = next((out.parent / "cohort").glob("sub-0001/anat/*T1w.nii.gz"))
    scan.write_bytes(b"no image")
    regions = Path(str(heatmap_of(out, "sub-0003")).replace("_heatmap.nii.gz", "_regions.tsv"))
    regions.write_text("name\tsum\na\t1\n")
    built = build_report(out)
    assert [f.title for f in built.failures] == ["sub-0001", "sub-0003"]
    assert "cannot be shown beneath" in (out / "report" / "sub-0001.html").read_text()
    assert built.metrics["groups"]["all"] == 6


def test_what_explain_could_not_do_is_listed(explained):
    out = explained()
    record = json.loads((out / "explain.json").read_text())
    record["failed"] = [{"participant_id": "sub-0077", "error": "holds NaN"}]
    (out / "explain.json").write_text(json.dumps(record))
    built = build_report(out)
    assert built.failures == []
    assert built.metrics["failures"] == [{"scan": "sub-0077", "error": "not explained: holds NaN"}]


def test_mismatched_grids_stop_before_anything_is_written(explained):
    out = explained()
    path = heatmap_of(out, "sub-0004")
    volume = read_volume(path)
    write_volume(path, Volume(volume.data[:, 1:], Space((12, 13, 12), volume.space.affine)))
    with pytest.raises(SpaceError, match=r"12 x 13 x 12.*12 x 14 x 12"):
        build_report(out)
    assert not (out / "report").exists()


def test_folders_that_cannot_be_used(explained, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        build_report(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"predictions\.tsv"):
        build_report(tmp_path / "empty")
    out = explained()
    with pytest.raises(InputError, match="--dataset-dir"):
        build_report(out, dataset_dir=tmp_path / "elsewhere")
    with pytest.raises(InputError, match="--truth"):
        build_report(out, truth=True)
    table = (out / "predictions.tsv").read_text()
    for wrong, message in [
        (table.replace("probability_AD", "chance"), "probability_AD"),
        (table.replace("\t0.9\t", "\t9\t"), "probability_AD of sub-0001.* 9"),
        (table.replace("AD\tAD", "AD\tMCI"), "MCI"),
        (table + table.splitlines()[1] + "\n", "sub-0001"),
        (table.splitlines()[0] + "\n", "predictions.tsv"),
        (table.replace("sub-0001", "../../etc"), "../../etc"),
        (table.replace("sub-", "sub-x"), "lrp_alpha_beta"),
    ]:
        (out / "predictions.tsv").write_text(wrong)
        with pytest.raises(InputError, match=message):
            build_report(out)
    assert not (out / "report").exists()


def test_the_cohort_may_have_moved(explained):
    out = explained(masks=True)
    moved = out.parent / "moved"
    shutil.move(out.parent / "cohort", moved)
    with pytest.raises(InputError, match="--dataset-dir"):
        build_report(out)
    built = build_report(out, out.parent / "pages", moved)
    assert built.index == out.parent / "pages" / "index.html"
    assert built.metrics["known_truth"]["patients_with_mask"] == 3
    assert built.metrics["known_truth"]["dose"][0]["n"] == 3


def test_identifiers_with_markup_are_escaped_and_get_safe_file_names(explained):
    people = [
        ("sub-<script>alert(1)<", "", "AD", "AD", 0.9),
        ("sub-(script)alert(1)(", "", "CN", "CN", 0.2),
    ]
    out = explained(people=people)
    built = build_report(out)
    assert built.failures == []
    pages = sorted(p.name for p in (out / "report").glob("sub*.html"))
    # both would be called the same
    assert pages == ["sub--script-alert-1--2.html", "sub--script-alert-1-.html"]
    for page in (out / "report").glob("*.html"):
        assert "<script" not in without_own_scripts(page.read_text())


def edit_json(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_targets_that_differ_are_said_to_mix(explained):
    out = explained()
    note = "the averages mix maps of different classes"
    edit_json(out / "explain.json", target="predicted")
    built = build_report(out)
    # all heatmaps explain the same class after all
    assert (built.metrics["positive"], note in built.index.read_text()) == ("AD", False)
    edit_json(Path(str(heatmap_of(out, "sub-0004")).replace(".nii.gz", ".json")), target="CN")
    assert note in build_report(out).index.read_text()


@pytest.mark.parametrize(
    "asked", sampled([{"target": "CN"}, {"target": 0}, {"explained": 0}, {"explained": "predicted"}], 3)
)
def test_groups_do_not_depend_on_the_class_explained(explained, asked):
    out = explained()
    record = json.loads((out / "explain.json").read_text())
    del record["target"]
    (out / "explain.json").write_text(json.dumps({**record, **asked}))
    for path in out.glob("sub-*/anat/*_heatmap.json"):
        edit_json(path, target="CN")
    built = build_report(out)
    metrics, page = built.metrics, built.index.read_text()
    assert (metrics["explained"], metrics["positive"], metrics["controls"]) == ("CN", "AD", "CN")
    assert metrics["confusion"]["TP"] == ["sub-0001", "sub-0002"]
    assert metrics["confusion"]["TN"] == ["sub-0004", "sub-0005"]
    assert metrics["groups"]["patients"] == metrics["groups"]["controls"] == 3
    # two of three patients found, two of three controls
    assert metrics["classification"]["sensitivity"]["value"] == pytest.approx(2 / 3)
    assert "Class explained: <strong>CN</strong>" in page
    assert "whose true label is <strong>AD</strong>, controls those whose true label is <strong>CN</strong>" in page


def test_the_same_scans_are_not_shown_twice(explained):
    people = [
        ("sub-0001", "", "AD", "AD", 0.9),
        ("sub-0002", "", "AD", "AD", 0.8),
        ("sub-0004", "", "CN", "CN", 0.2),
        ("sub-0005", "", "CN", "CN", 0.1),
        ("sub-0006", "", "CN", "AD", 0.7),
    ]
    built = build_report(explained(people=people))
    page = built.index.read_text()
    # nobody is missed: the true positives are the patients
    assert "<strong>True positives (n = 2)</strong> The same scans as all patients, whose map stands above." in page
    assert page.count('alt="Mean relevance for AD') == 4  # patients, controls, TN, FP
    assert {tuple(sorted(row["sum"])) for row in built.metrics["regions"]} == {("FP", "TN", "controls", "patients")}


def test_patients_and_controls_stand_in_the_comparison_alone(explained):
    page = build_report(explained()).index.read_text()
    assert 'alt="Axial and coronal slices of the mean relevance for AD of patients and of controls' in page
    assert re.findall(r'alt="Mean relevance for AD, ([A-Za-z ]+), (\d)', page) == [
        ("True positives", "2"),
        ("False negatives", "1"),
        ("True negatives", "2"),
        ("False positives", "1"),
    ]


def test_classes_written_as_numbers(explained):
    out = explained(people=[("sub-0001", "", "AD", "AD", 0.9), ("sub-0002", "", "CN", "CN", 0.1)])
    table = (out / "predictions.tsv").read_text()
    table = table.replace("_AD", "_1").replace("_CN", "_0").replace("CN\tCN", "n/a\t0").replace("AD\tAD", "1\t1")
    (out / "predictions.tsv").write_text(table)
    record = json.loads((out / "explain.json").read_text())
    (out / "explain.json").write_text(json.dumps({**record, "classes": ["0", "1"], "target": 1}))
    metrics = build_report(out).metrics
    assert (metrics["positive"], metrics["labelled"]) == ("1", 1)
    assert metrics["confusion"]["TP"] == ["sub-0001"]


@pytest.mark.full(0)
def test_memory_does_not_grow_with_the_cohort(explained, monkeypatch):
    """Volumes alive at once, counted when each scan is done."""
    import gc

    out = explained()
    alive = []

    def count(done, total):
        gc.collect()
        alive.append(sum(isinstance(o, Volume) for o in gc.get_objects()))

    build_report(out, on_scan=count)
    assert len(alive) == 6
    assert max(alive[1:]) <= alive[0] + 1


def test_relevance_outside_the_brain_is_told(explained):
    folder = explained()
    path = next(folder.rglob("sub-0004_space-network_*_heatmap.nii.gz"))
    heatmap = read_volume(path)
    inside = np.abs(heatmap.data).sum(dtype=np.float64)
    data = heatmap.data.copy()
    corner = np.array([[0, 0, 0], [0, 13, 11], [11, 13, 11]])  # asymmetric, and no brain there
    data[tuple(corner.T)] = -0.5
    write_volume(path, Volume(data, heatmap.space))
    built = build_report(folder)
    found = built.metrics["outside_brain"]
    share = 1.5 / (inside + 1.5)
    assert found == {"mean": pytest.approx(share / 6), "highest": pytest.approx(share), "scan": "sub-0004", "n": 6}
    page = (built.index.parent / "sub-0004.html").read_text()
    assert f"Relevance outside the brain: {100 * share:.1f}\N{NO-BREAK SPACE}% of its magnitude" in page
    other = (built.index.parent / "sub-0001.html").read_text()
    assert "Relevance outside the brain: 0.0\N{NO-BREAK SPACE}% of its magnitude" in other
    assert f"at most {100 * share:.1f}\N{NO-BREAK SPACE}% (sub-0004)" in built.index.read_text()


def test_a_faint_map_is_faint_beside_others_and_can_be_stretched(explained):
    out = explained()
    path = heatmap_of(out, "sub-0004")
    volume = read_volume(path)
    for name in (path, path.with_name(path.name.replace("-network_", "-orig_"))):
        old = read_volume(name)
        write_volume(name, Volume(old.data * np.float32(1e-5), old.space))
    build_report(out)
    faint, strong = ((out / "report" / f"sub-000{n}.html").read_text() for n in (4, 1))
    own = [
        np.percentile(np.abs(read_volume(heatmap_of(out, f"sub-000{n}")).data.astype(float)), 99.9) for n in range(1, 7)
    ]
    total = float(np.abs(volume.data * np.float32(1e-5)).sum(dtype=float))
    assert f"total absolute relevance {number(total)}, weaker than 100 % of 3 patients" in faint
    for page in (faint, strong):
        assert f"from {number(-max(own))} to {number(max(own))}, that of the 6 scans explained together" in page
    assert "The map is faint" in faint
    assert f"{number(-own[3])} to {number(own[3])}</summary>" in faint
    assert "<details>" not in strong
    told = json.loads(re.search(r'id="viewer-data">(.*?)</script>', faint, re.DOTALL)[1])
    assert (told["limit"], told["scale"]) == (pytest.approx(own[3]), pytest.approx(max(own)))


def test_the_scale_that_the_run_noted_is_taken(explained):
    out = explained(people=[("sub-0004", "", "CN", "CN", 0.2)])
    scale = {"limit": 50.0, "source": "bundle", "scans": 9, "patients": [1.0, 1e9, 2e9, 3e9]}
    edit_json(out / "explain.json", scale=scale)
    build_report(out)
    page = (out / "report" / "sub-0004.html").read_text()
    assert "from \u221250 to 50, the bundle&#39;s, kept from 9 scans" in page
    assert "weaker than 75 % of 4 patients (their median: 1.5e9)" in page
    edit_json(out / "explain.json", scale=None)
    build_report(out)
    page = (out / "report" / "sub-0004.html").read_text()
    assert "this scan&#39;s own" in page
    assert "no patients are known to compare it with" in page
