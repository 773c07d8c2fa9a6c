from __future__ import annotations

import numpy as np
import pytest

from neuroxai.atlas import Atlas, get, load
from neuroxai.atlas.named import JHU, NEUROMORPHOMETRICS
from neuroxai.errors import InputError
from neuroxai.space import Space


def small():
    labels = np.array([0, 3, 4, 5, 6, 9]).reshape(6, 1, 1)
    names = {
        3: "Right Caudate",
        4: "Left Caudate",
        5: "Vermis (upper)",
        6: "Vermis (lower)",
        9: "Vessel",
        12: "Left Nowhere",
    }
    return Atlas(labels, names, Space((6, 1, 1), np.eye(4)))


def test_joins_parts_and_sides_and_drops_the_rest():
    joined = small().aggregated({"vermis": ["vermis*"], "caudate": ("Caudate",), "none": "nowhere"})
    assert dict(joined.names) == {3: "caudate", 5: "vermis", 12: "none"}
    assert joined.labels.ravel().tolist() == [0, 3, 3, 5, 5, 0]


def test_refusals():
    with pytest.raises(InputError, match=r"'a'.*'Putamen'"):
        small().aggregated({"a": ["Putamen"]})
    with pytest.raises(InputError, match=r"'Vermis \(upper\)'.*'a'.*'b'"):
        small().aggregated({"a": ["Vermis*"], "b": ["Vermis (upper)"]})


def test_lists_name_each_part_once():
    for regions, count in ((NEUROMORPHOMETRICS, 68), (JHU, 22)):
        parts = [part for row in regions.values() for part in row]
        assert len(regions) == count
        assert len(set(parts)) == len(parts)


@pytest.mark.real
def test_68_regions_hold_every_voxel_of_the_136_labels(real_data):
    atlas = get("neuromorphometrics", folders=[real_data / "atlases"])
    joined = atlas.aggregated(NEUROMORPHOMETRICS)
    assert np.array_equal(joined.labels > 0, atlas.labels > 0)
    # values by the atlas's own table, not by the names that the list goes by
    pairs = {v: v for v in joined.names}
    pairs.update({30: 23, 39: 38, 40: 38, 41: 38, 50: 49, 51: 49, 52: 49, 72: 71, 73: 71, 76: 75})
    pairs.update({v: v - 1 for v in atlas.names if v not in pairs})
    wanted = np.vectorize(lambda v: pairs.get(v, 0), otypes=[np.int64])(atlas.labels)
    assert np.array_equal(joined.labels, wanted)


@pytest.mark.real
def test_22_regions_are_the_labels_of_the_paper(real_data):
    folder = real_data / "atlases"
    atlas = load(folder / "JHU-ICBM-labels-2mm.nii.gz", folder / "JHU-labels.xml")
    joined = atlas.aggregated(JHU)
    lowest = {1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 6, 35: 35, 36: 35, 37: 35, 38: 35, 39: 0, 40: 0}
    lowest.update({v: v - (v + 1) % 2 for v in range(7, 49) if v not in lowest})
    assert np.array_equal(joined.labels, np.array([0, *(lowest[v] for v in range(1, 49))])[atlas.labels])
