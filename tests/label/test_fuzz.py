"""Random requests to a real server by schemathesis: ``bash scripts/label_test.sh --fuzz SECONDS``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from helpers.label_server import Server, snapshot

SECONDS = os.environ.get("NEUROXAI_FUZZ_SECONDS")
pytestmark = [
    pytest.mark.label,
    pytest.mark.skipif(
        not SECONDS or find_spec("monailabel") is None,
        reason="takes minutes; run bash scripts/label_test.sh --fuzz SECONDS",
    ),
]


def descriptions(server: Server, known: dict[str, str]) -> dict:
    """This server's description and MONAI Label's, whose other requests must be refused; known names now and then."""
    from monailabel.app import app

    ours, theirs = server.ask("GET", "/openapi.json").json(), app.openapi()
    schemas = {**theirs["components"]["schemas"], **ours["components"]["schemas"]}
    made = {**ours, "paths": {**theirs["paths"], **ours["paths"]}, "components": {"schemas": schemas}}
    made = json.loads(json.dumps(made).replace("contentMediaType", "x-contentMediaType"))
    for methods in made["paths"].values():
        for request in methods.values():
            for parameter in request.get("parameters", ()):
                if parameter["name"] in known:
                    parameter["schema"] = {"type": "string", "anyOf": [{"const": known[parameter["name"]]}, {}]}
    return made


def test_random_requests_are_answered_or_refused_and_change_nothing(bundles, tiny_cohort, scan, tmp_path):
    before = snapshot(tiny_cohort), snapshot(bundles)
    server = Server(bundles, tiny_cohort, tmp_path / "work")
    try:
        content = scan.read_bytes()
        identifier = server.ask("PUT", "/session/", files={"files": ("a.nii.gz", content)}).json()["session_id"]
        names = {"model": "alzheimers", "image": "sub-16_desc-brain_T1w", "session_id": identifier}
        (tmp_path / "openapi.json").write_text(json.dumps(descriptions(server, names)))
        first, begin = server.memory(), time.monotonic()
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(tmp_path / "openapi.json")]
        command += ["--url", server.url, "--max-time", str(SECONDS), "--request-timeout", "120"]
        command += ["--checks", "not_a_server_error", "--warnings", "off", "--suppress-health-check", "all"]
        # two at once as processes: Python before 3.11.9 may fail to parse source in two threads (gh-106905)
        with ThreadPoolExecutor() as threads:
            runs = [threads.submit(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True) for _ in "ab"]
        for found in (run.result() for run in runs):
            print(found.stdout[-6000:], found.stderr[-2000:])
        assert [run.result().returncode for run in runs] == [0, 0]
        print(f"{time.monotonic() - begin:.0f} s; resident memory {first:.0f} MiB before, {server.memory():.0f} after")
        assert server.infer("alzheimers", "sub-16_desc-brain_T1w", output="json").status_code == 200
        assert {path.relative_to(server.work).parts[2] for path in server.temporary()} <= {"sent"}
    finally:
        server.stop()
    assert "unexpected" not in server.log.read_text()
    assert (snapshot(tiny_cohort), snapshot(bundles)) == before
    allowed = {"logs", "main.py", "logging.json", "studies", "tmp", "server.log", "matplotlib"}
    assert {path.name for path in server.work.iterdir()} <= allowed
    assert not any((server.work / "studies").iterdir())
