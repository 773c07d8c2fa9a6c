r"""A report of many scans: time and memory as the cohort grows, and how long its page takes to open in Chromium.

The scans of an explain folder are linked under new names, beside it, until there are as many as asked. Each size is
built in a process of its own::

    python scripts/benchmarks/large_report.py explained --scans 100 300 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from _common import peak_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from check_pages import DESKTOP, browser
from neuroxai.report import build_report

ROW = "| {scans} | {seconds:.0f} | {each:.3f} | {peak:.0f} | {size:.1f} | {opened:.2f} |"


def enlarged(explained: Path, count: int, out: Path) -> None:
    """Link an explain folder's scans under new names."""
    table = pd.read_csv(explained / "predictions.tsv", sep="\t", keep_default_na=False, dtype=str)
    names = list(dict.fromkeys(table["participant_id"]))
    rows = []
    for number in range(count):
        old, new = names[number % len(names)], f"sub-{number:05d}"
        for file in (explained / old).rglob("*_*"):
            target = out / new / file.relative_to(explained / old).with_name(file.name.replace(old, new))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(file)
        rows.append(table[table["participant_id"] == old].assign(participant_id=new))
    pd.concat(rows).to_csv(out / "predictions.tsv", sep="\t", index=False)
    shutil.copy(explained / "explain.json", out)


def build(folder: Path, out: Path) -> dict[str, float]:
    """Build a report in this process; return processor seconds without the start, and peak memory in MiB."""
    started = []
    build_report(folder, out, on_scan=lambda done, _: started.append(time.process_time()) if done == 1 else None)
    return {"seconds": time.process_time() - started[0], "peak": peak_of()}


async def opened(page: Path) -> float:
    """Return the seconds until a page is loaded, a second time, as the browser has warmed up."""
    async with browser() as tab:
        await tab.size(*DESKTOP)
        for _ in range(2):
            await tab.open(page)
        timing = "(performance.timing.loadEventEnd - performance.timing.navigationStart) / 1000"
        return float(await tab.evaluate(timing))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("explained", type=Path, help="output folder of neuroxai explain")
    parser.add_argument("--scans", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--out", type=Path, help="keep the largest report here")
    parser.add_argument("--build", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        print(json.dumps(build(*options.build)))
        return
    print("| scans | processor s | s a scan | peak memory, MiB | cohort page, MB | opens in, s |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in options.scans:
        with tempfile.TemporaryDirectory(dir=options.explained.parent) as name:
            folder = Path(name, "explained")
            folder.mkdir()
            enlarged(options.explained, count, folder)
            out = options.out or Path(name, "report")
            command = [sys.executable, __file__, str(folder), "--build", str(folder), str(out)]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            page = out / "index.html"
            size, loaded = page.stat().st_size / 1e6, asyncio.run(opened(page))
            row = ROW.format(scans=count, each=told["seconds"] / count, size=size, opened=loaded, **told)
            print(row, flush=True)


if __name__ == "__main__":
    main()
