"""The tutorials' commands, run: each study end to end, in its quick form made smaller still.

With NEUROXAI_STUDIES=quick the commands run exactly as they are printed (some 20 minutes on two cores).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from helpers.bundles import REPOSITORY
from helpers.studies import smaller
from helpers.thirds import spread
from neuroxai.studies import names

# pages of studies are named as these are, by author and year
PAGES = sorted((REPOSITORY / "docs" / "tutorials").glob("*20*.md"))


def command_of(page):
    (line,) = re.findall(r"^(neuroxai study run \w+ --quick .*)$", page.read_text(), re.MULTILINE)[:1]
    return shlex.split(line)


def test_every_study_of_a_paper_of_the_five_has_a_page():
    assert {"boehle2019", "eitel2019", "eitelritter2019", "klingenberg2021", "eitel2021"} == {p.stem for p in PAGES}
    assert {page.stem for page in PAGES} <= set(names())


@pytest.mark.parametrize("page", spread(PAGES), ids=lambda p: p.stem)
def test_the_command_runs_and_leaves_what_the_page_says(page, tmp_path):
    words = command_of(page)
    assert words[3] == page.stem
    if os.environ.get("NEUROXAI_STUDIES") != "quick":
        small = smaller(page.stem, tmp_path / f"{page.stem}.yaml")
        words = [*words[:3], str(small), *(w for w in words[4:] if w != "--quick")]
    done = subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    out = tmp_path / words[words.index("--out") + 1]
    assert "Beside the paper's figures" in (out / "report.html").read_text()
    figures = {path.suffix for path in (out / "figures").iterdir()}
    assert figures == {".png", ".svg"}
    for name in set(re.findall(r"`(?:\w+/)?(\w+\.tsv)`", page.read_text())) - {"participants.tsv"}:
        if name != name.lower():
            continue  # stands for several
        assert (out / name).is_file(), f"{page.name} speaks of {name}, which was not written"
    assert "seconds" not in (out / "results.tsv").read_text().splitlines()[0]
