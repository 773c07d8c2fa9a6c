"""Report pages in headless Chromium: nothing leaves them, nothing breaks, the viewer answers, they fit a phone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from check_pages import DESKTOP, browser, look
from helpers.brains import bids_of
from helpers.command import run
from neuroxai import io
from neuroxai.report import build_report
from neuroxai.space import Volume

pytestmark = [
    pytest.mark.full(2),
    pytest.mark.skipif(
        not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
        reason="no Chromium on PATH: apt-get install chromium",
    ),
    pytest.mark.xdist_group("browser"),
]
LEFT = np.array([-28.0, -20.0, -14.0])


@pytest.fixture(scope="module")
def pages(trained_bundle, tiny_cohort, tmp_path_factory):
    """A cohort's page and one scan's, whose heatmap is one blob in the left hippocampus."""
    out = tmp_path_factory.mktemp("browser") / "explained"
    assert run("explain", trained_bundle, tiny_cohort, "--part", "test", "--out", out).code == 0
    for path in out.glob("sub-17/anat/*_heatmap.nii.gz"):
        volume = io.read_volume(path)
        data = np.zeros_like(volume.data)
        data[tuple(volume.space.voxels(LEFT).round().astype(int))] = 1
        io.write_volume(path, Volume(data, volume.space))
    (path,) = out.glob("sub-17/anat/*_regions.tsv")
    table = pd.read_csv(path, sep="\t")
    table.loc[table["name"] == "Left hippocampus", ["density", "contrast"]] = 1.0, 99.0
    table.to_csv(path, sep="\t", index=False)
    return build_report(out).index.parent


def asked(pages, *expressions):
    """Open the scan's page and evaluate one expression after another."""

    async def inner():
        async with browser() as tab:
            await tab.size(*DESKTOP)
            await tab.open(pages / "sub-17.html")
            return [await tab.evaluate(one) for one in expressions]

    return asyncio.run(inner())


AXE = Path(os.environ["NEUROXAI_AXE"]) if os.environ.get("NEUROXAI_AXE") else None


@pytest.mark.parametrize("name", ["index", "sub-17"])
def test_pages_stand_alone_without_errors_and_fit_a_phone(pages, name):
    async def inner():
        async with browser() as tab:
            return await look(tab, pages / f"{name}.html", AXE)

    found = asyncio.run(inner())
    assert found.faults == []
    assert 0 < found.seconds < 30


def test_a_prepared_scan_and_the_template_take_turns(tmp_path):
    bids = bids_of(tmp_path / "bids", 1)
    words = ("--arm", "none", "--no-bias-correction", "--spacing", 4)
    assert run("prepare", bids, tmp_path / "out", *words).code == 0
    (page,) = (tmp_path / "out" / "figures").glob("*.html")
    seen = "Array.from(document.images).map((one) => getComputedStyle(one).visibility === 'visible')"
    # one cycle, looked at every tenth of a second
    turns = f"""new Promise((done) => {{ const found = []; const timer = setInterval(() => {{
      found.push({seen}[2]); if (found.length === 20) {{ clearInterval(timer); done(found); }} }}, 100); }})"""

    async def inner():
        async with browser() as tab:
            faults = [(await look(tab, one, AXE)).faults for one in (tmp_path / "out" / "index.html", page)]
            shown = [await tab.evaluate(seen)]
            for name in ("1", "3"):
                shown.append(await tab.evaluate(f"document.getElementById('layer-{name}').click(), {seen}"))
            await tab.evaluate("document.getElementById('layer-moving').click()")
            return faults, shown, await tab.evaluate(turns)

    faults, shown, taken = asyncio.run(inner())
    assert faults == [[], []]
    # the lowest is never hidden, the one on top counts
    assert shown == [[True, True, False], [True, False, False], [True, False, True]]
    assert 4 < sum(taken) < 16


def test_a_page_with_faults_is_found_out(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><html><head><title>x</title></head><body><img src='http://127.0.0.1:9/x.png'>"
        "<div style='width: 900px'>wide</div><script>throw new Error('broken')</script></body></html>"
    )

    async def inner():
        async with browser() as tab:
            return await look(tab, page)

    found = asyncio.run(inner())
    assert found.requests == ["http://127.0.0.1:9/x.png"]
    assert any("exception" in error for error in found.errors)
    assert found.overflow > 400


READ = "document.querySelector('#viewer output').textContent"
# mean column and row of the orange pixels of a canvas, as shares of its size
ORANGE = """(() => { const canvas = document.querySelectorAll('.planes canvas')[NUMBER];
  const w = canvas.width, h = canvas.height, data = canvas.getContext('2d').getImageData(0, 0, w, h).data;
  let x = 0, y = 0, n = 0;
  for (let i = 0; i < data.length; i += 4)
    if (data[i] > 200 && data[i + 1] > 120 && data[i + 2] < 160 && data[i] > data[i + 2] + 80)
      { x += (i / 4) % w; y += Math.floor(i / 4 / w); n += 1; }
  return JSON.stringify([x / n / w, y / n / h, n]); })()"""


def test_the_viewer_starts_at_the_blob_and_shows_it_on_the_left(pages):
    text, axial, coronal = asked(pages, READ, ORANGE.replace("NUMBER", "0"), ORANGE.replace("NUMBER", "1"))
    x = float(text.split(",")[0].removeprefix("x ").replace("\N{MINUS SIGN}", "-"))
    assert abs(x - LEFT[0]) <= 5, text
    assert "Left hippocampus" in text
    for told in (axial, coronal):
        column, _, count = json.loads(told)
        assert count > 10
        assert column < 0.45, told  # the subject's left is on the picture's left


