"""Study 1: regions with joined hemispheres, overlap of methods, fingerprints, volume against relevance."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.runs import REGIONS, SPACE, VOXELS, Runs
from helpers.studies import declared
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study
from neuroxai.studies.analyses import boehle2019
from neuroxai.studies.analyses.shared import RegionTables

COHORTS = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
EXPLAIN = {"beta_0": {"method": "lrp_alpha_beta"}, "gb": {"method": "guided_backprop"}}
N = 16


def study_of(tmp_path, **changes):
    values = {"arms": {"network": {}}, "explain": EXPLAIN, "statistics": {"top": 2, "permutations": 499}, **changes}
    return read_study(declared(tmp_path / "mine.yaml", analysis="boehle2019", cohorts=COHORTS, **values))


def build(tmp_path, rng, slope=-1.0, **changes):
    made = Runs(tmp_path / "study", study_of(tmp_path, **changes))
    true = np.arange(2 * N) >= N
    probability = np.where(true, 0.95, 0.1)
    probability[N], probability[0] = 0.3, 0.8  # one false negative, one false positive
    volume = rng.uniform(5000, 9000, 2 * N)
    sums = np.abs(rng.normal(1, 0.1, (2 * N, len(REGIONS))))
    sums[:, 0] += true * (2 + slope * (volume - 7000) / 2000)
    sums[:, 5] = 0
    noise = np.abs(rng.normal(1, 0.2, sums.shape))
    data = {group: rng.normal(size=SPACE.shape) for group in ("TP", "class-AD")}
    made.add(
        "network", true=true, probability=probability, explained={"beta_0": sums, "gb": noise}, maps={"beta_0": data}
    )
    made.people(participant_id=[f"sub-0{n:02d}" for n in range(2 * N)], hippocampus_volume_mm3=volume)
    return made, sums, noise, volume, true, probability


def test_the_negative_correlation_that_was_built_in_is_found(tmp_path, rng):
    made, sums, _, volume, true, probability = build(tmp_path, rng)
    found = boehle2019.analyse(made.results)
    rows = {r.group: r for r in found.figures if r.quantity.startswith("correlation")}
    positives = true & (probability > 0.5)
    hippocampus = sums[:, 0] + sums[:, 1]  # both sides, and not the parahippocampal gyrus
    assert rows["beta_0"].value == pytest.approx(np.corrcoef(volume[positives], hippocampus[positives])[0, 1], abs=1e-6)
    assert rows["beta_0"].n == N - 1
    assert rows["beta_0"].value < -0.9
    assert rows["beta_0"].p < 0.01
    assert rows["beta_0"].low < rows["beta_0"].value < rows["beta_0"].high < 0
    assert any("falls with its volume" in text for text in found.answers)
    gb = rows["gb"]
    assert any(text.startswith("gb") and ("chance would" in text) == (gb.p >= 0.05) for text in found.answers)


def test_whichever_way_it_falls(tmp_path, rng):
    made, *_ = build(tmp_path, rng, slope=1.0)
    found = boehle2019.analyse(made.results)
    assert any("rises with its volume" in text for text in found.answers)


def test_regions_sum_density_and_gain_are_the_papers(tmp_path, rng):
    made, sums, _, _, true, probability = build(tmp_path, rng)
    table = boehle2019.analyse(made.results).tables["top_regions"].set_index("region")
    assert table.index[0] == "Hippocampus"
    whole, voxels = sums[:, 0] + sums[:, 1], VOXELS[0] + VOXELS[1]
    row = table.loc["Hippocampus"]
    assert row["sum_patients"] == pytest.approx(whole[true].mean(), rel=1e-6)
    assert row["sum_TP"] == pytest.approx(whole[true & (probability > 0.5)].mean(), rel=1e-6)
    assert row["sum_FP"] == pytest.approx(whole[0], rel=1e-6)
    assert row["density_patients"] == pytest.approx(whole[true].mean() / voxels, rel=1e-6)
    # over ALL controls, the false positive among them
    assert row["gain"] == pytest.approx(whole[true].mean() / whole[~true].mean(), rel=1e-6)
    assert np.isnan(table.loc["Nowhere", "density_patients"])


def test_overlap_is_counted_by_hand(tmp_path, rng):
    made, sums, noise, _, true, _ = build(tmp_path, rng)
    table = boehle2019.analyse(made.results).tables["overlap_of_top_2"]

    def leading(values):
        joined = {
            "H": values[:, 0] + values[:, 1],
            "P": values[:, 2],
            "T": values[:, 3],
            "I": values[:, 4],
            "N": values[:, 5],
        }
        means = {k: v[true].mean() for k, v in joined.items()}
        return set(sorted(means, key=means.get)[-2:])

    wanted = 100 * len(leading(sums) & leading(noise)) / 2
    assert table.set_index("measure").loc["sum", "overlap_percent"] == wanted


def test_fingerprints_are_of_sure_patients_only(tmp_path, rng):
    made, *_ = build(tmp_path, rng)
    found = boehle2019.analyse(made.results)
    row = next(r for r in found.figures if r.quantity.startswith("largest cosine"))
    assert row.n == N - 1
    assert all(
        f"sub-0{n:02d}" in {f"sub-0{m:02d}" for m in range(N, 2 * N)}
        for n in map(int, (p[5:] for p in row.group.split(" and ")))
    )
    made, *_ = build(tmp_path / "other", rng, options={"above": 0.99})
    assert any(text.startswith("Fingerprints: 0 scans") for text in boehle2019.analyse(made.results).doubts)


def test_empty_groups_are_no_error(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    sums = np.ones((4, len(REGIONS)))
    made.add("network", true=[0, 0, 1, 1], probability=[0.1, 0.2, 0.3, 0.4], explained={"beta_0": sums, "gb": sums})
    made.people(participant_id=["sub-000", "sub-001", "sub-002", "sub-003"], hippocampus_volume_mm3=[1.0, 2, 3, 4])
    found = boehle2019.analyse(made.results)
    assert "sum_TP" not in found.tables["top_regions"]
    row = next(r for r in found.figures if r.quantity.startswith("correlation"))
    assert row.value is None
    assert "fewer than three" in row.note


def test_without_volumes_it_says_so(tmp_path):
    made = Runs(tmp_path / "study", study_of(tmp_path))
    sums = np.ones((4, len(REGIONS)))
    made.add("network", true=[0, 0, 1, 1], probability=[0.1, 0.2, 0.8, 0.9], explained={"beta_0": sums, "gb": sums})
    made.people(participant_id=["sub-000"], age=[70])
    assert any("no column 'hippocampus_volume_mm3'" in text for text in boehle2019.analyse(made.results).doubts)


def test_pictures_are_drawn(tmp_path, rng):
    made, *_ = build(tmp_path, rng)
    names = set()
    for picture in boehle2019.analyse(made.results).pictures:
        assert picture.draw()["png"][:4] == b"\x89PNG"
        names.add(picture.name)
    assert {"top_regions", "overlap", "fingerprints", "volume", "mean_beta_0_TP", "mean_beta_0_class-AD"} == names


def test_hemispheres_are_joined_and_scans_in_order(tmp_path, rng):
    made, sums, *_ = build(tmp_path, rng)
    tables = RegionTables(made.results, made.done[0], "beta_0")
    wide = tables.wide("sum")
    assert list(wide.columns) == ["Hippocampus", "parahippocampal gyrus", "Thalamus", "Insula", "Nowhere"]
    assert np.allclose(wide["Hippocampus"], sums[:, 0] + sums[:, 1], rtol=1e-6)
    assert [key[0] for key in wide.index] == [f"sub-0{n:02d}" for n in range(2 * N)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"regions": "x"}}, "'regions'"),
        ({"options": {"above": 1}}, "above is 1"),
        ({"explain": {}}, "there is none"),
        ({"explain": {"a": {"method": "lrp_zero", "layer": "features.conv4"}}}, "begins at a layer"),
        ({"arms": {"a": {}, "b": {}}}, "expected one network"),
    ],
)
def test_what_is_lacking_is_told(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        check(study_of(tmp_path, **changes))
