"""What the heatmaps' handler keeps with the bundle."""

from __future__ import annotations

import pytest
import torch

from neuroxai.components import HeatmapSaver
from neuroxai.derivatives.heatmaps import ScanFiles, Sidecar
from neuroxai.derivatives.predictions import Prediction
from neuroxai.derivatives.scales import FILE, ScanMap, stored_scale
from neuroxai.explain import Attributed, ExplainOptions
from neuroxai.explain.provenance import scale_key
from neuroxai.space import mni152


@pytest.mark.parametrize(("unseen", "limit"), [(6, 2.0), (4, None)])
def test_the_scale_kept_is_that_of_scans_not_trained_on(tmp_path, unseen, limit):
    """Trained scans have the strongest maps: they widen the scale of their own folder, and not the bundle's."""
    options = ExplainOptions("saliency", atlas=None, maps=False)
    saver = HeatmapSaver(str(tmp_path), options, mni152(16), ["CN", "AD"])
    saver._weights = tmp_path
    sidecars = {
        f"sub-{n}": Sidecar(
            seen="held out" if n < unseen else "training",
            relevance_limit=2.0 if n < unseen else 9.0,
            relevance_absolute=50.0,
            true="AD" if n % 2 else "CN",
            predicted="AD",
        )
        for n in range(10)
    }
    saver._standing = lambda files, content: sidecars[files.participant_id]
    own = saver._common_scale(
        [ScanMap.of(ScanFiles(tmp_path, name, "", "saliency"), one) for name, one in sidecars.items()]
    )
    assert (own.limit, own.scans) == (9.0, 10)
    kept = stored_scale(tmp_path, scale_key(saver.run))
    assert (kept and kept.limit) == limit
    assert (tmp_path / FILE).is_file() == (limit is not None)
    if kept is not None:
        # numbers alone: it ships with the bundle
        assert (kept.scans, kept.patients) == (6, (50.0, 50.0, 50.0))
        assert "sub-" not in (tmp_path / FILE).read_text()
        assert str(tmp_path) not in (tmp_path / FILE).read_text()


def test_what_fails_while_it_is_written_is_raised(tmp_path, monkeypatch):
    """Files are written by a thread: an error there must reach the caller, at the latest when the tables are made."""
    saver = HeatmapSaver(str(tmp_path), ExplainOptions("saliency", atlas=None), mni152(16), ["CN", "AD"])

    def full(*scan):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saver, "_write_scan", full)
    row = Prediction("sub-1", "", None, "AD", {"CN": 0.1, "AD": 0.9}, 2.0)
    found = Attributed(torch.zeros(1, 2), torch.ones(1, 1, *mni152(16).shape), torch.tensor([1]))
    saver.write(found, [row], [mni152(16)], ["scan.nii"])
    with pytest.raises(OSError, match="No space left"):
        saver.finish()
    assert not (tmp_path / "predictions.tsv").exists()
