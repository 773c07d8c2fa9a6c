"""What pip installs works without a checkout: in an environment that knows the dependencies, from an empty folder."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import sysconfig
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from helpers.snippets import REPOSITORY, snippets
from helpers.studies import SMALL

pytestmark = pytest.mark.integration


# an installation on PYTHONPATH would count as this one
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def sources(folder):
    """What a clone has of what is installed; what building leaves behind does not come into the repository."""
    folder.mkdir(parents=True)
    for name in (
        "neuroxai",
        "bundles",
        "setup.py",
        "setup.cfg",
        "pyproject.toml",
        "MANIFEST.in",
        "README.md",
        "LICENSE",
    ):
        (folder / name).symlink_to(REPOSITORY / name)
    return folder


def environment(folder, *what):
    """An environment into which this alone was installed, and which knows the dependencies of this one; its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    own, dependencies = (Path(sysconfig.get_path("purelib", vars={"base": base})) for base in (str(folder), sys.prefix))
    for tool in (*dependencies.glob("setuptools*"), dependencies / "_distutils_hack"):
        (own / tool.name).symlink_to(tool)
    install = [*PIP, "--python", python, "install", "--no-deps", "--no-index", *what]
    subprocess.run(install, env=VARIABLES, check=True)
    # a folder on the path: what lies in it is found, an editable installation there is not
    (own / "dependencies.pth").write_text(f"{dependencies}\n")
    return python


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The command of an environment with the wheel."""
    root = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", root, sources(root / "source")]
    subprocess.run(build, env=VARIABLES, check=True, capture_output=True)
    (wheel,) = root.glob("*.whl")
    return environment(root / "environment", wheel).with_name("neuroxai")


@pytest.fixture
def shell(installed, tmp_path):
    """Run the installed command in an empty folder."""

    def run(*words):
        done = subprocess.run(
            [installed, *map(str, words)], cwd=tmp_path, env=VARIABLES, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr[-3000:]}"
        return done.stdout

    return run


def test_bundles_and_studies_come_with_it(installed, shell, tmp_path):
    listed = json.loads(shell("bundle", "list", "--json"))
    assert [one["name"] for one in listed] == sorted(path.name for path in (REPOSITORY / "bundles").iterdir())
    shell("bundle", "copy", listed[0]["name"], "mine")
    copied = {path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*") if path.is_file()}
    tracked = subprocess.run(
        ["git", "ls-files", "."], cwd=REPOSITORY / "bundles" / listed[0]["name"], capture_output=True, text=True
    )
    assert {str(path) for path in copied} == set(tracked.stdout.split())
    assert "klingenberg2021" in shell("study", "list")
    where = subprocess.run(
        [installed.with_name("python"), "-c", "import neuroxai; print(neuroxai.__file__)"],
        cwd=tmp_path, env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(where.stdout).is_relative_to(installed.parents[1])


@pytest.mark.full(0)
def test_its_main_work_needs_no_checkout(shell, tmp_path):
    shell("simulate", "cohort", "--effect", "atrophy", "--subjects", 16, "--spacing", 5)
    shell("split", "cohort", "cohort/datalist.json", "--target", "diagnosis", "--classes", "CN,AD")
    shell("bundle", "copy", "brain_t1w_alzheimers_classification", "bundle")
    options = ("--datalist", "cohort/datalist.json", "--max_epochs", 1, "--spacing", 5, "--batch_size", 4)
    shell("train", "bundle", "cohort", *options)
    shell("explain", "bundle", "cohort", "--part", "test", "--out", "explained")
    shell("report", "explained", "--dataset-dir", "cohort")
    assert (tmp_path / "explained" / "report" / "index.html").is_file()
    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**SMALL, "arms": {"plain": {}}}))
    shell("study", "run", "small.yaml", "--cohort", "cohort", "--out", "study")


NOTEBOOK = """
import json, sys
import nbclient, nbformat
cells = [nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
shown = [output.data for cell in cells for output in cell.outputs if "data" in output]
print(json.dumps([data.get("text/html", "") for data in shown]))
"""


def seen_in_a_notebook(python, folder, scan, bundle):
    """What the README's lines show in a notebook that this Python runs in a folder, with this scan and bundle."""
    (lines,) = [one.text for one in snippets(REPOSITORY / "README.md") if one.language == "python"]
    lines = lines.replace('"OUT/bundle"', repr(str(bundle))).replace('"sub-0001_T1w.nii.gz"', repr(str(scan)))
    cells = [lines.replace("view.html", str(folder / "view.html")), "explanation", "explanation.view()"]
    done = subprocess.run(
        [python, "-c", NOTEBOOK], cwd=folder, env=VARIABLES, input=json.dumps(cells), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(find_spec("nbclient") is None, reason="nbclient is not installed")
def test_a_scan_is_explained_and_looked_at_in_a_notebook(installed, shell, trained_bundle, tiny_cohort, tmp_path):
    scan = sorted(Path(tiny_cohort).glob("sub-*/anat/*_desc-brain_T1w.nii.gz"))[-1]
    shell("explain", trained_bundle, scan, "--out", "one")
    assert list((tmp_path / "one").rglob("*_heatmap.nii.gz"))
    *_, summary, viewer = seen_in_a_notebook(installed.with_name("python"), tmp_path, scan, trained_bundle)
    assert "data:image/png" in summary
    assert "<iframe srcdoc=" in viewer
    assert (tmp_path / "view.html").is_file()


@pytest.mark.full(0)
def test_the_lines_of_the_readme_install_it_for_real(tmp_path, trained_bundle, tiny_cohort):
    """All dependencies anew, as pip finds them: some 3 GB, minutes."""
    clone = sources(tmp_path / "clone")
    venv.create(tmp_path / "new", with_pip=True)
    lines = next(one.text for one in snippets(REPOSITORY / "README.md") if "pip wheel" in one.text)
    wanted = [line for line in lines.splitlines() if line.startswith("pip ")]
    assert len(wanted) == 2
    variables = {
        **VARIABLES,
        "PATH": f"{tmp_path / 'new' / 'bin'}:{os.environ['PATH']}",
        "VIRTUAL_ENV": str(tmp_path / "new"),
    }
    install = "\n".join([*wanted, "pip install nbclient ipykernel"])
    subprocess.run(["bash", "-ec", install], cwd=clone, env=variables, check=True, capture_output=True, timeout=1500)
    empty = tmp_path / "empty"
    empty.mkdir()
    scan = sorted(Path(tiny_cohort).glob("sub-*/anat/*_desc-brain_T1w.nii.gz"))[-1]
    for line in (
        "neuroxai bundle copy brain_t1w_alzheimers_classification bundle",
        f"neuroxai explain {trained_bundle} {scan} --out one",
        "neuroxai train bundle COHORT --dry-run",
        "neuroxai doctor",
    ):
        done = subprocess.run(shlex.split(line), cwd=empty, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    shown = seen_in_a_notebook(tmp_path / "new" / "bin" / "python", empty, scan, trained_bundle)
    assert "<iframe srcdoc=" in shown[-1]


def test_what_extras_bring_is_not_needed_to_explain(trained_bundle, tiny_cohort, tmp_path):
    blocked = "import sys; sys.modules.update(fire=None, tensorboard=None, jsonschema=None)"
    code = f"{blocked}; from neuroxai.cli.main import main; main()"
    words = ["explain", trained_bundle, tiny_cohort, "--part", "test", "--scores-only", "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "predictions.tsv").is_file()


def test_it_is_found_from_the_parent_folder_of_a_clone(tmp_path):
    """Where the clone, which is called as the package is, looks like a package itself."""
    clone = sources(tmp_path / "parent" / "neuroxai")
    python = environment(tmp_path / "environment", "--no-build-isolation", "--editable", clone)
    found = subprocess.run(
        [python, "-c", "import neuroxai; print(neuroxai.__version__, neuroxai.__file__)"],
        cwd=clone.parent, env={}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "None" not in found.stdout
