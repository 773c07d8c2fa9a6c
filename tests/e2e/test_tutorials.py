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
import yaml

from helpers.bundles import REPOSITORY
from neuroxai.studies import names, text_of
from neuroxai.studies.reading import load, merged

# pages of studies are named as these are, by author and year
PAGES = sorted((REPOSITORY / "docs" / "tutorials").glob("*20*.md"))
SMALL = {
    "cohorts": {"main": {"simulate": {"subjects": 20}}},
    "split": {"fractions": [0.5, 0.25, 0.25], "repeats": 1, "age_bins": 1},
    "settings": {"max_epochs": 2, "min_epochs": 1},
    "statistics": {"permutations": 99, "replicates": 50},
}
OWN = {
    "eitelritter2019": {"repetitions": 2},
    # two ways without registration, which has tests of its own and takes seven seconds a scan
    "klingenberg2021": {
        "cohorts": {"main": {"simulate": {"subjects": 16}}},
        "repetitions": 1,
        "arms": {"linear": {"prepare": {"arm": "none", "centre": "image"}}},
    },
    "eitel2021": {"split": {"repeats": 2}, "search": {"draws": 1}},
    "eitel2019": {
        "repetitions": 1,
        "cohorts": {"pretraining": {"simulate": {"subjects": 14}}, "main": {"simulate": {"subjects": 28}}},
        "arms": {"adni": {"settings": {"max_epochs": 2, "min_epochs": 1}}},
    },
}


def command_of(page):
    (line,) = re.findall(r"^(neuroxai study run \w+ --quick .*)$", page.read_text(), re.MULTILINE)[:1]
    return shlex.split(line)


def test_every_study_of_a_paper_of_the_five_has_a_page():
    assert {"boehle2019", "eitel2019", "eitelritter2019", "klingenberg2021", "eitel2021"} == {p.stem for p in PAGES}
    assert {page.stem for page in PAGES} <= set(names())


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_the_command_runs_and_leaves_what_the_page_says(page, tmp_path):
    words = command_of(page)
    assert words[3] == page.stem
    if os.environ.get("NEUROXAI_STUDIES") != "quick":
        values = load(text_of(page.stem), page.stem)
        quick = merged(merged(merged(values, values.pop("quick")), SMALL), OWN.get(page.stem, {}))
        small = tmp_path / f"{page.stem}.yaml"
        small.write_text(yaml.safe_dump(quick, sort_keys=False))
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
