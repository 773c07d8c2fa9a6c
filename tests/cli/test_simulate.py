from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner

from neuroxai import simulate
from neuroxai.cli import main
from neuroxai.errors import InputError
from neuroxai.simulate import CohortSummary

runner = CliRunner()


def run(*arguments):
    return runner.invoke(main.app, ["simulate", *map(str, arguments)])


@pytest.fixture
def called(monkeypatch):
    """Replace the work by a record of how it was called."""
    calls = []

    def fake(out, effect, subjects, spacing, seed, jobs, progress):
        calls.append((str(out), effect, subjects, spacing, seed, jobs))
        progress(subjects, subjects)
        failed = [{"participant_id": "sub-0002", "error": "OSError: disk full"}] if effect == "lesions" else []
        return CohortSummary(str(out), effect, subjects, subjects - len(failed), 0, failed)

    monkeypatch.setattr(simulate, "simulate_cohort", fake)
    return calls


def test_options_arrive(called, tmp_path):
    arguments = ("--effect", "atrophy", "--subjects", 6, "--spacing", 4, "--seed", 9, "--jobs", 2)
    result = run(tmp_path / "c", *arguments)
    assert result.exit_code == 0, result.output
    assert called == [(str(tmp_path / "c"), "atrophy", 6, 4.0, 9, 2)]
    assert "6 of 6 subjects" in result.stdout


def test_json_alone_on_standard_output(called, tmp_path):
    result = run(tmp_path / "c", "--effect", "atrophy", "--subjects", 6, "--json")
    assert json.loads(result.stdout)["made"] == 6


def test_a_failed_subject_gives_exit_code_one(called, tmp_path):
    result = run(tmp_path / "c", "--effect", "lesions", "--subjects", 6)
    assert result.exit_code == 1
    assert "sub-0002: OSError: disk full" in result.stderr


def test_bad_input_is_an_input_error(tmp_path):
    result = run(tmp_path / "c", "--effect", "ageing", "--subjects", 6)
    assert isinstance(result.exception, InputError)


def test_bad_input_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["neuroxai", "simulate", str(tmp_path / "c"), "--effect", "x", "--subjects", "4"])
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code == 2
    assert "error: unknown effect 'x'; choose one of: atrophy, lesions." in capsys.readouterr().err


def test_help_has_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "neuroxai simulate cohort" in result.stdout
