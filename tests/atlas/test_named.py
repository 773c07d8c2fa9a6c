from __future__ import annotations

import socket
from functools import cache

import numpy as np
import pytest

from helpers.atlases import stand_in
from neuroxai.atlas import NAMES, builtin, find, get
from neuroxai.atlas.named import NAMED, is_name
from neuroxai.errors import InputError


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """No copy anywhere, and no network."""
    for variable in ("NEUROXAI_ATLASES", "SPM_HOME", "FSLDIR", "NILEARN_DATA", "NILEARN_SHARED_DATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("variable", ["FSLDIR", "NEUROXAI_ATLASES"])
@pytest.mark.parametrize("size", [1, 2])
def test_found_in_an_fsl_folder(tmp_path, monkeypatch, variable, size):
    stand_in(tmp_path / "fsl", f"data/atlases/JHU/JHU-ICBM-labels-{size}mm.nii.gz", "data/atlases/JHU-labels.xml")
    monkeypatch.setenv(variable, str(tmp_path / "fsl"))
    assert dict(get("jhu").names) == {1: "Tapetum R", 2: "Tapetum L"}
    assert find("jhu")[0].name == f"JHU-ICBM-labels-{size}mm.nii.gz"


def test_1_mm_is_preferred_and_named_folders_come_first(tmp_path, monkeypatch):
    for size in (2, 1):
        stand_in(tmp_path / "fsl", f"data/atlases/JHU/JHU-ICBM-labels-{size}mm.nii.gz", "data/atlases/JHU-labels.xml")
    stand_in(tmp_path / "own", "JHU-ICBM-labels-2mm.nii.gz", "JHU-labels.xml")
    monkeypatch.setenv("FSLDIR", str(tmp_path / "fsl"))
    assert find("jhu")[0].name == "JHU-ICBM-labels-1mm.nii.gz"
    assert find("jhu", [tmp_path / "own"])[0].parent == tmp_path / "own"


def test_found_in_an_spm_folder(tmp_path, monkeypatch):
    table = "<atlas><data><label><index>1</index><name>Left Hippocampus</name></label>"
    table += "<label><index>2</index><name>Right Hippocampus</name></label></data></atlas>"
    stand_in(tmp_path, "tpm/labels_Neuromorphometrics.nii", "tpm/labels_Neuromorphometrics.xml", table)
    monkeypatch.setenv("SPM_HOME", str(tmp_path))
    assert list(get("neuromorphometrics").names.values()) == ["Left Hippocampus", "Right Hippocampus"]


def test_an_image_without_its_table_is_no_copy(tmp_path, monkeypatch):
    stand_in(tmp_path, "JHU-ICBM-labels-1mm.nii.gz", "JHU-labels.xml")
    (tmp_path / "JHU-labels.xml").unlink()
    with pytest.raises(InputError, match="no copy of the atlas 'jhu'"):
        find("jhu", [tmp_path])


@pytest.mark.parametrize("name", NAMED)
def test_absent_copy_names_places_and_ways_and_fetches_nothing(tmp_path, monkeypatch, name):
    import nilearn.datasets

    monkeypatch.setenv("FSLDIR", str(tmp_path / "nowhere"))
    if NAMED[name].fetcher:
        monkeypatch.setattr(
            nilearn.datasets, NAMED[name].fetcher, lambda **_: pytest.fail("fetched without being asked")
        )
    with pytest.raises(InputError) as error:
        get(name)
    text = str(error.value)
    assert str(tmp_path / "nowhere") in text
    assert str(tmp_path / "home" / "nilearn_data") in text
    assert "NEUROXAI_ATLASES" in text
    assert ("--download" in text) == bool(NAMED[name].fetcher)


def test_download_calls_nilearn_once_and_reads_what_it_left(tmp_path, monkeypatch):
    import nilearn.datasets

    calls = []

    def fetch(**options: object) -> None:
        calls.append(options)
        table = "<atlas><data><label><index>1</index><name>Precentral_L</name></label>"
        table += "<label><index>2</index><name>Precentral_R</name></label></data></atlas>"
        stand_in(tmp_path / "home/nilearn_data/aal_SPM12", "aal/atlas/AAL.nii", "aal/atlas/AAL.xml", table)

    monkeypatch.setattr(nilearn.datasets, "fetch_atlas_aal", fetch)
    assert list(get("aal", download=True).names.values()) == ["Precentral_L", "Precentral_R"]
    assert get("aal", download=True).names == get("aal").names
    assert calls == [{"version": "SPM12"}]


@pytest.mark.parametrize("name", [n for n in NAMED if NAMED[n].fetcher])
def test_nilearn_takes_the_call(name):
    import inspect

    import nilearn.datasets

    inspect.signature(getattr(nilearn.datasets, NAMED[name].fetcher)).bind(**NAMED[name].options)


def test_names_and_paths_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels").touch()
    assert is_name("jhu")
    assert is_name("jhuu")
    assert not any(map(is_name, ("labels", "a.nii.gz", "folder/jhu")))
    assert get("builtin") is builtin()
    with pytest.raises(InputError, match=r"unknown atlas 'jhuu'; choose one of: .*builtin.*jhu.*path of a label image"):
        get("jhuu")
    with pytest.raises(InputError, match=r"a\.nii\.gz: no such file"):
        get("a.nii.gz")
    with pytest.raises(InputError, match="'jhu' has its own names"):
        get("jhu", labels="x.tsv")
    assert len(set(NAMES)) == len(NAMES)


@cache
def real_copy(real_data, name):
    return get(name, folders=[real_data / "atlases"])


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "regions", "inside", "point"),
    [
        ("neuromorphometrics", 136, "Left Hippocampus", (-27, -22, -16)),
        ("neuromorphometrics", 136, "Right Hippocampus", (27, -22, -16)),
        ("neuromorphometrics-68", 68, "hippocampus", (27, -22, -16)),
        ("harvard-oxford-subcortical", 21, "Left Hippocampus", (-27, -22, -16)),
        ("harvard-oxford-subcortical", 21, "Right Hippocampus", (27, -22, -16)),
        ("harvard-oxford-cortical", 48, "Frontal Pole", (-24, 62, 4)),
        ("harvard-oxford-cortical", 48, "Precentral Gyrus", (40, -8, 54)),
        ("jhu", 48, "Posterior limb of internal capsule L", (-24, -14, 10)),
        ("jhu", 48, "Posterior limb of internal capsule R", (24, -14, 10)),
        ("jhu", 48, "Cingulum (hippocampus) L", (-25, -27, -19)),
        ("jhu-22", 22, "corpus callosum", (0, 26, 7)),
        ("jhu-tracts", 20, "Corticospinal tract L", (-25, -21, 13)),
        ("jhu-tracts", 20, "Corticospinal tract R", (25, -21, 13)),
        ("mni-lobes", 9, "Cerebellum", (20, -60, -35)),
    ],
)
def test_real_copies_name_the_region_at_an_mni_coordinate(real_data, name, regions, inside, point):
    atlas = real_copy(real_data, name)
    assert len(atlas.names) == regions
    voxel = tuple(np.rint(atlas.space.voxels(point)).astype(int))
    assert atlas.names[int(atlas.labels[voxel])] == inside
