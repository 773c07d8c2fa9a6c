"""The benchmarks run and print their tables; what they measure is not asserted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.explain_folder import write_explain_folder

BENCHMARKS = Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"
LAST = ("in memory, channels last", "on disk, channels last")
KEPT = ("in memory", *LAST, *(f"{way}, freed memory kept" for way in LAST))
SMALLEST = ("--shape", "78", "78", "78")


def run(script, *arguments, shape=SMALLEST):
    command = [sys.executable, str(BENCHMARKS / script), *shape, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


@pytest.mark.full(0)
def test_attribution_table():
    methods = ("saliency", "occlusion", "region_occlusion")
    text = run("attribution.py", "--methods", *methods, "--repeats", "1", "--loop", "1", "--patch", "26", "--no-memory")
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    assert set(rows) == {"method", "plain", "plain, channels last", *methods}
    for name in methods:
        assert float(rows[name][0]) > 0
        assert float(rows[name][1]) > 0
    assert float(rows["saliency"][4]) > 0
    assert "Occlusion, 27 patches of 26^3" in text


@pytest.mark.full(0)
def test_peak_memory_of_one_method():
    text = run("lrp.py", "--batch", "1", "--peak", "epsilon")
    assert not float(text) < 1  # MiB; the scan alone has 1.8. Not a number where the system keeps no peak


@pytest.mark.full(0)
def test_training_table():
    text = run(
        "train.py", "--spacing", "5", "--scans", "4", "--batch", "2", "--repeats", "1", "--device", "cpu", shape=()
    )
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    assert set(rows) == {"training", "plain loop", *(f"kept {where}" for where in KEPT)}
    assert float(rows["plain loop"][1]) == 1
    for name in rows.keys() - {"training"}:
        assert float(rows[name][0]) > 0
        assert rows[name][2].strip().endswith("%")


@pytest.mark.full(0)
def test_memory_table_and_its_limit():
    text = run("memory.py", "--networks", "ms_cnn", "--batch", "2", "--limit", "8")
    saving, plain = next(line.split("|")[2:4] for line in text.splitlines() if line.startswith("| ms_cnn"))
    assert 0 < float(saving) < float(plain)
    assert run("memory.py", "--peak", "ms_cnn", "--batch", "2", "--without", "--limit", "0.8").strip() == "inf"


@pytest.mark.full(0)
def test_explaining_table():
    text = run("explain.py", "--spacing", "5", "--scans", "2", "--device", "cpu", shape=())
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    assert set(rows) == {"explaining", "maps and scores", "scores alone", "scores alone, on the scan's grid"}
    for name in rows.keys() - {"explaining"}:
        assert float(rows[name][0]) > 0
        assert all(float(cell) >= 0 for cell in rows[name][1:])


@pytest.mark.full(0)
def test_atlas_table():
    text = run("atlas.py", "--spacing", "5", "--regions", "9", "--batch", "2", "--repeats", "1", shape=())
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    assert set(rows) == {"sums of regions", "RegionScorer", "NiftiLabelsMasker", "scipy.ndimage.sum_labels"}
    assert float(rows["RegionScorer"][1]) == 1
    assert all(float(row[0]) > 0 for name, row in rows.items() if name != "sums of regions")
    assert text.count("largest difference from") == 2


@pytest.mark.full(0)
def test_report_table(tmp_path):
    people = [("sub-0001", "", "AD", "AD", 0.9), ("sub-0002", "", "CN", "CN", 0.2)]
    text = run("report.py", str(write_explain_folder(tmp_path, people=people)), "--repeats", "1", shape=())
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in text.splitlines() if line.startswith("| ")}
    ours = {"neuroxai report", "neuroxai report --jobs 2", "neuroxai --help"}
    pages = {"pages of 2 scans", "scans' pages", "view_img and mosaic", "plot_stat_map, mosaic"}
    assert set(rows) == {*pages, "start", "import typer, rich", *ours}
    assert float(rows["view_img and mosaic"][1]) == float(rows["import typer, rich"][1]) == 1
    assert all(float(cell) > 0 for name in ours for cell in rows[name])
