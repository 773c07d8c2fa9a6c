"""Show a scan and its objects in OHIF as a browser draws them, on this machine alone, and keep the pictures.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz     # its folder package/dist is a built viewer
    apt-get install orthanc-dicomweb chromium && pip install playwright
    python scripts/ohif.py package/dist SERIES OBJECTS PICTURES  # OBJECTS: --dicom-out of `neuroxai explain`
    python scripts/ohif.py --plugin BUNDLE SERIES PICTURES       # its plugin for MONAI Label asks our server

The plugin is the one that monailabel's wheel holds built, with its own OHIF. What it shows is compared with the
server's answer as NIfTI, segment by segment: the exit code is 1 where a voxel lies elsewhere. Orthanc keeps the files
in a temporary folder meanwhile, and listens on loopback, as the viewer and the server do.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from neuroxai import io

PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
# without a graphics card: WebGL by the processor
BROWSER = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "orthanc",
    "configuration": {
        "friendlyName": "Orthanc",
        "name": "orthanc",
        **dict.fromkeys(("qidoRoot", "wadoRoot"), "/dicom-web"),
        "wadoUriRoot": "/wado",
        **dict.fromkeys(("imageRendering", "thumbnailRendering"), "wadors"),
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "omitQuotationForMultipartRequest": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
    },
}
SETTINGS = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "maxNumberOfWebWorkers": 2,
    "maxNumRequests": {"interaction": 10, "thumbnail": 5, "prefetch": 5},
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "orthanc",
    "dataSources": [SOURCE],
}
SHOWN = {"segmentation": "neuroxai bands", "overlay": "neuroxai overlay", "report": "neuroxai summary"}
SHOWN["map"] = "neuroxai relevance"
LABEL_ENV = ["bash", str(Path(__file__).resolve().with_name("label_env.sh"))]
DIST = "from importlib.util import find_spec as f; print(*f('monailabel').submodule_search_locations)"
# what the plugin's panel holds: segments by number, and the voxels of its label map with their place in the world
LABELMAP = """() => {
    const panel = document.querySelector('.monaiLabelPanel');
    let node = panel[Object.keys(panel).find(key => key.startsWith('__reactFiber'))];
    while (!node.stateNode?.props?.servicesManager) node = node.return;
    const service = node.stateNode.props.servicesManager.services.segmentationService;
    const volume = service.getLabelmapVolume('1'), names = {};
    for (const one of Object.values(node.stateNode.state.info.initialSegs)) names[one.segmentIndex] = one.label;
    return {names, size: [...volume.dimensions], step: [...volume.spacing], origin: [...volume.origin],
        direction: [...volume.direction], voxels: [...volume.voxelManager.getCompleteScalarDataArray()]};
}"""


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def viewer(dist: Path, archive: str, base: str = "/") -> type[SimpleHTTPRequestHandler]:
    """Return a server of the viewer that passes its questions on to the archive: one origin for both."""

    class Viewer(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(dist))

        def log_message(self, *_: object) -> None:
            pass

        def end_headers(self) -> None:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def do_GET(self) -> None:
            name = "/" + self.path.split("?")[0].removeprefix(base).lstrip("/")
            if name.startswith(("/dicom-web", "/wado")):
                # Orthanc names itself in its answers by the host that it was asked as
                headers = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
                try:
                    answer: Any = urllib.request.urlopen(urllib.request.Request(archive + self.path, headers=headers))
                except urllib.error.HTTPError as error:
                    answer = error
                self._send(answer.status, answer.headers.get("Content-Type", ""), answer.read())
            elif name == "/app-config.js":
                settings = {**SETTINGS, "routerBasename": base}
                self._send(200, "text/javascript", f"window.config = {json.dumps(settings)};".encode())
            else:
                self.path = name if (dist / name.lstrip("/")).is_file() else "/index.html"
                super().do_GET()

        def _send(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Viewer


def pictures(address: str, slices: int, out: Path) -> None:
    """Open every kind of object, go to the middle slice, and photograph it."""
    with import_module("playwright.sync_api").sync_playwright() as driver:
        for name, title in SHOWN.items():
            browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=BROWSER)
            page = browser.new_page(viewport={"width": 1300, "height": 800})
            page.on("pageerror", lambda error: print(f"the page says: {str(error)[:300]}", file=sys.stderr))
            page.goto(address)
            page.get_by_text("Skip all").first.click(timeout=90_000)
            page.wait_for_load_state("networkidle", timeout=180_000)
            page.wait_for_timeout(12_000)  # a map that is opened before the scan is there stays hidden (3.13.2)
            page.get_by_text(title).first.dblclick()
            page.wait_for_load_state("networkidle", timeout=180_000)
            page.wait_for_timeout(8000)
            if (asked := page.get_by_text("Yes", exact=True)).count():  # whether to open the segmentation
                asked.first.click()
                page.wait_for_timeout(8000)
            if name != "report":
                scroll(page, slices // 2)
            page.wait_for_timeout(4000)
            page.screenshot(path=str(out / f"ohif-{name}.png"))
            browser.close()


def scroll(page: Any, wanted: int) -> None:
    """Turn the wheel until the corner of the view names a slice."""
    box = page.locator('[data-cy="viewport-grid"]').bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    for _ in range(200):
        corner = page.locator('[data-cy="viewport-overlay-bottom-right"]').first.inner_text()
        found = re.search(r"\((\d+)/\d+\)", corner)
        if found is None or int(found[1]) == wanted:
            return
        page.mouse.wheel(0, 100 if int(found[1]) < wanted else -100)
        page.wait_for_timeout(200)


@contextmanager
def archive(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Start an archive that holds these files; yield its address and the study's UID."""
    with tempfile.TemporaryDirectory() as folder:
        port, store = free_port(), str(Path(folder) / "store")
        settings = {
            **{"HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": False, "StorageDirectory": store, "IndexDirectory": store},
            **{"Plugins": [PLUGIN], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}},
        }
        (Path(folder) / "orthanc.json").write_text(json.dumps(settings))
        words = ["Orthanc", str(Path(folder) / "orthanc.json")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address, study = f"http://127.0.0.1:{port}", ""
            until_it_answers(f"{address}/system", process)
            for file in files:
                sent = urllib.request.Request(f"{address}/instances", file.read_bytes(), method="POST")
                parent = json.loads(urllib.request.urlopen(sent).read())["ParentStudy"]
                told = json.loads(urllib.request.urlopen(f"{address}/studies/{parent}").read())
                study = told["MainDicomTags"]["StudyInstanceUID"]
            yield address, study
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def served(dist: Path, address: str, base: str = "/") -> Iterator[str]:
    """Serve the viewer beside an archive; yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), viewer(dist.resolve(), address, base)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def until_it_answers(address: str, process: subprocess.Popen[bytes]) -> None:
    """Return once a server answers; on a busy machine ours takes a minute to start."""
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"{process.args!r}: ended with {process.returncode}, expected a server at {address}")
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.5)
    sys.exit(f"{address}: no answer within five minutes")


def files_of(*folders: Path) -> list[Path]:
    """Return the files of folders and of those in them."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


def objects(dist: Path, series: Path, made: Path, out: Path) -> None:
    """Fill an archive, serve the viewer, take the pictures of our objects."""
    with archive(files_of(series, made)) as (address, study), served(dist, address) as page:
        pictures(f"{page}/viewer?StudyInstanceUIDs={study}", len(files_of(series)), out)


def plugin(bundle: Path, series: Path, out: Path) -> None:
    """Let OHIF's plugin for MONAI Label ask our server for a series of the archive, and look at what it shows."""
    where = subprocess.run([*LABEL_ENV, "python", "-c", DIST], check=True, capture_output=True, text=True).stdout
    dist, port = Path(where.strip()) / "endpoints" / "static" / "ohif", free_port()
    label = f"http://127.0.0.1:{port}/"
    with (
        archive(files_of(series)) as (address, study),
        served(dist, address, "/ohif/") as page,
        tempfile.TemporaryDirectory() as work,
    ):
        words = ["neuroxai", "label", "start", str(bundle), f"{address}/dicom-web", "--port", str(port)]
        words += ["--work", f"{work}/work", "--allow-origin", page]
        server = subprocess.Popen([*LABEL_ENV, *words], start_new_session=True)
        try:
            until_it_answers(f"{label}info/", server)
            shown = asked_by_the_plugin(f"{page}/ohif/monai-label?StudyInstanceUIDs={study}", label, out)
            differences = compared(shown, label, Path(work))
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # a shell's background jobs, and what they start, pass over SIGINT
            server.wait(60)
    sys.exit(int(differences > 0))


def asked_by_the_plugin(page_address: str, label: str, out: Path) -> dict[str, Any]:
    """Connect, run the first model, photograph the views, and return what the label map holds."""
    with import_module("playwright.sync_api").sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=BROWSER)
        page = browser.new_page(viewport={"width": 1500, "height": 850})
        page.on("pageerror", lambda error: print(f"the page says: {str(error)[:300]}", file=sys.stderr))
        page.on("request", lambda one: one.url.startswith(label) and print(one.method, one.url.removeprefix(label)))
        page.goto(page_address)
        page.locator("#monailabelServerURL").wait_for(timeout=120_000)
        page.wait_for_timeout(20_000)  # the panel is drawn anew until the volume is there
        page.locator("#monailabelServerURL").fill(label)
        page.locator(".settingsTable .actionButton").click()
        page.get_by_text("Auto-Segmentation").wait_for(timeout=60_000)
        page.wait_for_timeout(5000)
        with page.expect_response(lambda one: "/infer/" in one.url, timeout=300_000):
            page.get_by_title("Run Segmentation", exact=True).click()
        page.wait_for_timeout(10_000)
        page.screenshot(path=str(out / "ohif-plugin.png"))
        shown: dict[str, Any] = page.evaluate(LABELMAP)
        browser.close()
    return shown


