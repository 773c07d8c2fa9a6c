"""The examples of every command's --help, run as they are printed, in one folder and in one story."""

from __future__ import annotations

import re
import shlex
import shutil

import numpy as np
import pytest
import typer
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from helpers.bundles import AD, copy_of, train
from helpers.command import run
from helpers.stage import own_atlas
from neuroxai import io
from neuroxai.cli.main import app
from neuroxai.space import Space, Volume

# what cannot run here as printed, and where it is tried instead
ELSEWHERE = {
    "neuroxai quickstart --out quickstart --subjects 24 --spacing 5": "a minute: test_quickstart.py",
    "neuroxai cohort oasis oasis --download": "needs the network; a stand-in: tests/cohort/test_public.py",
    "neuroxai cohort adni CAPS adni --table ADNIMERGE.csv --diagnoses CN,AD": "stand-ins: tests/cohort/test_public.py",
    "neuroxai study run klingenberg2021 --quick --out study4 --jobs 2": "minutes; made smaller: test_tutorials.py",
    "neuroxai study run boehle2019 --cohort ADNI --out study1 --gpus 0,1": "needs two GPUs and ADNI",
    "neuroxai study run heatmaps --quick --out heatmaps --method mypackage.module:Class": "minutes: test_heatmaps.py",
    "neuroxai trust bundle cohort --out card --anatomies 12 --trainings 2": "minutes: tests/studies/test_trust.py",
    "neuroxai trust bundle prepared --out card --method lrp_epsilon --method mypackage.mine:Method --attach": "too",
    "neuroxai study status study4": "needs that study: tests/studies/test_engine.py",
    "neuroxai study report study4": "needs that study: tests/studies/test_engine.py",
    "bash scripts/label_env.sh neuroxai label start bundle cohort": "another environment: scripts/label_test.sh",
}
ORDER = ("simulate cohort", "split", "predict", "explain", "report", "compare", "score", "prepare", "simulate")


def commands():
    """Every command with its words, from the application itself."""

    def walk(words, command):
        if hasattr(command, "commands"):
            for name, one in command.commands.items():
                yield from walk(f"{words} {name}", one)
        else:
            yield words, command

    return dict(walk("neuroxai", typer.main.get_command(app)))


def examples():
    found = []
    for command in commands().values():
        found += re.findall(r"^\s*Example: `(.+?)`", command.help, re.MULTILINE) or re.findall(
            r"Example: `(.+?)`", command.help
        )

    def place(line):
        told = line.removeprefix("neuroxai ")
        return next((n for n, start in enumerate(ORDER) if told.startswith(start)), len(ORDER))

    return sorted(found, key=place)


def test_every_command_has_an_example_and_json():
    for words, command in commands().items():
        assert "Example: `" in command.help, words
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options or words == "neuroxai label start", words
    lines = examples()
    assert len(lines) == len(set(lines))
    assert set(ELSEWHERE) <= set(lines)


def test_options_of_long_commands_stand_in_groups():
    for words, command in commands().items():
        options = [one for one in command.params if one.param_type_name == "option"]
        ungrouped = [one.name for one in options if not getattr(one, "rich_help_panel", None)]
        assert len(ungrouped) <= 6, f"{words}: {ungrouped}"


@pytest.mark.parametrize("line", [line for line in examples() if line.startswith("neuroxai ")])
def test_an_example_is_understood(line):
    """Its command knows the options, and takes the values; that it runs takes minutes."""
    words = shlex.split(line.split(" > ")[0])
    known = commands()
    length = next(n for n in range(len(words), 0, -1) if " ".join(words[:n]) in known)
    name = " ".join(words[:length])
    context = known[name].make_context(name, words[length:])
    assert context.params


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_cohort):
    """What the examples find: a trained bundle, a BIDS folder of one head, an atlas of one's own."""
    root = tmp_path_factory.mktemp("examples")
    anat = root / "bids" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    template, mask = load_mni152_template(resolution=3), load_mni152_brain_mask(resolution=3)
    data = np.asarray(template.get_fdata() * (mask.get_fdata() > 0), np.float32)
    io.write_volume(anat / "sub-01_T1w.nii.gz", Volume(data, Space(data.shape, template.affine)))
    (root / "bids" / "participants.tsv").write_text("participant_id\tdiagnosis\tage\tsex\nsub-01\tCN\t70\tF\n")
    own_atlas(tiny_cohort, root / "my_atlas.nii.gz")
    return root


@pytest.mark.full(1)
def test_examples_run_as_printed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = []
    for line in examples():
        if line in ELSEWHERE:
            continue
        words = shlex.split(line.split(" > ")[0])
        assert words[0] == "neuroxai", line
        result = run(*words[1:])
        assert result.code == 0, f"{line}\n{result.err[-2000:]}"
        assert "Traceback" not in result.err
        done.append(line)
        if line.startswith("neuroxai split cohort cohort/datalist.json"):
            copy_of(AD, folder / "bundle")
            datalist = str(folder / "cohort" / "datalist.json")
            train(folder / "bundle", folder / "cohort", spacing=5, max_epochs=1, datalist=datalist)
    assert len(done) + len(ELSEWHERE) == len(examples())
    assert (folder / "explained" / "report" / "index.html").is_file()
    assert (folder / "compared" / "compare.json").is_file() or any((folder / "compared").iterdir())
    shutil.rmtree(folder / "cohort")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("neuroxai explain b c --method lrp_al", {"lrp_alpha_beta"}),
        ("neuroxai explain b c --atlas har", {"harvard-oxford-cortical", "harvard-oxford-subcortical"}),
        ("neuroxai study run kli", {"klingenberg2021"}),
        ("neuroxai comp", {"compare"}),
    ],
)
def test_the_shell_is_offered_names(words, offered):
    from typer.testing import CliRunner

    told = CliRunner().invoke(
        app,
        [],
        prog_name="neuroxai",
        env={
            "_NEUROXAI_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
    )
    assert set(told.output.split()) == offered, told.output


@pytest.mark.parametrize(
    ("words", "hint"), [(["explian"], "explain"), (["explain", "b", "c", "--methd", "x", "--out", "o"], "--method")]
)
def test_a_slip_gets_a_hint(words, hint):
    result = run(*words)
    assert result.code == 2
    assert hint in result.err
