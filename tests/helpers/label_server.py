"""A real MONAI Label server, and what viewers ask of it over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from neuroxai import io
from neuroxai.space import Volume

MARKS = [
    pytest.mark.label,
    pytest.mark.skipif(
        find_spec("monailabel") is None,
        reason="monailabel is absent; run bash scripts/label_test.sh, which installs it",
    ),
    pytest.mark.xdist_group("label-server"),
]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def snapshot(folder: Path) -> dict[str, tuple]:
    """What is in a folder: kind, size, times of change and checksum of everything, links not followed."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_size, status.st_mtime_ns, digest)
    return found


class Server:
    """What a viewer does, over HTTP. Scans are taken as they are unless a request says otherwise."""

    def __init__(self, bundles: Path, scans: Path, work: Path, port: int | None = None) -> None:
        self.bundles, self.scans, self.work = bundles, scans, work
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = work / "server.log"
        self.start()

    def start(self) -> None:
        from neuroxai.label_app.launch import command

        words, environment = command(
            self.bundles, self.scans, self.work, "127.0.0.1", self.port, "cpu", ["http://localhost:3000"]
        )
        with self.log.open("a") as handle:
            self.process = subprocess.Popen(
                words, env=environment, cwd=self.work, stdout=handle, stderr=subprocess.STDOUT
            )
        self.wait()

    def wait(self) -> None:
        """Return once it answers; a busy machine takes minutes to import everything."""
        for _ in range(600):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                self.info()
                return
            except OSError:
                time.sleep(0.5)
        raise AssertionError(f"the server did not answer within five minutes: {self.log.read_text()[-3000:]}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        os.kill(self.process.pid, number)
        self.process.wait(30)

    def ask(self, method: str, path: str, **more):
        import requests

        return requests.request(method, f"{self.url}{path}", timeout=300, **more)

    def info(self) -> dict:
        return self.ask("GET", "/info/").json()

    def infer(
        self,
        model: str,
        image: str = "",
        file: Path | None = None,
        output: str = "all",
        more=None,
        session="",
        **params,
    ):
        files = {"file": (file.name, file.read_bytes())} if file else None
        return self.ask(
            "POST",
            f"/infer/{model}",
            params={"image": image, "output": output, "session_id": session},
            data={"params": json.dumps({"prepare": "as it is", **params, **(more or {})})},
            files=files,
        )

    def parts(self, answer, folder: Path) -> tuple[Path, dict]:
        """Take an answer apart: the image as a file under the name that the server gave it, and the JSON."""
        from requests_toolbelt import MultipartDecoder

        assert answer.status_code == 200, answer.text
        told, image = {}, folder
        for part in MultipartDecoder.from_response(answer).parts:
            if b"json" in part.headers.get(b"Content-Type", b""):
                told = json.loads(part.text)
            else:
                name = part.headers[b"Content-Disposition"].decode().split('filename="')[1].split('"')[0]
                image = folder / f"{time.perf_counter_ns()}-{name}"
                image.write_bytes(part.content)
        return image, told

    def explained(self, folder: Path, *args, **params) -> tuple[Volume, dict]:
        """Ask, and read the answer's NIfTI."""
        image, told = self.parts(self.infer(*args, **params), folder)
        return io.read_volume(image), told

    def temporary(self) -> list[Path]:
        """Files that lie in the server's own folder of temporary files."""
        return [path for path in (self.work / "tmp").rglob("*") if path.is_file()]

    def memory(self) -> float:
        """Resident memory of the server in MiB."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024
