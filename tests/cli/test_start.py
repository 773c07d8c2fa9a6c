"""What a command's process imports, and when it leaves nothing out."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from helpers.bundles import REPOSITORY
from helpers.command import run
from neuroxai.cli import _start

BUNDLES = REPOSITORY / "bundles"

# as `python -m neuroxai` would be, but for what is run
PROGRAM = """
import sys
sys.modules["__main__"].__file__ = {file!r}
from pathlib import Path
from neuroxai.cli._start import import_libraries
import_libraries(Path({bundle!r}), ["inference.json", "explain.json"], explaining=True)
left_out = ("itk", "matplotlib", "monai.networks.nets", "pydicom", "scipy.signal", "torch.distributed.optim")
late = [name for name in left_out if name in sys.modules]
import matplotlib.pyplot, monai.networks.nets, pydicom, scipy.signal, torch.distributed.optim
from monai.bundle import ConfigParser
found = [ConfigParser({{"x": {{"_target_": name, **more}}}}).get_parsed_content("x").__class__.__module__
         for name, more in (("Compose", {{"transforms": []}}), ("SimpleInferer", {{}}))]
later = (torch.distributed.optim.ZeroRedundancyOptimizer, monai.networks.nets.DenseNet121)
print(late, found, *(each.__module__ for each in later), "monai.losses" in sys.modules)
"""


@pytest.mark.integration
def test_commands_leave_out_what_no_bundle_needs_and_nothing_stays_replaced(tmp_path: Path) -> None:
    bundle = str(BUNDLES / "brain_t1w_alzheimers_classification")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(file="/x/bin/neuroxai", bundle=bundle)],
        capture_output=True,
        text=True,
        check=True,
    )
    later = "torch.distributed.optim.zero_redundancy_optimizer monai.networks.nets.densenet"
    assert done.stdout.split("\n")[-2] == f"[] ['monai.transforms.compose', 'monai.inferers.inferer'] {later} False"


@pytest.mark.integration
@pytest.mark.parametrize(
    "command", ["score {0} --out {0}.tsv", "report {0} --out {0}", "compare {0} --out {0}", "prepare {0} {0}"]
)
def test_commands_that_read_images_wait_with_pydicom(command: str, tmp_path: Path) -> None:
    words = command.format(tmp_path / "absent").split()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "neuroxai", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "nibabel" in imported
    assert "pydicom.config" not in imported


@pytest.mark.parametrize("name", ["brain_t1w_alzheimers", "brain_flair_ms", "brain_t1w_sex_pif"])
@pytest.mark.parametrize("config", ["inference", "explain", "explain_filters"])
def test_the_bundles_need_little(name: str, config: str) -> None:
    file = BUNDLES / f"{name}_classification" / "configs" / f"{config}.json"
    if file.is_file():
        assert _start._needs_little(json.loads(file.read_text()))


@pytest.mark.parametrize(
    "config",
    [
        {"a": [{"_target_": "ScaleIntensityd", "keys": "image"}]},
        {"a": {"_target_": "monai.networks.nets.DenseNet121"}},
        {"a": {"_target_": ["Compose"]}},
        {"a": "$monai.losses.DiceLoss()"},
        {"a": "$[monai.utils.set_determinism(seed=1)]"},
    ],
)
def test_anything_unusual_needs_all(config: dict[str, object]) -> None:
    assert not _start._needs_little(config)


def test_nothing_is_left_out_where_the_process_is_no_command_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/x/notebook.py", raising=False)
    assert not _start._is_command()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/x/neuroxai/__main__.py", raising=False)
    assert _start._is_command()


def test_a_warning_is_told_without_the_line_of_code(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    assert run("--version").code == 0
    assert warnings.formatwarning("left and right are a guess", UserWarning, "x.py", 3) == (
        "warning: left and right are a guess\n"
    )
