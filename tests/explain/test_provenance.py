"""What a bundle's trust card says of one run."""

from __future__ import annotations

from dataclasses import replace

from neuroxai import io
from neuroxai.derivatives.heatmaps import Run
from neuroxai.derivatives.trust import TrustCard, TrustedMethod, write_card
from neuroxai.explain.provenance import stability_in

FIGURE = {"value": 0.62, "low": 0.5, "high": 0.7, "n": 8}
METHOD = TrustedMethod("lrp_epsilon", {"epsilon": 1e-6}, {"between_trainings": FIGURE}, {})


def test_stability_is_that_of_the_method_with_its_options_and_of_these_weights(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    run = Run(method="lrp_epsilon", checkpoint_sha256=io.sha256(tmp_path / "model.pt"))
    assert stability_in(tmp_path, run) is None  # no card
    methods = {"lrp_epsilon": METHOD, "scan": TrustedMethod()}
    card = TrustCard(checkpoint_sha256=str(run.checkpoint_sha256), networks=3, methods=methods, roc_auc=0.8)
    write_card(tmp_path / "trust.json", card)
    assert stability_in(tmp_path, run) == {"correlation": 0.62, "low": 0.5, "high": 0.7, "trainings": 3}
    others = (
        Run(method="saliency", checkpoint_sha256=run.checkpoint_sha256),
        Run(method="lrp_epsilon", options={"epsilon": 0.1}, checkpoint_sha256=run.checkpoint_sha256),
        Run(method="lrp_epsilon", checkpoint_sha256="of weights before"),
    )
    assert [stability_in(tmp_path, one) for one in others] == [None] * 3
    write_card(tmp_path / "trust.json", replace(card, roc_auc=0.6))
    assert stability_in(tmp_path, run) is None  # of networks that hardly learnt nothing is claimed
