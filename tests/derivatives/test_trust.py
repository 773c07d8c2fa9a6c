"""The trust card is read as it was written, belongs to its weights, and says what its figures say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neuroxai.derivatives.trust import (
    TrustCard,
    TrustedMethod,
    card_of,
    claim,
    is_card,
    read_card,
    sentence,
    write_card,
)
from neuroxai.errors import InputError
from neuroxai.io import read_json, sha256, write_json

FIGURES = {"region_first": {"value": 11 / 12, "low": 0.6, "high": 0.99, "n": 12}}
SCAN = {"region_first": {"value": 0.25, "low": None, "high": None, "n": 12}}
CARD = TrustCard(
    bundle="b",
    checkpoint_sha256="ab",
    effect={"effect": "atrophy", "loss": 25.0, "regions": []},
    scans=12,
    methods={
        "lrp": TrustedMethod("lrp_alpha_beta", {"beta": 0.0}, FIGURES, {}),
        "scan": TrustedMethod("", {}, SCAN, SCAN),
    },
    chance={"region_first": 0.05},
)


def test_round_trip(tmp_path):
    path = write_card(tmp_path / "trust.json", CARD)
    assert read_card(path) == CARD
    assert is_card(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": "other"}, "no trust card"), ({"methods": []}, "methods"), ({"methods": {"lrp": 3}}, "damaged")],
)
def test_what_is_no_card_is_refused(tmp_path, change, words):
    path = write_card(tmp_path / "trust.json", CARD)
    write_json(path, {**read_json(path), **change})
    with pytest.raises(InputError, match=words):
        read_card(path)


def test_a_card_of_other_weights_is_none(tmp_path):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    assert card_of(weights) is None
    write_card(tmp_path / "trust.json", CARD)
    assert card_of(weights) is None
    assert card_of(weights, "ab") == CARD
    write_json(tmp_path / "trust.json", {**read_json(tmp_path / "trust.json"), "checkpoint_sha256": sha256(weights)})
    assert card_of(weights).scans == 12
    (tmp_path / "trust.json").write_text("[]")
    assert card_of(weights) is None


def test_sentences():
    assert sentence("lrp", FIGURES, CARD.chance, SCAN, 12) == (
        "Of 12 planted effects, lrp ranked an affected region first in 92 % (chance 5 %, the scan itself 25 %)."
    )
    assert sentence("lrp", FIGURES, CARD.chance, SCAN, 12, 0.8).startswith(
        "Of 12 planted effects (told from healthy twins by repeats of its training with a ROC area of 0.80, "
        "by chance 0.50), lrp ranked"
    )
    more = {
        **FIGURES,
        **{name: {"value": v} for name, v in
           (("swap_overlap", 0.424), ("others_swap_overlap", 0.74), ("group_overlap", 0.85), ("sham_flagged", 0.0))},
    }  # fmt: skip
    assert sentence("lrp", more, {**CARD.chance, "swap_overlap": 0.104}, SCAN, 12).endswith(
        "; of the 10 regions that the network used most, 42 % were among its 10 highest (chance 10 %, other patients' "
        "maps 74 %), of groups 85 %; of healthy scans 0 % had a region flagged (5 % expected)."
    )
    assert sentence("lrp", {}, {}, {}, 0) == ""


def test_nothing_is_claimed_by_networks_that_guess():
    said = sentence("lrp", FIGURES, CARD.chance, SCAN, 12, 0.58)
    assert said.startswith("Nothing is claimed of lrp: the networks hardly told")
    assert "ROC area 0.58, by chance 0.50, at least 0.70 expected" in said
    assert "92 %" not in said
    assert sentence("lrp", FIGURES, CARD.chance, SCAN, 12, 0.7).startswith("Of 12 planted")


def test_a_claim_says_how_many_people_the_network_was_trained_on():
    assert claim(CARD, "lrp").endswith("the scan itself 25 %).")
    assert claim(replace(CARD, anatomies=49, seen=29), "lrp").endswith(
        "Of the 49 people that they were planted in, 29 were in the network's training."
    )


def test_a_network_that_does_not_tell_twins_apart_says_so_first():
    told = replace(CARD, roc_auc=0.8, bundle_roc_auc=0.75)
    assert claim(told, "lrp").startswith("Of 12 planted effects")
    not_told = replace(told, bundle_roc_auc=0.52)
    first = "This network itself hardly told planted effects from healthy twins (ROC area 0.52, by chance 0.50)"
    assert claim(not_told, "lrp").startswith(first)
    # of repeats that did not either nothing is claimed at all
    assert claim(replace(not_told, roc_auc=0.6), "lrp").startswith("Nothing is claimed of lrp")


def test_a_method_that_is_not_applicable_claims_nothing(tmp_path):
    refused = TrustedMethod("guided_backprop", {}, not_applicable="no ReLU")
    card = replace(CARD, methods={**CARD.methods, "guided_backprop": refused})
    assert claim(card, "guided_backprop") == ""
    assert read_card(write_card(tmp_path / "trust.json", card)) == card