def test_the_viewer_answers_to_sliders_pointer_wheel_and_region_names(pages):
    slide = """(() => { const s = document.querySelector("input[data-axis='0']"); s.value = Number(s.value) + 25;
      s.dispatchEvent(new Event('input')); })()"""
    wheel = """document.querySelectorAll('.planes canvas')[0]
      .dispatchEvent(new WheelEvent('wheel', {deltaY: -1, cancelable: true}))"""
    click = """(() => { const c = document.querySelectorAll('.planes canvas')[0], b = c.getBoundingClientRect();
      c.setPointerCapture = () => 0;
      c.dispatchEvent(new PointerEvent('pointerdown', {clientX: b.left + b.width * .8, clientY: b.top + b.height * .5,
      pointerId: 1})); })()"""
    region = """(() => { const b = Array.from(document.querySelectorAll('[data-region] button'))
      .find((one) => one.textContent.startsWith('Right')); b.click(); return b.textContent; })()"""
    before, _, slid, _, wheeled, _, clicked, name, text = asked(
        pages, READ, slide, READ, wheel, READ, click, READ, region, READ
    )

    def numbers(text):
        return [float(part.strip(" xyzm").replace("\N{MINUS SIGN}", "-")) for part in text.split(" mm")[0].split(",")]

    assert numbers(slid)[0] == numbers(before)[0] + 25
    assert numbers(wheeled)[2] == numbers(slid)[2] + 5
    assert numbers(clicked)[0] > 30  # the picture's right is the subject's right
    assert f": {name};" in text
    assert numbers(text)[0] > 0


def test_the_viewer_answers_to_keys_zoom_and_switches(pages):
    key = """document.querySelectorAll('.planes canvas')[0]
      .dispatchEvent(new KeyboardEvent('keydown', {key: 'KEY', cancelable: true}))"""
    switch = """(() => { const b = document.querySelector("[data-switch='NAME']"); b.click(); return b.checked; })()"""
    frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
    axial = ORANGE.replace("NUMBER", "0")
    asking = [READ, key.replace("KEY", "ArrowLeft"), READ, key.replace("KEY", "PageUp"), READ]
    asking += [key.replace("KEY", "PageDown"), key.replace("KEY", "ArrowRight"), frame, axial]
    asking += [key.replace("KEY", "+"), frame, axial, key.replace("KEY", "0"), frame, axial]
    for name in ("positive", "positive", "contour", "contour", "smooth"):
        asking += [switch.replace("NAME", name), frame, axial]
    found = asked(pages, *asking)
    before, left, higher = found[0], found[2], found[4]

    def place(text):
        return [float(part.strip(" xyzm").replace("\N{MINUS SIGN}", "-")) for part in text.split(" mm")[0].split(",")]

    assert place(left)[0] == place(before)[0] - 5
    assert place(higher)[2] == place(left)[2] + 5
    plain, zoomed, again = (json.loads(found[n])[2] for n in (8, 11, 14))
    assert zoomed > 1.3 * plain
    assert again == plain
    hidden, back, outlined, filled, voxels = (json.loads(found[n])[2] for n in (17, 20, 23, 26, 29))
    assert hidden == 0
    assert back == filled == plain
    assert 0 < outlined < plain
    assert voxels > plain  # one voxel in full colour, without its slopes


def test_small_clusters_are_hidden_and_colours_chosen(pages):
    """The heatmap is one voxel of 5 mm: .125 ml."""
    slide = """(() => { const s = document.querySelector("[data-share='cluster']"); s.value = VALUE;
      s.dispatchEvent(new Event('input')); return s.getAttribute('aria-valuetext'); })()"""
    tint = """(() => { const s = document.querySelector("[data-colours]"); s.value = 'Green and purple';
      s.dispatchEvent(new Event('change')); })()"""
    frame = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))"
    axial = ORANGE.replace("NUMBER", "0")
    asking = [frame, axial]
    for value in ("10", "20", "0"):
        asking += [slide.replace("VALUE", value), frame, axial]
    found = asked(pages, *asking, tint, frame, axial)
    plain, smaller, larger, none, green = (json.loads(found[n])[2] for n in (1, 4, 7, 10, 13))
    assert [found[n] for n in (2, 5, 8)] == ["0.1 ml", "0.2 ml", "0.0 ml"]
    assert plain > 10
    assert smaller == none == plain
    assert larger == 0
    assert green == 0


def test_tables_sort_and_are_narrowed(pages):
    async def inner():
        async with browser() as tab:
            await tab.open(pages / "index.html")
            rows = "Array.from(document.querySelectorAll('#scans tbody tr')).filter((r) => !r.hidden)"
            column = f"JSON.stringify({rows}.map((r) => r.cells[3].textContent))"
            button = "document.querySelectorAll('#scans thead button')[3]"
            down = json.loads(await tab.evaluate(f"{button}.click(), {column}"))
            up = json.loads(await tab.evaluate(f"{button}.click(), {column}"))
            sort = await tab.evaluate(f"{button}.parentElement.getAttribute('aria-sort')")
            left = await tab.evaluate(
                "(() => { const i = document.querySelector('input[data-filter=scans]'); i.value = 'sub-17';"
                f" i.dispatchEvent(new Event('input')); return {rows}.length; }})()"
            )
            return down, up, sort, left

    down, up, sort, left = asyncio.run(inner())
    values = [float(text.split()[0]) for text in down]
    assert values == sorted(values, reverse=True)
    assert len(values) == 4
    assert [float(text.split()[0]) for text in up] == sorted(values)
    assert sort == "ascending"
    assert left == 1
