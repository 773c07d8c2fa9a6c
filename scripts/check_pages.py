#!/usr/bin/env python3
"""Open report pages in headless Chromium and say what is wrong with them.

    python scripts/check_pages.py PAGE.html ... [--axe axe.min.js] [--shots FOLDER]

Looked at: requests that leave the page, errors on the console, width on a phone, time to open and, with --axe (from the
npm package axe-core), accessibility. Exit code 1 if anything is found.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

PHONE, DESKTOP = (390, 844), (1280, 900)
_LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass
class Found:
    """What one page shows.

    Parameters
    ----------
    requests, errors : list of str
        What left the page, and what the console says.
    overflow : int
        Pixels by which the page is wider than a phone.
    seconds : float
        From the start of navigation to the end of loading.
    violations : list of str
        Serious and critical ones, by axe-core.
    """

    page: Path
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    overflow: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All that is wrong, in words."""
        wide = [f"{self.overflow} pixels wider than a phone"] if self.overflow > 0 else []
        return [*(f"asks for {url}" for url in self.requests), *self.errors, *wide, *self.violations]


class Tab:
    """One page, driven by the DevTools protocol."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket, self.numbers, self.events = socket, itertools.count(1), list[dict[str, Any]]()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        number = next(self.numbers)
        await self.socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = await asyncio.wait_for(self._read(), 60)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self.events.append(message)

    async def wait_for(self, method: str) -> None:
        """Wait for an event."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(await asyncio.wait_for(self._read(), 60))

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, or of the promise that it gives."""
        told = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            allowUnsafeEvalBlockedByCSP=True,
        )
        if "exceptionDetails" in told:
            raise RuntimeError(str(told["exceptionDetails"].get("exception", told["exceptionDetails"]))[:500])
        return told["result"].get("value")

    async def size(self, width: int, height: int) -> None:
        """Make the window as large as that."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    async def open(self, page: Path) -> None:
        """Load a page and wait until its viewer, if it has one, is there."""
        self.events.clear()
        await self.call("Page.navigate", url=page.resolve().as_uri())
        await self.wait_for("Page.loadEventFired")
        await self.evaluate(
            "new Promise((done) => { const from = Date.now(); (function look() {"
            " const viewer = document.getElementById('viewer');"
            " if (!viewer || !viewer.hidden || Date.now() - from > 10000) done(1); else setTimeout(look, 20); })(); })"
        )

    async def shot(self, path: Path) -> None:
        """Write a picture of the whole page, in a window as tall as it: what is not in view need not be drawn."""
        width, height = await self.evaluate("[window.innerWidth, document.documentElement.scrollHeight]")
        await self.size(width, height)
        await self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        told = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    async def _read(self) -> dict[str, Any]:
        text = await self.socket.read_message()
        if text is None:
            raise RuntimeError("Chromium closed the connection")
        return dict(json.loads(text))


@asynccontextmanager
async def browser(program: str | None = None) -> AsyncIterator[Tab]:
    """Start Chromium with one empty tab, and end it.

    Raises
    ------
    FileNotFoundError
        If there is no Chromium.
    """
    path = program or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise FileNotFoundError("no chromium on PATH; install it, for example with apt-get install chromium")
    with tempfile.TemporaryDirectory(prefix="pages-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run",
             "--disable-background-networking", "--hide-scrollbars", "--remote-debugging-port=0",
             f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            yield await _tab(port)
        finally:
            process.terminate()
            process.wait(30)


async def _port(file: Path) -> int:
    for _ in range(300):
        if file.is_file() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        await asyncio.sleep(0.1)
    raise RuntimeError("Chromium did not start within 30 seconds")


async def _tab(port: int) -> Tab:
    from tornado.httpclient import AsyncHTTPClient

    told = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json")
    url = next(one["webSocketDebuggerUrl"] for one in json.loads(told.body) if one["type"] == "page")
    tab = Tab(await websocket_connect(url, max_message_size=256 * 2**20))
    for domain in ("Page", "Network", "Runtime", "Log"):
        await tab.call(f"{domain}.enable")
    return tab


async def look(tab: Tab, page: Path, axe: Path | None = None, shots: Path | None = None) -> Found:
    """Open one page on a desktop and on a phone."""
    found = Found(page)
    await tab.size(*DESKTOP)
    await tab.open(page)
    found.seconds = await tab.evaluate("(performance.timing.loadEventEnd - performance.timing.navigationStart) / 1000")
    if shots is not None:
        await tab.shot(shots / f"{page.parent.name}_{page.stem}_desktop.png")
    if axe is not None:
        await tab.evaluate(axe.read_text(encoding="utf-8") + "; true")
        # without preload, which asks for style sheets that a page from a file may not read
        call = "axe.run(document, {preload: false, resultTypes: ['violations']})"
        told = await tab.evaluate(f"{call}.then((result) => result.violations)")
        found.violations = [
            f"axe {one['impact']}: {one['id']} ({one['help']}), {len(one['nodes'])} times, such as "
            f"{one['nodes'][0]['html'][:120]}"
            for one in told
            if one["impact"] in ("serious", "critical")
        ]
    await tab.size(*PHONE)
    found.overflow = int(await tab.evaluate("document.documentElement.scrollWidth")) - PHONE[0]
    if shots is not None:
        await tab.shot(shots / f"{page.parent.name}_{page.stem}_phone.png")
    for event in tab.events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(_LOCAL):
            found.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            found.errors.append(f"exception: {params['exceptionDetails'].get('text')}")
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            found.errors.append(f"console: {params['entry']['text']}")
    return found


async def _main(pages: list[Path], axe: Path | None, shots: Path | None) -> int:
    faults = 0
    async with browser() as tab:
        for page in pages:
            found = await look(tab, page, axe, shots)
            faults += len(found.faults)
            print(f"{page}: {found.seconds:.2f} s, {len(found.faults)} faults")
            for fault in found.faults:
                print(f"  {fault}")
    return 1 if faults else 0


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js of axe-core")
    parser.add_argument("--shots", type=Path, help="folder for pictures")
    chosen = parser.parse_args()
    absent = [page for page in [*chosen.pages, *filter(None, [chosen.axe])] if not page.is_file()]
    if absent:
        sys.stderr.write(f"error: {absent[0]}: no such file\n")
        sys.exit(2)
    if chosen.shots is not None:
        chosen.shots.mkdir(parents=True, exist_ok=True)
    sys.exit(asyncio.run(_main(chosen.pages, chosen.axe, chosen.shots)))


if __name__ == "__main__":
    main()
