"""What explain writes of a region's contrast, reports read and rank by."""

from __future__ import annotations

import numpy as np
import torch

from neuroxai.atlas import builtin
from neuroxai.atlas.contrast import RegionContrast
from neuroxai.compare.scores import read_regions
from neuroxai.explain.scores import Scores
from neuroxai.io import write_tsv
from neuroxai.report.scan.pages import top_regions
from neuroxai.space import mni152


def test_regions_are_ranked_by_the_column_that_explain_writes(tmp_path):
    space = mni152(5.0)
    heatmap = np.random.default_rng(0).normal(size=space.shape).astype(np.float32)
    (table,) = Scores("builtin", None, space)(torch.from_numpy(heatmap)[None, None], [space])
    write_tsv(tmp_path / "regions.tsv", table)
    regions = read_regions(tmp_path / "regions.tsv")
    atlas = builtin(space)
    expected = dict(zip(atlas.names.values(), RegionContrast(atlas.positions())(heatmap), strict=True))
    np.testing.assert_allclose([r.contrast for r in regions], [expected[r.name] for r in regions], rtol=1e-5)
    leading = top_regions(regions)["density for"]
    assert leading[0].name == max(expected, key=expected.get)
    assert all(r.density > 0 for r in leading)
    # of an older table without the column: white noise's order, which is this map's
    write_tsv(tmp_path / "older.tsv", table.drop(columns="contrast"))
    older = top_regions(read_regions(tmp_path / "older.tsv"))["density for"]
    assert [r.name for r in older] == [r.name for r in leading]
