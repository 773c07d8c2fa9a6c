"""Heatmaps as a study: what a declaration may say, one's own method, and figures of several splits."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from helpers.command import run
from helpers.studies import cohort_of, declared, sooner
from neuroxai import io
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.io import read_tsv
from neuroxai.space import Space, Volume
from neuroxai.statistics import wilson
from neuroxai.studies import check, read_study, run_study
from neuroxai.studies.analyses.heatmaps.cards import GROUP, _card
from neuroxai.studies.analyses.heatmaps.measure import COMMON, _one, finished, unit_digest
from neuroxai.studies.analyses.heatmaps.networks import GIVEN, Claiming, Unit, own_method
from neuroxai.studies.spec import Statistics

SIMULATED = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}
METHODS = {"lrp": {"method": "lrp_epsilon"}}


@pytest.mark.parametrize("quick", [False, True])
def test_the_declaration_can_be_run(quick):
    check(read_study("heatmaps", quick))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "methods: there is none"),
        ({"methods": METHODS, "draws": 3}, "'draws'"),
        ({"methods": METHODS, "scans": 0}, "1 or more"),
        ({"methods": METHODS, "fill": "noise"}, "fill in options"),
        ({"methods": {"scan": {"method": "lrp_epsilon"}}}, "a name of its own"),
        ({"methods": {"lrp": {"method": "lrp_epsilo"}}}, "Did you mean 'lrp_epsilon'"),
        ({"methods": {"lrp": {"method": "lrp_epsilon", "options": {"beta": 1}}}}, "no option 'beta'"),
        ({"methods": {"mine": {"method": "no.such:Thing"}}}, "cannot be imported"),
        ({"methods": {"mine": {"method": "pathlib:Path"}}}, "no attribute"),
    ],
)
def test_what_is_wrong_is_told_before_any_training(tmp_path, options, words):
    study = read_study(
        declared(tmp_path / "mine.yaml", analysis="heatmaps", cohorts=SIMULATED, options=options, explain={})
    )
    with pytest.raises(InputError, match=words):
        check(study)


def test_a_method_goes_with_this_study_alone(tmp_path):
    found = run("study", "run", "rieke2018", "--quick", "--out", str(tmp_path / "o"), "--method", "lrp_zero")
    assert found.code == 2
    assert "--method goes with study heatmaps" in found.err


def test_what_maps_claim_to_add_up_to():
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 2)).eval()
    scans = torch.rand(3, 1, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    logits = model(scans).detach()
    assert torch.allclose(Claiming("lrp_z_plus", {}, model).explained(scans, 1), torch.softmax(logits, 1)[:, 1])
    assert torch.allclose(Claiming("lrp_zero", {}, model).explained(scans, 1), logits[:, 1])
    gradients = Claiming("integrated_gradients", {}, model)
    difference = gradients.explained(scans, 1)
    assert torch.allclose(difference, (logits - model(torch.zeros(1, 1, 2, 2, 2)).detach())[:, 1], atol=1e-6)
    # of a linear model they do
    assert torch.allclose(gradients.attribute(scans, target=1).flatten(1).sum(1), difference, atol=1e-5)
    assert not hasattr(Claiming("saliency", {}, model), "explained")
    # the last layer of this one is a convolution, in which the same method shares out positive contributions alone
    pooled = nn.Sequential(nn.Conv3d(1, 2, 2), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    method = Claiming("lrp_epsilon_plus_flat", {}, pooled)
    arrived = method.attribute(scans, target=1).flatten(1).sum(1)
    assert torch.allclose(method.explained(scans, 1), torch.softmax(pooled(scans).detach(), 1)[:, 1])
    assert torch.allclose(arrived, method.explained(scans, 1), rtol=1e-4)
    assert own_method("captum.attr:Saliency")(model).attribute(scans, target=1).shape == scans.shape


def test_splits_are_taken_together(tmp_path):
    """Two splits of two scans, twelve regions: shares of four scans, groups of two networks."""
    rng = np.random.default_rng(0)
    found = []
    for split in range(2):
        place = tmp_path / f"split-{split}"
        place.mkdir()
        kinds = pd.MultiIndex.from_product(
            [[0], range(2), ["patient", "sham"], range(12)], names=["model", "scan", "kind", "region"]
        ).to_frame(index=False)
        effects = kinds.assign(effect=rng.normal(size=len(kinds)))
        effects.to_csv(place / "effects.tsv", sep="\t", index=False)
        kinds[["scan", "region"]].to_csv(place / "people.tsv", sep="\t", index=False)
        # a method that knows: the effects themselves, in patients alone
        scores = kinds.assign(sum=effects["effect"].where(kinds["kind"] == "patient", 0.0))
        scores.to_csv(place / "knows_regions.tsv", sep="\t", index=False)
        values = pd.DataFrame({"scan": [0, 1], "region_first": [1.0, float(split)], "swap_overlap": [0.5, 0.7]})
        unit = type("Unit", (), {"name": f"a_split-{split}", "arm": "a"})()
        common = {
            "scans": 2,
            "networks": 1,
            "controls": 0,
            "chance": {"region_first": 0.1 + split / 10, "swap_overlap": 10 / 12},
            "roc_auc": 0.5 + split / 5,
            "not_applicable": {"refused": "no rule"},
        }
        values[["map_sum", "map_claim"]] = [[3.0, 0.01], [-8.0, -8.0 - 2 * split]]
        found.append((unit, common, {"knows": (values, place / "knows_regions.tsv")}))
    runs = pd.DataFrame({"arm": ["a", "a", "b"], "chosen": [True, False, True], "roc_auc": [0.9, 0.1, 0.2]})
    results = SimpleNamespace(study=SimpleNamespace(statistics=Statistics(replicates=50)), runs=runs)
    card = _card(results, "a", found)
    # of networks that were trained here their runs say it, of any other what was measured
    assert (card.roc_auc, _card(results, GIVEN, found).roc_auc) == (0.9, pytest.approx(0.6))
    assert card.not_applicable == {"refused": "no rule"}
    figures = card.figures("knows")
    assert (card.scans, card.networks, card.regions) == (4, 2, 12)
    assert (figures["region_first"]["low"], figures["region_first"]["high"]) == wilson(3, 4)
    assert figures["swap_overlap"]["value"] == pytest.approx(0.6)
    assert figures[GROUP]["value"] == 1
    assert card.chance["region_first"] == pytest.approx(0.15)
    # scans whose logit is near 0 do not decide: the mean of the ratios is 150
    added = figures["conservation"]
    assert added["value"] == pytest.approx(1 - (2.99 + 2.99 + 2) / (3.01 + 16 + 3.01 + 18))
    assert 0 < added["low"] < added["value"] < added["high"]
    assert "map_sum" not in card.trust.table()
    assert card.trust.table().loc["knows", "conservation"] == pytest.approx(added["value"])


def test_a_method_that_cannot_explain_a_network_is_no_failure(tmp_path, monkeypatch):
    def refuse(*given):
        raise UnsupportedLayerError("layer 'attention': no rule")

    unit = Unit("a_split-0", "a", (), "", 2, "zero", "cohort")
    (tmp_path / COMMON).write_text('{"random": []}')
    opened = SimpleNamespace(networks=[], test=None, maker=lambda spec: None)
    # the room's name is that of its function
    monkeypatch.setitem(_one.__globals__, "opened", lambda unit: opened)
    monkeypatch.setitem(_one.__globals__, "measure_method", refuse)
    assert _one(unit, tmp_path, "lrp", METHODS["lrp"]) == ("a_split-0: lrp", "")
    # nor is it tried again
    assert finished(unit, tmp_path, "lrp", METHODS["lrp"])["not_applicable"] == "layer 'attention': no rule"
    assert finished(replace(unit, scans=3), tmp_path, "lrp", METHODS["lrp"]) is None


def test_another_atlas_is_another_measurement(tmp_path):
    image = tmp_path / "regions.nii.gz"
    io.write_volume(image, Volume(np.eye(4, dtype=np.uint8)[None], Space((1, 4, 4), np.eye(4))))
    plain = Unit("a_split-0", "a", (), "", 2, "zero", "cohort")
    other = replace(plain, atlas=str(image))
    digests = [unit_digest(plain), unit_digest(other)]
    (tmp_path / "regions.tsv").write_text("index\tname\n1\tthalamus\n")
    assert len({*digests, unit_digest(other)}) == 3


@pytest.mark.full(1)
def test_methods_on_phantoms_without_twins(tiny_cohort, tmp_path, terminal):
    cohort = cohort_of(tiny_cohort, tmp_path / "cohort")
    for n in range(1, 20, 2):
        scan = next((cohort / f"sub-{n:02d}" / "anat").glob("*_T1w.nii.gz"))
        volume = io.read_volume(scan)
        blob = (volume.data > 0.8).astype(np.uint8)
        io.write_volume(scan.with_name(f"sub-{n:02d}_desc-effect_mask.nii.gz"), Volume(blob, volume.space))
    options = {"scans": 2, "methods": {**METHODS, "own": {"method": "captum.attr:Saliency"}}}
    common = {"arms": {"plain": {}}, "cohorts": {"main": {}}, "explain": {}, "repetitions": 2}
    study = read_study(declared(tmp_path / "s.yaml", analysis="heatmaps", options=options, **common))
    with sooner(terminal):
        summary = run_study(study, tmp_path / "out", {"main": cohort})
    assert (summary.failed, summary.scans_failed) == ([], [])
    table = read_tsv(tmp_path / "out" / "methods_plain.tsv").set_index("method")
    assert table.index.tolist() == ["lrp", "own", "noise", "smooth noise", "scan", "chance"]
    assert "between_trainings" in table
    assert "swap_overlap" not in table
    page = (tmp_path / "out" / "report.html").read_bytes()
    with sooner(terminal):
        again = run_study(study, tmp_path / "out", {"main": cohort})
    assert again.kept == 2
    assert (tmp_path / "out" / "report.html").read_bytes() == page
