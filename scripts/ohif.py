"""Show a scan and its objects in OHIF as a browser draws them, on this machine alone, and keep the pictures.

    npm pack @ohif/app@3.13.2 && tar xzf ohif-app-3.13.2.tgz     # its folder package/dist is a built viewer
    apt-get install orthanc-dicomweb chromium && pip install playwright
    python scripts/ohif.py package/dist SERIES OBJECTS PICTURES  # OBJECTS: --dicom-out of `neuroxai explain`

Orthanc keeps the files in a temporary folder meanwhile, and listens on loopback, as the viewer does.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

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


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def viewer(dist: Path, archive: str) -> type[SimpleHTTPRequestHandler]:
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
            name = self.path.split("?")[0]
            if name.startswith(("/dicom-web", "/wado")):
                # Orthanc names itself in its answers by the host that it was asked as
                headers = {"Accept": self.headers.get("Accept", "*/*"), "Host": self.headers["Host"]}
                try:
                    answer: Any = urllib.request.urlopen(urllib.request.Request(archive + self.path, headers=headers))
                except urllib.error.HTTPError as error:
                    answer = error
                self._send(answer.status, answer.headers.get("Content-Type", ""), answer.read())
            elif name == "/app-config.js":
                self._send(200, "text/javascript", f"window.config = {json.dumps(SETTINGS)};".encode())
            else:
                if not (dist / name.lstrip("/")).is_file():
                    self.path = "/index.html"
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
            page.wait_for_timeout(12_000)  # a map that is opened before the scan is there stays hidden (3.13.2)
            page.get_by_text(title).first.dblclick()
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


def main(dist: Path, series: Path, objects: Path, out: Path) -> None:
    """Fill an archive, serve the viewer, take the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        port, store = free_port(), str(Path(folder) / "store")
        settings = {
            **{"HttpPort": port, "DicomServerEnabled": False, "RemoteAccessAllowed": False},
            **{"AuthenticationEnabled": False, "StorageDirectory": store, "IndexDirectory": store},
            **{"Plugins": [PLUGIN], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}},
        }
        (Path(folder) / "orthanc.json").write_text(json.dumps(settings))
        words = ["Orthanc", str(Path(folder) / "orthanc.json")]
        archive = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address, study = f"http://127.0.0.1:{port}", ""
            time.sleep(5)
            for file in sorted(path for place in (series, objects) for path in place.rglob("*") if path.is_file()):
                sent = urllib.request.Request(f"{address}/instances", file.read_bytes(), method="POST")
                parent = json.loads(urllib.request.urlopen(sent).read())["ParentStudy"]
                told = json.loads(urllib.request.urlopen(f"{address}/studies/{parent}").read())
                study = told["MainDicomTags"]["StudyInstanceUID"]
            with ThreadingHTTPServer(("127.0.0.1", 0), viewer(dist.resolve(), address)) as server:
                threading.Thread(target=server.serve_forever, daemon=True).start()
                page = f"http://127.0.0.1:{server.server_port}/viewer?StudyInstanceUIDs={study}"
                pictures(page, sum(path.is_file() for path in series.rglob("*")), out)
                server.shutdown()
        finally:
            archive.terminate()
            archive.wait(30)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
