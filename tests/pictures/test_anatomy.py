"""The head as it was scanned: found where it is unchanged, and everything in its place over it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers.explain_folder import NETWORK, write_explain_folder
from helpers.packed import value_at
from helpers.prepared import prepared_record
from neuroxai.atlas import Atlas
from neuroxai.deformation import Displacement
from neuroxai.derivatives import prepared
from neuroxai.derivatives.explain_folder import read_folder
from neuroxai.io import read_volume, sha256, write_volume
from neuroxai.io.names import sidecar_of
from neuroxai.pictures.anatomy import unprepared, windowed
from neuroxai.pictures.viewer import Backdrop, Unprepared, viewer_data
from neuroxai.preprocess.mapping import Mapping
from neuroxai.report.build import source_of
from neuroxai.space import Space, Volume

# network's world to the scanner's: turned, stretched and far off; the scanner's grid runs to the left and to the back
TURN = np.array([[0.96, -0.28, 0, 30], [0.28, 0.96, 0, -15], [0, 0, 1.1, 40], [0, 0, 0, 1]])
RAW = Space((70, 80, 90), [[-1.5, 0, 0, 85], [0, -1.5, 0, 45], [0, 0, 1.5, -30], [0, 0, 0, 1]])
LEFT = np.array([-12.0, -2, 10])


def through(points):
    return TURN[:3, :3] @ points + TURN[:3, 3]


def test_relevance_regions_and_scan_meet_in_the_scanners_world():
    data = np.zeros(NETWORK.shape, np.float32)
    blob = tuple(NETWORK.voxels(LEFT).round().astype(int))
    data[blob] = 1
    labels = np.zeros(NETWORK.shape, np.int32)
    labels[blob] = 1
    head = np.full(RAW.shape, 9, np.float32)
    dark = tuple(RAW.voxels(through(LEFT)).round().astype(int))
    head[0, 0, 0], head[dark] = 0, 2
    before = Unprepared(Volume(head, RAW), Volume(np.zeros_like(head), RAW), Mapping(TURN))
    backdrop = Backdrop(Atlas(labels, {1: "Left place"}, NETWORK), Volume(data, NETWORK), frozenset("ab"))
    told = json.loads(viewer_data(Volume(data, NETWORK), Volume(data, NETWORK), 1.0, backdrop, before=before))
    np.testing.assert_allclose(told["start"], through(LEFT), atol=0.01)
    np.testing.assert_allclose(told["places"]["Left place"], through(LEFT), atol=2.5)
    for part, expected in (("relevance", 255), ("controls", 255), ("labels", 1)):
        assert value_at(told, told[part], through(LEFT)) == expected
        assert value_at(told, told[part], through(LEFT * [-1, 1, 1])) in (128, 0)
    assert list(told["pictures"])[:2] == ["This scan", "This scan, prepared"]
    scan = told["pictures"]["This scan"]
    assert value_at(told, scan, RAW.world(dark)) < value_at(told, scan, RAW.world(np.add(dark, [1, 0, 0])))
    assert value_at(told, told["pictures"]["This scan, prepared"], through(LEFT)) == 255
    # upright in the scanner's world
    np.testing.assert_allclose(told["to_world"], np.eye(4)[:3], atol=1e-9)


def test_after_a_warp_they_meet_in_the_scanners_world_too():
    """The warp moves by 12, -8 and 4 mm everywhere, so that places can be told by hand."""
    shift = np.array([12.0, -8, 4])
    field = np.broadcast_to(shift[:, None, None, None], (3, *NETWORK.shape)).astype(np.float32)
    mapping = Mapping(TURN, Displacement(field, NETWORK), Displacement(-field, NETWORK))
    place = through(LEFT + shift)
    data, labels = np.zeros(NETWORK.shape, np.float32), np.zeros(NETWORK.shape, np.int32)
    blob = tuple(NETWORK.voxels(LEFT).round().astype(int))
    data[blob], labels[blob] = 1, 1
    head, relevance = np.full(RAW.shape, 9, np.float32), np.zeros(RAW.shape, np.float32)
    at = RAW.voxels(place).round().astype(int)
    head[0, 0, 0] = 0
    relevance[tuple(slice(n - 1, n + 2) for n in at)] = 1
    backdrop = Backdrop(Atlas(labels, {1: "Left place"}, NETWORK), Volume(data, NETWORK), frozenset("ab"))
    before = Unprepared(Volume(head, RAW), Volume(relevance, RAW), mapping)
    told = json.loads(viewer_data(Volume(data, NETWORK), Volume(data, NETWORK), 1.0, backdrop, before=before))
    np.testing.assert_allclose(told["start"], place, atol=0.01)
    np.testing.assert_allclose(told["places"]["Left place"], place, atol=2.5)
    assert value_at(told, told["relevance"], place) == 255
    assert value_at(told, told["controls"], place) > 200
    assert value_at(told, told["labels"], place) == 1
    elsewhere = through(LEFT)
    for part in ("relevance", "controls", "labels"):
        assert value_at(told, told[part], elsewhere) in (128, 0)
    assert list(told["pictures"]) == ["This scan"]


@pytest.fixture
def explained(tmp_path):
    """An explained scan that was prepared: the item, its source, the original."""
    folder = read_folder(write_explain_folder(tmp_path))
    item = folder.items[0]
    source = source_of(item, folder, None)
    head = np.indices(RAW.shape).sum(0).astype(np.float32)
    original = write_volume(tmp_path / "raw" / "head.nii.gz", Volume(head, RAW))
    Mapping(TURN).save(source.parents[2], item.participant_id)
    write_volume(item.files.heatmap("T1w"), Volume(head, RAW))
    record = prepared_record(
        sources={"scan": str(original)},
        inputs={"scan": sha256(original)},
        participant=item.participant_id,
        session=None,
        native_space=RAW.to_dict(),
        modality="T1w",
        space="MNI152",
    )
    prepared.write_record(sidecar_of(source), record)
    return item, source, original


def reader(item):
    return lambda modality: read_volume(item.files.heatmap(modality))


def test_the_original_is_found_and_cut_to_what_the_network_saw(explained):
    item, source, original = explained
    found = unprepared(source, NETWORK, reader(item))
    np.testing.assert_allclose(found.mapping.affine, TURN)
    assert found.scan.space.matches(found.heatmap.space)
    assert found.scan.data.size < read_volume(original).data.size
    # the same values but for those brighter than the brain
    np.testing.assert_array_equal(found.scan.data, np.minimum(found.heatmap.data, found.scan.data.max()))
    # whole where the network's grid lies
    inside = found.scan.space.voxels([through(corner) for corner in NETWORK.corners()])
    assert (inside > -1).all()
    assert (inside < found.scan.space.shape).all()


def test_a_changed_or_absent_original_is_not_shown(explained):
    item, source, original = explained
    write_volume(original, Volume(-read_volume(original).data, RAW))
    assert unprepared(source, NETWORK, reader(item)) is None
    original.unlink()
    assert unprepared(source, NETWORK, reader(item)) is None
    sidecar_of(source).unlink()
    assert unprepared(source, NETWORK, reader(item)) is None
    assert unprepared(None, NETWORK, reader(item)) is None


def test_a_record_with_other_keys_is_known_for_one_of_another_version(explained):
    _, source, _ = explained
    path = sidecar_of(source)
    assert not prepared.of_other_version(source)
    values = json.loads(path.read_text())
    values["Sources"] = values.pop("SourceFiles")  # as it was called before
    path.write_text(json.dumps(values))
    assert prepared.record_of(source) is None
    assert prepared.of_other_version(source)
    path.write_text(json.dumps({"Manufacturer": "x"}))  # of a converter, not ours
    assert not prepared.of_other_version(source)
    path.unlink()
    assert not prepared.of_other_version(source)


def test_a_bright_scalp_does_not_darken_the_brain():
    """A brain of 0 to 99 in a head whose rim is 1,000: white is the brain's 99.5th percentile, at its place alone."""
    inside = np.linalg.norm(RAW.world(np.argwhere(np.ones(RAW.shape))) - through(LEFT), axis=1) < 20
    data = np.full(RAW.shape, 1000, np.float32)
    data.ravel()[inside] = np.linspace(0, 99, inside.sum())
    prepared_brain = Mapping(TURN).carry(Volume(np.where(data < 999, data + 1, 0), RAW), NETWORK, order=0)
    shown = windowed(Volume(data, RAW), prepared_brain, Mapping(TURN))
    assert 80 < shown.data.max() < 99.6  # the coarse grid's mask has only some of the brain's voxels
    np.testing.assert_array_equal(shown.data[data < 80], data[data < 80])
    nothing = Volume(np.zeros(NETWORK.shape, np.float32), NETWORK)
    assert windowed(Volume(data, RAW), nothing, Mapping(TURN)).data.max() == 1000
