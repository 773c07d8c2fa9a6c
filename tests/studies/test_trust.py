"""Trust cards: what is trained and measured for a bundle, and how a card gets into it without harm."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from experiments import trust_check
from helpers.bundles import AD, copy_of
from helpers.command import run
from helpers.studies import cohort_of, sooner
from neuroxai import io
from neuroxai.cohort.seen import SeenScans
from neuroxai.derivatives.trust import FILE, TrustCard, TrustedMethod, claim, read_card
from neuroxai.errors import InputError, UnsupportedLayerError
from neuroxai.io import read_tsv, sha256
from neuroxai.simulate.outputs import CohortSummary
from neuroxai.space import Volume, mni152
from neuroxai.studies import runner, trust
from neuroxai.studies.engine import RunOptions
from neuroxai.studies.trust import TrustOptions, _settings, attach, section

FIGURES = {"region_first": {"value": 0.75, "low": 0.4, "high": 0.9, "n": 8}}


class Refused:
    """A method that has no rule for any network."""

    def __init__(self, model):
        raise UnsupportedLayerError("layer 'conv1': no rule")

    def attribute(self, inputs, target=None):
        """Never reached."""


class Broken:
    """A method that fails on every network."""

    def __init__(self, model):
        raise ValueError("no such network")

    def attribute(self, inputs, target=None):
        """Never reached."""


@pytest.fixture
def bundle(tmp_path):
    folder = copy_of(AD, tmp_path / "bundle")
    (folder / "models").mkdir()
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return folder


def card_for(bundle):
    return TrustCard(
        bundle=bundle.name,
        checkpoint_sha256=sha256(bundle / "models" / "model.pt"),
        anatomies=24,
        networks=3,
        scans=8,
        methods={"lrp": TrustedMethod("lrp_zero", {}, FIGURES), "scan": TrustedMethod("", {}, FIGURES)},
        chance={"region_first": 0.02},
    )


def test_a_card_is_a_section_of_its_own_in_the_model_card(bundle):
    readme = bundle / "docs" / "README.md"
    before = readme.read_text()
    card = card_for(bundle)
    attach(bundle, card)
    once = readme.read_text()
    assert once.startswith(before.rstrip())
    assert "ranked an affected region first in 75 % (chance 2 %" in once
    assert read_card(bundle / "models" / FILE) == card
    # again, with words of the user's below: the section alone is another
    readme.write_text(once + "\nMine.\n")
    attach(bundle, dataclasses.replace(card, scans=9))
    again = readme.read_text()
    assert again == once.replace("Of 8 planted", "Of 9 planted").replace("training; 8", "training; 9") + "\nMine.\n"
    assert section(card) in once


def test_what_is_trained_anew_does_not_bear_the_card_of_what_was_trained_before(bundle, tmp_path):
    before = (bundle / "docs" / "README.md").read_text()
    attach(bundle, card_for(bundle))
    new = runner._own_bundle(bundle, tmp_path / "new")
    assert (new / "docs" / "README.md").read_text() == before
    assert not (new / "models").exists()


def test_the_model_card_says_what_does_not_hold_of_this_network(bundle):
    card = card_for(bundle)
    refused = TrustedMethod("guided_backprop", {}, not_applicable="layer 'attention': no rule")
    card = dataclasses.replace(card, roc_auc=0.8, bundle_roc_auc=0.52, methods={**card.methods, "guided": refused})
    text = section(card)
    assert text.index("This network itself hardly told") < text.index("- Of 8 planted effects")
    assert "- guided is not applicable to this network: layer 'attention': no rule\n" in text
    assert "| guided | - |\n" in text


def test_nothing_of_the_users_is_overwritten(bundle):
    before = (bundle / "docs" / "README.md").read_bytes()
    with pytest.raises(InputError, match="other weights"):
        attach(bundle, dataclasses.replace(card_for(bundle), checkpoint_sha256="ab"))
    (bundle / "models" / FILE).write_text('{"mine": 1}')
    with pytest.raises(InputError, match="is no trust card"):
        attach(bundle, card_for(bundle))
    assert (bundle / "models" / FILE).read_text() == '{"mine": 1}'
    assert (bundle / "docs" / "README.md").read_bytes() == before


def test_repeats_are_trained_as_the_bundle_was_and_shorter(bundle):
    record = {
        "settings": {"spacing": 4, "normalisation": "zscore", "seed": 7, "grid": [1], "pair_by": None, "dropout": 0.4}
    }
    found = _settings(bundle, record, TrustOptions(epochs=20))
    # but for dropout, which would make twins differ by more than what was planted
    assert found == {
        "spacing": 4, "normalisation": "zscore", "dropout": 0, "key_metric": "roc_auc", "max_epochs": 20,
        "min_epochs": 15,
    }  # fmt: skip


def test_what_cannot_be_used_is_refused_before_anything_is_planted(bundle, tmp_path):
    (tmp_path / "cohort").mkdir()
    words = ["trust", str(bundle), str(tmp_path / "cohort"), "--out", str(tmp_path / "card")]
    untrained = run(*words)
    assert untrained.code == 2
    assert "train the bundle first" in untrained.err
    inside = run(*words[:-1], str(bundle / "card"))
    assert inside.code == 2
    assert not (tmp_path / "card").exists()


def test_people_in_whom_nothing_could_be_planted_are_not_counted(tiny_cohort, tmp_path, monkeypatch):
    failed = [{"participant_id": f"sub-02{letter}", "error": "truncated"} for letter in "AB"]
    monkeypatch.setattr(trust, "simulate_from", lambda *given: CohortSummary("twins", "atrophy", 20, 18, 0, failed))
    cohort = cohort_of(tiny_cohort, tmp_path / "cohort")
    planted = trust._planted(cohort, tmp_path / "twins", TrustOptions(), RunOptions(), SeenScans({}, cohort))
    assert set(planted.sources) == {f"sub-{n:02d}" for n in range(0, 20, 2)} - {"sub-02"}
    assert planted.failed == ["sub-02: truncated"]


@pytest.fixture(scope="module")
def twins(tiny_cohort, tmp_path_factory):
    """The phantoms as if each two were twins, with the blob's mask beside the patients' scans."""
    folder = cohort_of(tiny_cohort, tmp_path_factory.mktemp("twins") / "cohort")
    table = read_tsv(folder / "participants.tsv", text=True)
    table["twin"] = [f"sub-{n // 2:02d}x" for n in range(20)]
    table["diagnosis"] = ["sham", "atrophy"] * 10
    io.write_tsv(folder / "participants.tsv", table)
    for n in range(1, 20, 2):
        scan = next((folder / f"sub-{n:02d}" / "anat").glob("*_T1w.nii.gz"))
        volume = io.read_volume(scan)
        world = volume.space.world(np.stack(np.indices(volume.space.shape), axis=-1))
        blob = (((world - (-30, -20, 0)) / 18) ** 2).sum(axis=-1) < 0.7
        io.write_volume(
            scan.with_name(f"sub-{n:02d}_desc-effect_mask.nii.gz"), Volume(blob.astype(np.uint8), volume.space)
        )
    return folder


def slabs(path):
    """Write an atlas of fourteen slabs through the brain, the lowest 40 mm below its origin."""
    space = mni152(4)
    height = space.world(np.stack(np.indices(space.shape), axis=-1))[..., 2]
    io.write_volume(path, Volume(np.clip((height + 40) // 8 + 1, 0, 14).astype(np.uint8), space))
    names = "".join(f"{n}\tslab {n}\n" for n in range(1, 15))
    io.write_text(path.with_name("slabs.tsv"), f"index\tname\n{names}")
    return path


@pytest.mark.full(2)
def test_a_card_of_a_small_bundle(trained_bundle, twins, tmp_path, terminal, monkeypatch):
    own = tmp_path / "bundle"
    shutil.copytree(trained_bundle, own)
    monkeypatch.setenv("PYTHONPATH", "tests", prepend=":")
    words = ["trust", str(own), str(twins), "--out", str(tmp_path / "card"), "--trainings", "1", "--epochs", "8"]
    words += ["--scans", "2", "--jobs", "1", "--method", "lrp_epsilon", "--method", "studies.test_trust:Refused"]
    words += ["--atlas", str(slabs(tmp_path / "slabs.nii.gz")), "--method", "studies.test_trust:Broken"]
    with sooner(terminal):
        first = run(*words)
    assert first.code == 1  # one method failed; the others are on the card
    assert "Broken: ValueError: no such network" in first.err
    assert "failed: repeats_split-0: Refused" not in first.err
    card = read_card(tmp_path / "card" / FILE)
    assert set(card.methods) == {"lrp_epsilon", "noise", "smooth noise", "scan", "Refused"}
    assert card.methods["Refused"].not_applicable == "layer 'conv1': no rule"
    page = (tmp_path / "card" / "index.html").read_text()
    assert "Refused is not applicable to this network" in page
    assert "slabs.nii.gz" in page
    assert (card.atlas, card.regions) == ("slabs.nii.gz", 14)
    assert (tmp_path / "card" / "index.html").is_file()
    assert not (own / "models" / FILE).exists()
    # the figures are those of the written tables
    found = list(trust_check.recomputed(tmp_path / "card"))
    measures = ["region_first", "swap_overlap"]
    assert [measure for _, measure, *_ in found] == [*measures, "conservation", *measures, *measures, *measures]
    for name, measure, ours, theirs in found:
        assert ours == pytest.approx(theirs), (name, measure)
    place = tmp_path / "card" / "study" / "measured" / "repeats_split-0"
    # killed half way: what is there is kept
    kept = {path: path.stat().st_mtime_ns for path in place.iterdir() if path.name != "scan.json"}
    (place / "scan.json").unlink()
    with sooner(terminal):
        second = run(*words[:-2], "--attach")
    assert second.code == 0, second.err
    assert {p: p.stat().st_mtime_ns for p in kept if not p.name.startswith("scan")} == {
        p: t for p, t in kept.items() if not p.name.startswith("scan")
    }
    assert read_card(own / "models" / FILE) == read_card(tmp_path / "card" / FILE)
    asked = ["--method", "lrp_epsilon", "--scores-only", "--participant-label", "16"]
    explained = run("explain", str(own), str(twins), "--out", str(tmp_path / "ex"), *asked)
    assert explained.code == 0, explained.err
    said = io.read_json(tmp_path / "ex" / "explain.json")["trust"]
    assert said == claim(card, "lrp_epsilon")
    assert "lrp_epsilon" in said
