"""A real MONAI Label server, asked over HTTP. Runs where monailabel is installed: ``bash scripts/label_test.sh``."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers.command import run
from helpers.label_server import MARKS
from neuroxai import io
from neuroxai.space import Space, Volume

pytestmark = MARKS

ROUNDS = 200


def test_info_lists_trained_bundles_as_what_viewers_show(server):
    info = server.info()
    assert sorted(info["models"]) == ["alzheimers", "foreign"]
    model = info["models"]["alzheimers"]
    assert model["type"] == "segmentation"
    assert model["dimension"] == 3
    assert model["config"]["target"] == ["AD", "CN", "predicted"]
    assert model["config"]["method"][0] == "lrp_alpha_beta"
    assert model["config"]["heatmap"] == ["bands", "raw"]
    assert model["labels"]["for the class, 75 % and more"] == 8
    assert info["labels"] == list(model["labels"])  # two bundles, and no name twice
    assert info["models"]["foreign"]["config"]["target"][:2] == ["ill", "healthy"]
    log = server.log.read_text()
    assert "untrained: has no models/model.pt" in log
    assert info["datastore"]["total"] == 20


@pytest.mark.parametrize("method", ["lrp_alpha_beta", "saliency"])
def test_an_uploaded_scan_gets_what_the_command_gives(server, bundles, scan, tmp_path, method):
    out = tmp_path / "explained"
    result = run("explain", bundles / "alzheimers", scan, "--out", out, "--method", method)
    assert result.code == 0, result.err
    (sidecar,) = out.glob("sub-17/anat/*space-orig*_heatmap.json")
    facts, expected = io.read_json(sidecar), io.read_volume(sidecar.with_suffix(".nii.gz"))
    raw, told = server.explained(tmp_path, "alzheimers", file=scan, method=method, heatmap="raw")
    assert raw.space.matches(io.read_space(scan))
    scale = float(np.abs(expected.data).max())
    assert scale > 0
    assert np.abs(raw.data - expected.data).max() <= 1e-5 * scale
    assert told["prediction"]["probabilities"]["AD"] == pytest.approx(facts["probability"], abs=1e-5)
    assert told["explanation"]["checkpoint_sha256"] == facts["checkpoint_sha256"]
    table = io.read_tsv(next(out.glob("sub-17/anat/*_regions.tsv")))
    assert [row["name"] for row in told["regions"]] == list(table["name"])
    np.testing.assert_allclose([row["sum"] for row in told["regions"]], table["sum"], rtol=1e-4, atol=1e-5 * scale)
    # bands of the same heatmap, on the same grid
    bands, told = server.explained(tmp_path, "alzheimers", file=scan, method=method)
    assert bands.space.matches(raw.space)
    assert set(np.unique(bands.data)) - {0} == {band["label"] for band in told["bands"] if band["voxels"]}
    assert ((bands.data > 4) <= (raw.data > 0)).all()
    assert (((bands.data > 0) & (bands.data < 5)) <= (raw.data < 0)).all()
    assert told["result"].startswith("result: CN ")


def test_the_blob_of_a_patient_is_on_the_left(server, scan, tmp_path):
    """The phantoms' patients differ from controls by a blob on their left: relevance lies there in the world."""
    raw, _ = server.explained(tmp_path, "alzheimers", file=scan, method="gradient_x_input", heatmap="raw")
    volume = io.read_volume(scan)
    brightest = volume.space.world(np.argwhere(volume.data > 0.9 * volume.data.max())).mean(axis=0)
    top = raw.space.world(np.argwhere(np.abs(raw.data) >= np.quantile(np.abs(raw.data), 0.999))).mean(axis=0)
    assert brightest[0] < -10
    assert top[0] < 0


def test_a_scan_of_the_data_store(server, bundles, tiny_cohort, tmp_path):
    path = tiny_cohort / "sub-16" / "anat" / "sub-16_desc-brain_T1w.nii.gz"
    bands, told = server.explained(tmp_path, "alzheimers", "sub-16_desc-brain_T1w", target="CN", atlas="none")
    assert bands.space.matches(io.read_space(path))
    assert told["prediction"]["target"] == "CN"
    assert told["regions"] == []
    assert all("CN" in band["name"] for band in told["bands"])


