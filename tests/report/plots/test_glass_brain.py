"""Glass brains: a blob lies on its side, and equal maps give equal bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from neuroxai.report.plots.glass_brain import glass_brain
from neuroxai.space import Volume, mni152


@pytest.mark.parametrize("side", [-1, 1])
def test_a_blob_is_seen_on_its_side(side):
    space = mni152(4.0)
    data = np.zeros(space.shape, np.float32)
    x, y, z = space.voxels(np.array([30.0 * side, -20, 0])).round().astype(int)
    data[x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3] = 1
    drawing = glass_brain(Volume(data, space), 1.0, "group")
    picture = np.asarray(Image.open(io.BytesIO(drawing["png"])), float) / 255
    orange = (picture[..., 0] - picture[..., 2] > 0.3) & (picture[..., 0] > 0.6)
    width = picture.shape[1]
    # the last of the four views is from above; the scale of the colours is right of it
    axial = np.argwhere(orange[:, int(0.72 * width) : int(0.92 * width)])[:, 1] + 0.72 * width
    assert axial.size > 50
    assert (axial < 0.82 * width).all() if side < 0 else (axial > 0.82 * width).all()
    assert drawing == glass_brain(Volume(data, space), 1.0, "group")
