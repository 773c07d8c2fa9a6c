"""Where notebooks run: an empty folder each, beside the results of one quickstart that all of them look at.

The quickstart and the notebooks' outputs are kept in ``docs/_build/run`` until the package's code changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
COMMANDS = (
    "quickstart --out quickstart --subjects 80 --spacing 5 --jobs 2",
    "report quickstart/explained --dataset-dir quickstart/cohort --out site/report --slides",
)
# read by every notebook's kernel before its first cell; IPython's own %%bash prints in pieces of 100 characters
STARTUP = """
import os, subprocess, tempfile

def bash(line, cell):
    done = subprocess.run(["bash", "-e"], input=cell, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    done.check_returncode()

get_ipython().register_magic_function(bash, "cell")
os.chdir(tempfile.mkdtemp(dir={root!r}))
os.symlink({root!r} + "/quickstart", "quickstart")
os.symlink({root!r} + "/site/report", "report")
"""


def run_folder() -> Path:
    """Return the folder with the quickstart's results, made where they are not there yet; point kernels to it."""
    code = hashlib.sha256()
    for file in sorted((DOCS.parent / "neuroxai").rglob("*.py")):
        code.update(file.read_bytes())
    root = DOCS / "_build" / "run" / code.hexdigest()[:12]
    startup = root / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    if not (root / "site" / "report" / "slides").is_dir():
        for words in COMMANDS:
            subprocess.run([sys.executable, "-m", "neuroxai", *words.split()], cwd=root, check=True, stdout=2)
    (startup / "folder.py").write_text(STARTUP.format(root=str(root)))
    os.environ["IPYTHONDIR"] = str(root / "ipython")
    os.environ.pop("MPLBACKEND", None)  # pictures come into the notebook
    return root


def _configure(app: Any, config: Any) -> None:
    if config.nb_execution_mode != "off":
        root = run_folder()
        config.nb_execution_cache_path = str(root / "cache")
        config.html_extra_path = [*config.html_extra_path, str(root / "site")]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", _configure)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
