"""Pictures of a study's mean maps: one by run for each explanation, or one of a single run's; left is left."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from neuroxai.space import Space, Volume
from neuroxai.studies.mean_maps import mean_map_pictures

SPACE = Space((24, 28, 24), np.array([[8.0, 0, 0, -92], [0, 8, 0, -120], [0, 0, 8, -80], [0, 0, 0, 1]]))


def results(runs: int, methods: tuple[str, ...], groups: tuple[str, ...] = ("class-AD", "all"), x: int = 5):
    head, heat = np.zeros(SPACE.shape, np.float32), np.zeros(SPACE.shape, np.float32)
    head[2:22, 2:26, 2:22] = 1 + np.random.default_rng(0).random((20, 24, 20))  # as a network takes it, background 0
    head[2, 2, 2] = -1
    heat[x : x + 3, 10:16, 10:14] = 1
    done = [
        SimpleNamespace(run=SimpleNamespace(arm="plain", split=0, repetition=n, identifier=str(n))) for n in range(runs)
    ]
    study = SimpleNamespace(
        explain={name: SimpleNamespace(target=None) for name in methods},
        arms={"plain": SimpleNamespace(cohort="main")},
        cohorts={"main": SimpleNamespace(classes=("CN", "AD"))},
        atlases=(),
    )
    return SimpleNamespace(
        study=study,
        chosen=lambda: done,
        mean_map=lambda run, name, group: Volume(heat, SPACE) if group in groups else None,
        mean_scan=lambda run: Volume(head, SPACE),
    )


def orange(drawn):
    picture = np.asarray(Image.open(io.BytesIO(drawn["png"])), float) / 255
    return np.argwhere((picture[..., 0] - picture[..., 2] > 0.4) & (picture[..., 1] > 0.3)), picture.shape


def test_a_picture_for_each_explanation_has_a_row_for_each_run():
    lrp, gradient = mean_map_pictures(results(3, ("lrp", "gradient")))
    assert (lrp.name, gradient.name) == ("mean_maps_lrp", "mean_maps_gradient")
    assert "true label AD) lrp, by run" in lrp.caption
    one = next(iter(mean_map_pictures(results(2, ("lrp",)))))
    # beside the scale of the colours, which all rows of equal limits share
    heights = [orange(picture.draw())[1][0] - 54 for picture in (one, lrp)]
    assert heights[1] == 1.5 * heights[0]
    many = next(iter(mean_map_pictures(results(11, ("lrp",)))))
    assert "the first 8 of 11" in many.caption


def test_a_single_run_has_its_explanations_below_each_other():
    (picture,) = mean_map_pictures(results(1, ("lrp", "gradient"), groups=("all",)))
    assert picture.name == "mean_maps"
    assert "(all scans) by explanation, over the mean scan" in picture.caption
    assert list(mean_map_pictures(results(1, ("lrp",), groups=()))) == []
    assert list(mean_map_pictures(results(1, ()))) == []


@pytest.mark.parametrize(("x", "side"), [(4, "left"), (17, "right")])
def test_the_subjects_left_is_on_the_left_of_each_slice(x, side):
    (picture,) = mean_map_pictures(results(1, ("lrp",), x=x))
    found, (_, width, _) = orange(picture.draw())
    # axial and coronal slices, eight side by side, beside the name's 132 pixels; the scale's own colours lie lowest
    found = found[found[:, 0] < found[:, 0].max() - 60]
    tile = (width - 140) / 8
    place = ((found[:, 1] - 132) % tile) / tile
    assert len(found) > 100
    assert (place < 0.5).all() if side == "left" else (place > 0.5).all()
