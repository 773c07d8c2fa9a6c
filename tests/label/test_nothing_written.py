"""No request writes among the user's scans or bundles, leaves anything outside --work, or logs a name."""

from __future__ import annotations

import asyncio
import io as streams
import itertools
import json
import signal
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from helpers.label_server import MARKS, Server, snapshot
from neuroxai import io
from neuroxai.space import Volume

pytestmark = MARKS
WRITING = ("post", "put", "delete", "patch")
NAME = "Mustermann_Erika_19630808_T1w"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, tiny_cohort):
    """A user's folder: a file, a link to one elsewhere, a broken link, and a folder above with a neighbour."""
    top = tmp_path_factory.mktemp("user")
    folder, elsewhere = top / "scans", top / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    found = sorted(tiny_cohort.glob("sub-*/anat/*_T1w.nii.gz"))
    (folder / f"{NAME}.nii.gz").write_bytes(found[16].read_bytes())
    (elsewhere / "linked.nii.gz").write_bytes(found[17].read_bytes())
    (folder / "linked.nii.gz").symlink_to(elsewhere / "linked.nii.gz")
    (folder / "broken.nii.gz").symlink_to(elsewhere / "absent.nii.gz")
    (folder / "notes.txt").write_text("of the user")
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory, bundles, cohort):
    one = Server(bundles, cohort, tmp_path_factory.mktemp("work"))
    try:
        yield one
    finally:
        one.stop()


def all_routes(server: Server) -> list[tuple[str, str]]:
    """Every request of this server, and every one that MONAI Label has, in its description or hidden from it."""
    from monailabel import endpoints  # noqa: F401
    from monailabel.endpoints import (
        activelearning,
        batch_infer,
        datastore,
        infer,
        info,
        login,
        logs,
        model,
        ohif,
        proxy,
        scoring,
        session,
        train,
        wsi_infer,
    )

    described = server.ask("GET", "/openapi.json").json()["paths"]
    routes = {(method, path) for path, methods in described.items() for method in methods}
    for module in (activelearning, batch_infer, datastore, infer, info, login, logs, model, ohif, proxy, scoring,
                   session, train, wsi_infer):  # fmt: skip
        routes |= {(method.lower(), one.path) for one in module.router.routes for method in one.methods}
    return sorted({*routes, ("post", "/reload")})


def archive() -> bytes:
    """A tar file whose members lie outside the folder that it is unpacked in."""
    buffer = streams.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("../../../../../../../../tmp/neuroxai-escaped", "/tmp/neuroxai-escaped"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, streams.BytesIO(b"evil"))
    return buffer.getvalue()


def test_no_request_of_the_api_changes_a_file_of_the_user(own, cohort, bundles, tmp_path):
    before = snapshot(cohort.parent), snapshot(bundles)
    work = snapshot(own.work).keys()
    replaced = io.read_volume(cohort / f"{NAME}.nii.gz")
    other = io.write_volume(tmp_path / "x.nii.gz", Volume(replaced.data + 1, replaced.space)).read_bytes()
    names = (NAME, "linked", "broken", f"../scans/{NAME}", str(cohort / NAME), "%2e%2e", "..", "new")
    uploads = (("x.nii.gz", other), ("x.tar.gz", archive()), ("../../x.nii.gz", other), ("meta.info", b"{}"))
    routes = [one for one in all_routes(own) if one[0] in WRITING]
    assert len(routes) > 20
    statuses = set()
    for (method, path), name, (filename, content) in itertools.product(routes, names, uploads):
        filled = path
        for part in ("{model}", "{strategy}", "{session_id}", "{method}", "{path:path}", "{path}"):
            filled = filled.replace(part, "alzheimers" if part == "{model}" else name.replace("/", "%2F"))
        query = dict.fromkeys(("image", "id", "label", "tag", "session_id"), name) | {"uncompress": "true"}
        query |= {"output": "json"} if path.startswith("/infer") else {}
        options = json.dumps({"method": "saliency", "atlas": "none", "save_label": True, "label_tag": f"../../{name}"})
        files = dict.fromkeys(("file", "label", "files"), (filename, content))
        answer = own.ask(method, filled, params=query, data={"params": options, "info": options}, files=files)
        statuses.add(answer.status_code)
        assert answer.status_code < 500, (method, filled, answer.text)
        assert str(own.work) not in answer.text
        assert str(cohort.parent) not in answer.text.replace(json.dumps(name)[1:-1], "")
    assert {404, 405, 409, 422} <= statuses
    # the same as viewers ask in JSON, and without the archive: what is kept is what was sent, under --work
    for method, path in routes:
        own.ask(method, path.replace("{model}", "alzheimers"), json={"save_label": True, "label_tag": "../.."})
    assert own.ask("PUT", "/datastore/", params={"image": NAME}, files={"file": ("x.nii.gz", other)}).status_code == 409
    assert own.ask("DELETE", "/datastore/", params={"id": NAME}).status_code == 405
    assert own.ask("DELETE", "/datastore/image", params={"id": NAME}).status_code == 405
    assert snapshot(cohort.parent) == before[0]
    assert snapshot(bundles) == before[1]
    assert not Path("/tmp/neuroxai-escaped").exists()
    # in --work itself nothing but what was sent, which is kept, and the log
    new = {name for name in snapshot(own.work).keys() - work if not name.startswith(f"tmp/{own.port}")}
    assert new <= {"logs/app.log", "server.log"}, new
    assert {path.parent.parent.name for path in own.temporary()} <= {"sent"}


