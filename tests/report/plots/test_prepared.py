from __future__ import annotations

import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from neuroxai.errors import InputError, SpaceError
from neuroxai.preprocess.qc.flags import Flag
from neuroxai.preprocess.template import Template
from neuroxai.report.plots.prepared import filling_figure, preparation_page, quality_figure
from neuroxai.space import Space, Volume

NATIVE = Space((40, 48, 30), np.array([[2.0, 0, 0, -40], [0, 2, 0, -50], [0, 0, 3, -44], [0, 0, 0, 1]]))
GRID = Space((26, 32, 24), np.array([[4.0, 0, 0, -50], [0, 4, 0, -62], [0, 0, 4, -46], [0, 0, 0, 1]]))


def ball(space, centre=(0, 0, 0), radii=(30, 40, 34)):
    points = space.world(np.stack(np.indices(space.shape), -1))
    return (((points - centre) / radii) ** 2).sum(-1) < 1


def arguments(orientation="RAS"):
    """The native brain mask lies on the subject's left alone; so does a bright spot."""
    brain = ball(NATIVE)
    scan = np.where(brain, 50.0, 5.0) + 50 * ball(NATIVE, (-15, 0, 0), (6, 6, 6))
    inside = ball(GRID)
    prepared = np.where(inside, 40.0, 0) + 60 * ball(GRID, (-14, 0, 0), (8, 8, 8))
    return {
        "native": (
            Volume(scan.astype(np.float32), NATIVE).reoriented(orientation),
            Volume(brain & ball(NATIVE, (-20, 0, 0), (16, 40, 40)), NATIVE).reoriented(orientation),
        ),
        "prepared": Volume(prepared.astype(np.float32), GRID),
        "template": Template(
            "ball",
            Volume(np.where(inside, GRID.world(np.stack(np.indices(GRID.shape), -1))[..., 1] + 100, 0), GRID),
            Volume(inside, GRID),
        ),
        "title": "sub-01   registration: linear",
        "measures": {"dice": 0.95, "pearson": None, "orientation": "agree", "folded": 0.0},
        "flags": [Flag("noise", "noise 0.200, expected at most 0.150")],
    }


def picture(path):
    return matplotlib.image.imread(io.BytesIO(path.read_bytes()), format="png")[..., :3]


def orange(image):
    return (image[..., 0] > 0.7) & (image[..., 2] < 0.4) & (image[..., 1] > 0.3) & (image[..., 1] < 0.7)


def test_same_input_same_bytes(tmp_path):
    first = quality_figure(tmp_path / "deep" / "a.png", **arguments())
    second = quality_figure(tmp_path / "b.png", **arguments())
    assert first == tmp_path / "deep" / "a.png"
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["b.html", "b.png"]
    assert first.with_suffix(".html").read_bytes() == second.with_suffix(".html").read_bytes()


def layers(path):
    """The pictures of a page, as arrays."""
    found = re.findall(r"data:image/jpeg;base64,([^\"]+)", path.with_suffix(".html").read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))), float) / 255 for one in found]


def test_before_after_and_template_lie_on_one_another(tmp_path):
    """The bright spot on the subject's left is in the first two, in one place; the template is its own."""
    options = arguments("LPS")
    path = quality_figure(tmp_path / "a.png", **options, count=1)
    before, after, template = layers(path)
    assert before.shape == after.shape == template.shape
    axial = slice(30, int(0.35 * len(before)))
    places = [np.argwhere((one[axial] > 0.93).all(-1)).mean(0) for one in (before, after)]
    assert abs(places[0] - places[1]).max() < 0.03 * before.shape[1]
    assert max(place[1] for place in places) < 0.5 * before.shape[1]
    middle = np.argwhere((template[axial] > 0.93).all(-1)).mean(0)[1]  # bright in front, on both sides
    assert abs(middle - 0.5 * template.shape[1]) < 0.02 * template.shape[1]
    assert "noise 0.200" in path.with_suffix(".html").read_text()


def test_all_scans_of_a_folder_on_one_page(tmp_path):
    quality_figure(tmp_path / "figures" / "sub-01_ses-a_desc-quality_T1w.png", **arguments())
    rows = "participant_id\tsession_id\tflags\tdice\nsub-01\tses-a\tn/a\t0.95\nsub-02\tn/a\tnoise <b>\tn/a\n"
    (tmp_path / "quality.tsv").write_text(rows)
    text = preparation_page(tmp_path).read_text()
    assert '<a href="figures/sub-01_ses-a_desc-quality_T1w.html">sub-01 ses-a</a>' in text
    assert "2 scans, 1 with a flag" in text
    assert ">sub-02</td>" in text
    assert "noise &lt;b&gt;" in text
    assert re.findall(r'data-label="dice">([^<]*)<', text) == ["0.95", "n/a"]


