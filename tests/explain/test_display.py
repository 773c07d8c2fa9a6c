"""What a notebook shows of an explanation: the table with its picture, and the viewer as a page."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pytest

import neuroxai
from helpers.packed import value_at
from neuroxai import io
from neuroxai.space import Volume


@pytest.fixture(scope="module")
def explanation(trained_bundle, tiny_cohort):
    scan = next(iter(sorted(tiny_cohort.glob("sub-17/anat/*T1w.nii.gz"))))
    return neuroxai.open_bundle(trained_bundle, device="cpu").explain(scan)


def test_the_table_names_classes_regions_and_research_use(explanation):
    shown = explanation._repr_html_()
    assert "research use" in shown
    for name, value in explanation.probabilities.items():
        assert f"<td>{name}</td><td>{100 * value:.1f} %</td>" in shown
    first = explanation.regions.sort_values("contrast", ascending=False)["name"].iloc[0]
    assert html.escape(first) in shown
    assert shown.count("data:image/png;base64,") == 1
    assert explanation.prediction.participant_id in repr(explanation)


def test_the_viewer_stands_alone_and_has_the_map_in_its_place(explanation, tmp_path):
    path = explanation.view().save(tmp_path / "view.html")
    page = path.read_text()
    assert not re.search(r"https?://", page)
    told = json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)[1])
    heatmap = explanation.on_network
    peak = np.unravel_index(int(np.abs(heatmap.data).argmax()), heatmap.data.shape)
    code = value_at(told, told["relevance"], heatmap.space.world(peak))
    assert code == (255 if heatmap.data[peak] > 0 else 1)
    assert told["names"]
    assert "srcdoc=" in explanation.view()._repr_html_()
    assert "<script" not in explanation.view()._repr_html_()  # escaped: it runs inside the frame alone


def test_an_image_is_shown_as_well_and_a_scan_that_is_gone_leaves_the_map(trained_bundle, tiny_cohort, tmp_path):
    scan = next(iter(sorted(tiny_cohort.glob("sub-17/anat/*T1w.nii.gz"))))
    bundle = neuroxai.open_bundle(trained_bundle, device="cpu")
    volume = io.read_volume(scan)
    given = bundle.explain(io.image_of(volume))
    assert '"This scan"' in given.view().html
    copy = io.write_volume(tmp_path / "copy.nii.gz", Volume(volume.data, volume.space))
    lost = bundle.explain(copy)
    copy.unlink()
    assert '"This scan"' not in lost.view().html
    assert "MNI152 template" in lost.view().html