def test_names_of_scans_stand_in_no_log(own, cohort, tmp_path):
    """Of scans that are there, of those sent, upon success and upon every kind of refusal."""
    good = cohort / f"{NAME}.nii.gz"
    sent = tmp_path / f"{NAME}_sent.nii.gz"
    sent.write_bytes(good.read_bytes())
    broken = tmp_path / f"{NAME}_broken.nii.gz"
    broken.write_bytes(good.read_bytes()[:3000])
    without_sides = tmp_path / f"{NAME}_sides.nii.gz"
    import nibabel as nib

    image = nib.load(good)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header).to_filename(without_sides)
    assert own.infer("alzheimers", NAME).status_code == 200
    assert own.infer("alzheimers", NAME, prepare="linear", unfit="accept").status_code in (200, 422)
    for file in (sent, broken, without_sides):
        own.infer("alzheimers", file=file)
        own.ask("PUT", "/datastore/", params={"image": file.stem}, files={"file": (file.name, file.read_bytes())})
        own.infer("alzheimers", file.stem)
        own.ask("PUT", "/session/", files={"files": (file.name, file.read_bytes())})
    own.infer("alzheimers", file=broken, prepare="linear")
    own.infer(NAME, NAME)
    own.infer("alzheimers", "broken")
    own.infer("alzheimers", NAME, method=NAME)
    own.infer("alzheimers", NAME, method_options=NAME)
    for path in (f"/datastore/image?image={NAME}", f"/datastore/image?image={NAME}x", f"/session/{NAME}", f"/{NAME}"):
        own.ask("GET", path)
    own.ask("POST", "/activelearning/random", json={"client_id": NAME})
    text = own.log.read_text() + (own.work / "logs" / "app.log").read_text()
    assert "refused: UnreadableScanError (400)" in text
    assert NAME not in text
    assert "Mustermann" not in text
    assert NAME not in own.ask("GET", "/logs/").text
    assert NAME not in " ".join(map(str, own.temporary()))


def test_of_an_unexpected_error_the_log_says_where_and_not_what(monkeypatch, caplog):
    from neuroxai.label_app import launch

    for variable in (launch.ORIGINS, launch.HOSTS):
        monkeypatch.setenv(variable, "[]")
    from neuroxai.label_app.serve import Discreet

    async def failing(scope, receive, send):
        raise ZeroDivisionError(f"/scans/{NAME}.nii.gz")

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Discreet(failing)({"type": "http"}, None, send))
    assert sent[0]["status"] == 500
    assert NAME not in str(sent)
    assert "unexpected ZeroDivisionError at" in caplog.text
    assert "in failing" in caplog.text
    assert NAME not in caplog.text


def test_a_server_that_was_killed_starts_again_on_the_same_folders(tmp_path, bundles, cohort):
    """kill -9 amid eight requests: a scan that was sent is gone after the next start, and answers are as before."""
    before = snapshot(cohort.parent)
    one = Server(bundles, cohort, tmp_path / "work")
    first = one.infer("alzheimers", NAME, output="json", method="saliency").json()
    identifier = one.ask(
        "PUT", "/session/", files={"files": ("a.nii.gz", (cohort / f"{NAME}.nii.gz").read_bytes())}
    ).json()["session_id"]
    assert one.infer("alzheimers", session=identifier, output="json").status_code == 200
    assert one.temporary()
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(one.infer, "alzheimers", NAME, method="occlusion") for _ in range(8)]
        time.sleep(0.2)
        one.stop(signal.SIGKILL)
        # a fast machine may have answered the first by then
        assert any(isinstance(task.exception(), OSError) for task in running)
    one.start()
    try:
        assert one.temporary() == []
        assert one.ask("GET", f"/session/{identifier}").status_code == 404
        again = one.infer("alzheimers", NAME, output="json", method="saliency").json()
    finally:
        one.stop()
    assert again["prediction"]["probabilities"] == pytest.approx(first["prediction"]["probabilities"], abs=1e-6)
    assert snapshot(cohort.parent) == before