@pytest.mark.parametrize("orientation", ["LPS", "SAR"])
def test_the_left_is_on_the_left_in_any_orientation(tmp_path, orientation):
    upright = picture(quality_figure(tmp_path / "a.png", **arguments(), count=4))
    turned = picture(quality_figure(tmp_path / "b.png", **arguments(orientation), count=4))
    # but for the line of text that names the orientation
    differing = np.flatnonzero((upright != turned).any(axis=(1, 2)))
    assert 0 < len(differing) < 25
    assert np.ptp(differing) < 25


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_the_bright_spot_on_the_subjects_left_is_drawn_left(tmp_path, orientation):
    options = arguments(orientation)
    options["native"] = (options["native"][0], Volume(ball(NATIVE), NATIVE).reoriented(orientation))
    image = picture(quality_figure(tmp_path / "a.png", **options, count=1))
    # axial and coronal, native and prepared: the picture's upper three quarters hold no other white than spots
    # (and letters, of a few pixels); the sagittal slices last of each half do not know left and right
    rows = [row for row in (image > 0.97).all(-1) if row.sum() > 60]
    spots = [np.flatnonzero(row) for row in rows]
    halves = {bool(s.max() < 0.5 * image.shape[1]) for s in spots[: len(spots) // 4]}
    assert len(spots) > 200
    assert halves == {True}


def test_flags_and_slices_lengthen_it(tmp_path):
    plain = picture(quality_figure(tmp_path / "a.png", **arguments() | {"flags": []}))
    flagged = picture(quality_figure(tmp_path / "b.png", **arguments()))
    assert flagged.shape[0] > plain.shape[0]
    assert flagged.shape[1] == plain.shape[1] == 1100


def test_an_empty_mask_still_gives_a_picture(tmp_path):
    options = arguments()
    options["native"] = (options["native"][0], Volume(np.zeros(NATIVE.shape), NATIVE))
    options["prepared"] = Volume(np.zeros(GRID.shape), GRID)
    assert picture(quality_figure(tmp_path / "a.png", **options)).shape[1] == 1100


def test_refusals(tmp_path):
    with pytest.raises(InputError, match=r"a\.jpg.*\.png"):
        quality_figure(tmp_path / "a.jpg", **arguments())
    options = arguments()
    scan = options["native"][0]
    with pytest.raises(SpaceError, match=r"40 x 48 x 30.*26 x 32 x 24"):
        quality_figure(tmp_path / "a.png", **options | {"native": (scan, options["template"].brain)})
    lesions = Volume(np.zeros(NATIVE.shape), NATIVE)
    with pytest.raises(InputError, match="sub-01"):
        filling_figure(tmp_path / "a.png", scan=scan, filled=scan, lesions=lesions, name="sub-01")
    with pytest.raises(SpaceError, match=r"40 x 48 x 30.*26 x 32 x 24"):
        filling_figure(tmp_path / "a.png", scan=scan, filled=options["prepared"], lesions=lesions, name="sub-01")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_filling_is_drawn_before_and_after(tmp_path, orientation):
    scan, _ = arguments()["native"]
    spot = ball(NATIVE, (-15, 0, 0), (6, 6, 6))
    filled = Volume(np.where(spot, 50, scan.data).astype(np.float32), NATIVE)
    turned = [v.reoriented(orientation) for v in (scan, filled, Volume(spot, NATIVE))]
    path = filling_figure(
        tmp_path / "a.png", scan=turned[0], filled=turned[1], lesions=turned[2], name="sub-01", count=1
    )
    image = picture(path)
    # below the lines of text
    upper, lower = (half[100:] for half in np.array_split((image > 0.97).all(-1), 2))
    assert upper.sum() > 20_000
    assert np.argwhere(upper)[:, 1].max() < 0.5 * image.shape[1]
    assert not lower.any()
    again = filling_figure(
        tmp_path / "b.png", scan=turned[0], filled=turned[1], lesions=turned[2], name="sub-01", count=1
    )
    assert path.read_bytes() == again.read_bytes()
