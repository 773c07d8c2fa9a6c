"""The methods of a report in sentences: what the records say, what it cites, and nothing that was not done."""

from __future__ import annotations

from types import SimpleNamespace

from helpers.prepared import prepared_record
from neuroxai.derivatives.explained import ExplainRecord
from neuroxai.evaluation import Estimate
from neuroxai.report.cohort.methods import methods_text
from neuroxai.space import mni152

RECORD = ExplainRecord(
    method="lrp_alpha_beta",
    options={"beta": 0},
    checkpoint_sha256="0123456789abcdef",
    bundle="A bundle",
    atlas={"name": "aal", "file": "x"},
    network_space=mni152(4).to_dict(),
    versions={"neuroxai": "0.1.0", "torch": "2.13.0"},
    start="probability",
)
SYN = prepared_record(
    parameters={"arm": "nonlinear", "engine": "ants", "spacing": 4.0, "scaling": "zscore", "bias_correction": True},
    versions={"neuroxai": "0.1.0", "antspyx": "0.6.1", "deepbet": "1.0.2"},
    brain_from="deepbet",
)


def text_of(record=RECORD, prepared=(), metrics=None, regions=0, effects=False):
    folder = SimpleNamespace(record=record, positive="AD")
    return methods_text(folder, prepared, metrics or {}, regions, effects)


def test_what_was_done_is_said_and_cited():
    wilson = Estimate(0.9, 0.8, 1.0, "Wilson", 30)
    found = text_of(prepared=[SYN, SYN, None], metrics={"accuracy": wilson}, regions=120, effects=True)
    first, second, third = found.paragraphs
    assert "Of 3 scans, 2 were prepared by neuroxai 0.1.0 (T1w): the bias field was corrected (N4)" in first
    assert "extracted by deepbet 1.0.2; diffeomorphic (SyN) registration" in first
    assert "by ANTs (antspyx 0.6.1); voxels are 4 mm wide; intensities were scaled by 'zscore'" in first
    assert "How 1 of 3 scans were prepared is not recorded" in first
    assert "“A bundle” (checkpoint 0123456789ab) was run with PyTorch 2.13.0" in second
    assert "class AD from its probability by lrp_alpha_beta (Bach et al. 2015" in second
    assert "options: beta = 0, on a grid of 48 x 57 x 48" in second
    assert "over 120 regions of the atlas “aal”" in second
    assert "95 % intervals (Wilson)" in third
    assert "Hedges' g" in third
    assert [one.split()[0] for one in found.references] == sorted(
        ["Avants", "Bach", "Brier", "Cardoso", "Fisch", "Fonov", "Hedges", "Tustison", "Wilson"]
    )


def test_nothing_is_cited_that_was_not_done():
    linear = prepared_record()
    found = text_of(ExplainRecord(method="unheard_of"), [linear])
    assert "affine registration to the template MNI152 was done by ITK" in found.paragraphs[0]
    assert "N4" not in found.paragraphs[0]
    assert len(found.paragraphs) == 2
    assert [one.split()[0] for one in found.references] == ["Cardoso", "Fonov", "McCormick"]
