r"""Time of the report's pages beside nilearn's pictures of the same scans, and of the command line's start.

For each scan of an explain folder nilearn makes what its users make by hand: `view_img` as an HTML file, and
`plot_stat_map` as a mosaic, of the heatmap over the scan. Ours is a scan's page, with its viewer, slices, regions and
tables, once what all pages share is there; and the whole of `neuroxai report`, with the cohort's page and all figures,
once in one process and once in several. Both read the files anew, and results lie in a temporary folder. With
`--processor` the processor's time of this process is taken, which a busy machine disturbs less. The start is that of
`neuroxai --help`, beside a Python that imports typer and rich, of which the command line is made, and nothing else::

    python scripts/benchmarks/report.py explained --dataset-dir cohort --jobs 2 --repeats 3
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
from _common import Runners, seconds

from neuroxai.derivatives.explain_folder import read_folder
from neuroxai.report import Beside, build_report
from neuroxai.report.build import source_of
from neuroxai.report.inputs import Context
from neuroxai.report.scan.pages import show


def by_nilearn(pairs: list[tuple[Path, Path]], folder: Path, viewer: bool = True) -> None:
    """Draw heatmaps over scans as nilearn does."""
    from nilearn import plotting

    for number, (heatmap, scan) in enumerate(pairs):
        # their threshold of 1e-6 by default would leave a weak heatmap empty
        images: Any = {"stat_map_img": nibabel.load(heatmap), "bg_img": nibabel.load(scan), "threshold": None}
        if viewer:
            plotting.view_img(**images).save_as_html(folder / f"{number}.html")
        plotting.plot_stat_map(**images, display_mode="mosaic", output_file=folder / f"{number}.png")


def kilobytes(folder: Path) -> float:
    """Mean size of a scan's page."""
    pages = [path.stat().st_size for path in folder.glob("*.html") if path.name != "index.html"]
    return sum(pages) / len(pages) / 1000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("explained", type=Path, help="output folder of neuroxai explain")
    parser.add_argument("--dataset-dir", type=Path, help="the cohort's folder, where the run did not note it")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the second row")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processor", action="store_true", help="processor time, of one process alone")
    options = parser.parse_args()
    found = read_folder(options.explained)
    sources = [(item.heatmap, source_of(item, found, options.dataset_dir)) for item in found.items]
    pairs = [(heatmap, scan) for heatmap, scan in sources if scan is not None and scan.is_file()]
    table = Path(options.dataset_dir or found.record.dataset_dir or ".") / "participants.tsv"
    shared = Context.of(found, table, Beside())
    if not pairs:
        parser.error(f"{options.explained}: no scan is found; give the cohort's folder with --dataset-dir")
    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name, "ours"), Path(name, "nilearn")
        theirs.mkdir()
        several = f"neuroxai report --jobs {options.jobs}"
        runners: Runners = {
            "plot_stat_map, mosaic": lambda: by_nilearn(pairs, theirs, viewer=False),
            "view_img and mosaic": lambda: by_nilearn(pairs, theirs),
            "scans' pages": lambda: [
                show(item, source_of(item, found, options.dataset_dir), shared, ours) for item in found.items
            ],
            "neuroxai report": lambda: build_report(options.explained, ours, options.dataset_dir),
            several: lambda: build_report(options.explained, ours, options.dataset_dir, jobs=options.jobs),
        }
        if options.processor:
            del runners[several]
        times = seconds(runners, options.repeats, time.process_time if options.processor else time.perf_counter)
        sizes = {row: kilobytes(theirs if row.endswith("mosaic") else ours) for row in runners}
    print(f"| pages of {len(pairs)} scans | s a scan | over nilearn's | kB a page |\n|---|---|---|---|")
    for row, taken in times.items():
        cells = f"{taken / len(pairs):.2f} | {taken / times['view_img and mosaic']:.2f} | {sizes[row]:.0f}"
        print(f"| {row} | {cells} |")
    plain, command = [sys.executable, "-c", "import typer, rich"], [sys.executable, "-m", "neuroxai", "--help"]
    starts = seconds(
        {
            "import typer, rich": lambda: subprocess.run(plain, check=True),
            "neuroxai --help": lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        },
        options.repeats,
    )
    print("\n| start | s | over the imports |\n|---|---|---|")
    for row, taken in starts.items():
        print(f"| {row} | {taken:.2f} | {taken / starts['import typer, rich']:.2f} |")


if __name__ == "__main__":
    main()