def test_a_bundle_of_other_people(server, scan, tmp_path):
    raw, told = server.explained(tmp_path, "foreign", file=scan, method="lrp_epsilon", heatmap="raw")
    assert raw.space.matches(io.read_space(scan))
    assert set(told["prediction"]["probabilities"]) == {"healthy", "ill"}
    assert np.abs(raw.data).max() > 0
    _, again = server.explained(tmp_path, "foreign", file=scan, method="saliency")
    # the logits come from the run that explains: the last bits are the method's
    first, second = (one["prediction"] for one in (told, again))
    assert (second["predicted"], second["target"]) == (first["predicted"], first["target"])
    assert second["probabilities"] == pytest.approx(first["probabilities"], abs=1e-6)
    assert second["score"] == pytest.approx(first["score"], abs=1e-6)


def broken(folder: Path, kind: str, scan: Path) -> Path:
    path = folder / f"{kind}.nii.gz"
    if kind == "truncated":
        path.write_bytes(scan.read_bytes()[:3000])
    elif kind == "text":
        path.write_text("this is no scan")
    elif kind == "four_dimensional":
        import nibabel as nib

        nib.Nifti1Image(np.ones((8, 8, 8, 3), np.float32), np.eye(4)).to_filename(path)
    elif kind == "not_a_number":
        volume = io.read_volume(scan)
        data = volume.data.copy()
        data[20, 20, 20] = np.nan
        io.write_volume(path, Volume(data, volume.space))
    elif kind == "elsewhere":
        values = np.arange(8000, dtype=np.float32).reshape(20, 20, 20)
        io.write_volume(path, Volume(values, Space((20, 20, 20), np.diag([1.0, 1, 1, 1]))))
    elif kind == "two_dimensional":
        import nibabel as nib

        nib.Nifti1Image(np.ones((8, 8), np.float32), np.eye(4)).to_filename(path)
    elif kind == "nothing_but_nan":
        space = io.read_space(scan)
        io.write_volume(path, Volume(np.full(space.shape, np.nan, np.float32), space))
    elif kind == "zeros":
        space = io.read_space(scan)
        io.write_volume(path, Volume(np.zeros(space.shape, np.float32), space))
    return path


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("truncated", 400),
        ("text", 400),
        ("four_dimensional", 400),
        ("two_dimensional", 400),
        ("not_a_number", 400),
        ("nothing_but_nan", 400),
        ("elsewhere", 422),
        ("zeros", 400),
    ],
)
def test_a_scan_that_cannot_be_taken_is_refused_with_the_reason(server, scan, tmp_path, kind, status):
    before = set(server.temporary())  # the last answer's files may still be on their way out
    answer = server.infer("alzheimers", file=broken(tmp_path, kind, scan))
    assert set(server.temporary()) <= before  # a scan that was refused does not stay on the disk
    assert answer.status_code == status, answer.text
    reason = answer.json()["detail"]
    assert reason.startswith("the scan"), reason  # not a path of the server's
    assert "Traceback" not in reason
    assert server.infer("alzheimers", file=scan, output="json").status_code == 200


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"method": "tea_leaves"}, "unknown method 'tea_leaves'; choose one of"),
        ({"target": "MCI"}, "unknown target 'MCI'"),
        ({"atlas": "moon"}, "unknown atlas 'moon'"),
        ({"heatmap": "glow"}, "unknown heatmap 'glow'"),
        ({"method_options": "beta"}, "NAME=VALUE"),
        ({"method_options": "delta=1"}, "delta"),
    ],
)
def test_unknown_options_are_refused(server, scan, params, reason):
    answer = server.infer("alzheimers", file=scan, **params)
    assert answer.status_code == 422, answer.text
    assert reason in answer.json()["detail"]


