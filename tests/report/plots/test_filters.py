from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from helpers.command import run
from neuroxai.errors import InputError, SpaceError
from neuroxai.io import write_json, write_tsv, write_volume
from neuroxai.report import filter_figures
from neuroxai.space import Space, Volume

SPACE = Space((24, 28, 24), np.array([[8.0, 0, 0, -92], [0, 8, 0, -120], [0, 0, 8, -80], [0, 0, 0, 1]]))
STEM = "group_space-network_desc-lrpAlphaBetaPif"


def write_group(folder, boxes, orientation="RAS", filters=2):
    """One patch a box: filter 0 speaks for, filter 1 against, in the box alone."""
    scan = np.zeros(SPACE.shape)
    scan[2:22, 2:26, 2:22] = 1
    group = folder / "group"
    write_volume(group / f"{STEM}_scan.nii.gz", Volume(scan, SPACE).reoriented(orientation))
    rows = []
    for patch, box in enumerate(boxes):
        for number in range(filters):
            heat = np.zeros(SPACE.shape)
            heat[box] = 1 - 2 * number
            name = f"{STEM}P{patch:02d}F{number}_heatmap.nii.gz"
            write_volume(group / name, Volume(heat, SPACE).reoriented(orientation))
            row = {"neuron": f"PifP{patch:02d}F{number}", "patch": patch, "filter": number, "strain": "plain"}
            rows.append({**row, "file": name})
    write_tsv(group / f"{STEM}_heatmaps.tsv", pd.DataFrame(rows))
    record = {"method": "lrp_alpha_beta", "options": {"beta": 4.0}, "layer": "features.pif", "scan_count": 3}
    write_json(group / f"{STEM}_heatmaps.json", record)
    return folder


LEFT, RIGHT = (slice(4, 9), slice(10, 16), slice(3, 6)), (slice(15, 20), slice(10, 16), slice(17, 20))


def tiles(path, columns, rows):
    """The picture's panels, without heading and colour bar, as rows of columns."""
    import matplotlib.image

    picture = matplotlib.image.imread(io.BytesIO(path.read_bytes()), format="png")[..., :3]
    picture = picture[35:-60]
    return [np.array_split(band, columns, axis=1) for band in np.array_split(picture, rows, axis=0)]


def columns_of(tile, sign):
    return np.argwhere(sign * (tile[..., 0] - tile[..., 2]) > 0.3)[:, 1]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL"])
def test_each_patch_and_filter_on_its_side(tmp_path, orientation):
    (path,) = filter_figures(write_group(tmp_path, [LEFT, RIGHT], orientation))
    assert path == tmp_path / "report" / "filters_lrpAlphaBetaPif.png"
    panels = tiles(path, 2, 2)
    for row, sign in ((0, 1), (1, -1)):
        for column, left in ((0, True), (1, False)):
            tile = panels[row][column]
            found = columns_of(tile, sign)
            assert found.size > 50
            assert columns_of(tile, -sign).size == 0
            middle = tile.shape[1] / 2
            assert (found < middle).all() if left else (found > middle).all()


def test_a_patch_is_cut_through_its_own_centre(tmp_path):
    """Filter 1 of the patch reaches higher than filter 0: both panels are cut in the middle of what both reach."""
    folder = write_group(tmp_path, [LEFT])
    heat = np.zeros(SPACE.shape)
    heat[4:9, 10:16, 3:16] = 1
    heat[4:9, 10:16, 9] = -1
    write_volume(folder / "group" / f"{STEM}P00F1_heatmap.nii.gz", Volume(heat, SPACE))
    (path,) = filter_figures(folder)
    ((upper,), (lower,)) = tiles(path, 1, 2)
    assert columns_of(upper, 1).size == columns_of(upper, -1).size == 0  # filter 0 does not reach slice 9
    assert columns_of(lower, -1).size > 50


def test_same_files_same_bytes_in_bands_of_seven(tmp_path):
    folder = write_group(tmp_path, [LEFT, RIGHT] * 5, filters=1)
    first = filter_figures(folder, tmp_path / "a")[0].read_bytes()
    assert filter_figures(folder, tmp_path / "b")[0].read_bytes() == first
    panels = tiles(tmp_path / "a" / "filters_lrpAlphaBetaPif.png", 5, 2)
    assert all(columns_of(tile, 1).size > 30 for band in panels for tile in band)


def test_a_filter_that_reaches_nothing_and_filters_without_patches_are_drawn(tmp_path):
    folder = write_group(tmp_path, [(slice(0, 0),) * 3, LEFT], filters=1)
    table = pd.read_csv(folder / "group" / f"{STEM}_heatmaps.tsv", sep="\t").drop(columns=["patch", "strain"])
    write_tsv(folder / "group" / f"{STEM}_heatmaps.tsv", table)
    ((dead, alive),) = tiles(filter_figures(folder)[0], 2, 1)
    assert columns_of(dead, 1).size == 0
    assert columns_of(alive, 1).size > 50


def test_pictures_of_layers_that_are_no_more_do_not_stay(tmp_path):
    (path,) = filter_figures(write_group(tmp_path, [LEFT]))
    for name in ("filters_gradientConv1.png", "filters_mine-own.png", "other.png"):
        path.with_name(name).touch()
    filter_figures(tmp_path)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([path.name, "filters_mine-own.png", "other.png"])


def test_what_does_not_fit_is_refused_and_an_empty_folder_has_no_figure(tmp_path):
    assert filter_figures(tmp_path) == []
    folder = write_group(tmp_path, [LEFT])
    path = folder / "group" / f"{STEM}P00F1_heatmap.nii.gz"
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        filter_figures(folder)
    write_volume(path, Volume(np.ones((24, 28, 23)), Space((24, 28, 23), SPACE.affine)))
    with pytest.raises(SpaceError, match=r"24 x 28 x 23.*24 x 28 x 24"):
        filter_figures(folder)


def test_the_command_draws_them_without_pages_where_no_class_was_explained(tmp_path):
    folder = write_group(tmp_path / "out", [LEFT])
    result = run("report", folder)
    assert (result.code, result.out) == (0, f"filters: {folder / 'report' / 'filters_lrpAlphaBetaPif.png'}\n")
    assert json.loads(run("report", folder, "--json").out) == {"filters": [result.out[len("filters: ") : -1]]}
    assert run("report", tmp_path).code == 2