def compared(shown: dict[str, Any], label: str, folder: Path) -> int:
    """Print each segment's voxels and centre (mm, RAS) in the viewer and in the NIfTI answer; count what differs."""
    info = json.loads(urllib.request.urlopen(f"{label}info/").read())
    (name, model), *_ = info["models"].items()
    listing = json.loads(urllib.request.urlopen(f"{label}datastore/?output=all").read())
    query = urllib.parse.urlencode({"image": next(iter(listing["objects"])), "output": "image"})
    answer = urllib.request.urlopen(urllib.request.Request(f"{label}infer/{name}?{query}", method="POST")).read()
    (folder / "answer.nii.gz").write_bytes(answer)
    expected = io.read_volume(folder / "answer.nii.gz")
    voxels = np.array(shown["voxels"]).reshape(shown["size"], order="F")
    axes = np.array(shown["direction"]).reshape(3, 3).T * shown["step"]
    different = 0
    for title, value in model["labels"].items():
        number = next(int(key) for key, given in shown["names"].items() if given == title)
        if value == 0:
            continue
        one = (np.argwhere(voxels == number) @ axes.T + shown["origin"]) * (-1, -1, 1)
        other = expected.space.world(np.argwhere(expected.data == value))
        first, second = (np.array(sorted(found.round(2).tolist())) for found in (one, other))
        same = first.shape == second.shape and np.allclose(first, second, atol=0.05)
        different += not same
        centre = [np.round(x.mean(axis=0), 1).tolist() if len(x) else None for x in (one, other)]
        print(
            f"{title}: {len(one)} voxels at {centre[0]}; answer: {len(other)} at {centre[1]}"
            + ("" if same else " DIFFERS")
        )
    return different


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    Path(sys.argv[-1]).mkdir(parents=True, exist_ok=True)
    if sys.argv[1] == "--plugin":
        plugin(*map(Path, sys.argv[2:]))
    objects(*map(Path, sys.argv[1:]))