def test_no_other_file_of_the_machine_can_be_asked_for(server, scan, tiny_cohort):
    for image in (str(scan.parent.parent.parent / "x.nii.gz"), "/etc/hostname", "../../etc/hostname", "absent"):
        assert server.infer("alzheimers", image=image).status_code == 404, image
    # nor what others keep in the machine's folder of temporary files
    assert server.infer("alzheimers", image=str(scan)).status_code == 404
    # options are laid over the request: they must not smuggle another path in
    assert server.infer("alzheimers", file=scan, more={"image": "/etc/hostname"}).status_code == 404
    assert server.infer("absent", image="sub-16_desc-brain_T1w").status_code == 404


def test_only_allowed_web_pages_can_read_answers(server):
    import requests

    def allowed(**headers):
        answer = requests.get(f"{server.url}/info/", headers=headers, timeout=60)
        return answer.status_code, answer.headers.get("access-control-allow-origin")

    assert allowed(Origin="http://localhost:3000") == (200, "http://localhost:3000")
    assert allowed(Origin="http://elsewhere.example") == (200, None)
    # a name that an attacker points at this machine
    assert allowed(Host="elsewhere.example")[0] == 400


def test_two_at_once_get_their_own_answers(server, scan, tiny_cohort, tmp_path):
    asked = [("saliency", "AD"), ("saliency", "CN"), ("lrp_alpha_beta", "AD"), ("lrp_epsilon", "CN")] * 2
    alone = {one: server.explained(tmp_path, "alzheimers", file=scan, method=one[0], target=one[1], heatmap="raw")[0]
             for one in set(asked)}  # fmt: skip
    with ThreadPoolExecutor(2) as pool:
        found = list(
            pool.map(
                lambda one: server.explained(
                    tmp_path, "alzheimers", file=scan, method=one[0], target=one[1], heatmap="raw"
                )[0],
                asked,
            )
        )
    for one, volume in zip(asked, found, strict=True):
        np.testing.assert_array_equal(volume.data, alone[one].data)


def test_two_hundred_requests_leave_memory_flat(server, scan, tmp_path, record_property):
    """Requests of changing settings; the second half must not need more than the first."""
    sizes, methods = [], ["lrp_alpha_beta", "saliency", "lrp_epsilon", "grad_cam", "guided_backprop", "deep_lift"]
    for number in range(ROUNDS):
        answer = server.infer(
            "alzheimers" if number % 3 else "foreign", file=scan, method=methods[number % len(methods)], output="all"
        )
        assert answer.status_code == 200, answer.text
        sizes.append(server.memory())
    first, last = max(sizes[10:25]), max(sizes[-10:])
    shown = ", ".join(f"{n}: {sizes[n - 1]:.0f} MiB" for n in (10, 25, 50, 100, ROUNDS))
    print(f"resident memory after requests, {shown}")
    assert last < first + 60, sizes
    time.sleep(1)  # files are removed after the answer has been sent
    for path in server.temporary():
        os.utime(path, (1, 1))  # what a request left that named another file than it sent
    assert server.infer("alzheimers", file=scan, output="json").status_code == 200
    time.sleep(1)
    assert server.temporary() == []


def test_a_scan_that_does_not_fit_is_refused_with_the_ways_out_of_a_viewer(server, scan, tmp_path):
    """A raw head, in effect: as bright around the brain as in it."""
    good = io.read_volume(scan)
    _, told = server.explained(tmp_path, "alzheimers", file=scan)
    # interpolated from an oblique grid, it may be smoother than the phantoms that the network learnt
    assert told["fit"]["fit"] in ("fits", "nearly")
    assert told["fit"]["fit_distance"] < 6
    head = np.where(good.data > 0.1 * good.data.max(), good.data, 0.5 * good.data.max()).astype(np.float32)
    path = io.write_volume(tmp_path / "sub-17_T1w.nii.gz", Volume(head, good.space))
    refused = server.infer("alzheimers", file=path)
    assert refused.status_code == 422, refused.text
    reason = refused.json()["detail"]
    for words in ("does not fit the network", "training scans have none", "`prepare` (", "`unfit` (accept)"):
        assert words in reason, reason
    assert "/" not in reason.split(":")[0]  # no path of the server's machine
    _, told = server.explained(tmp_path, "alzheimers", file=path, unfit="accept")
    assert told["fit"]["fit"] == "far"
    assert told["fit"]["fit_distance"] >= 6
    assert "training scans have none" in told["fit"]["unlike"]
