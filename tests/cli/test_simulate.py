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


def words(*arguments):
    """Message of the refusal."""
    result = run(*arguments)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--subjects is absent"),
        (("--subjects", 4, "--loss", 20), "--loss goes with --from"),
        (("--subjects", 4, "--loss", 0), "--loss goes with --from"),
        (("--subjects", 4, "--region", "amygdala"), "--region goes with --from"),
        (("--subjects", 4, "--degrees", 5), "--degrees 5 goes with --misalign"),
        (("--subjects", 4, "--bias", 5), "--bias 5 goes with --raw"),
        (("--subjects", 4, "--misalign", "--degrees", 95), "a pose of up to 95 degrees"),
        (("--subjects", 4, "--raw", "--bias", 95), "a bias field of 95 %"),
        (("--subjects", 4, "--lesion-masks", "absent"), "absent: no such folder"),
        (("--from", "absent.tsv"), "absent.tsv: no such table"),
        (("--from", "absent.tsv", "--spacing", 2), "--spacing 2 and --from exclude each other"),
        (("--from", "absent.tsv", "--atlas", "builtin", "--label-maps", "*"), "--atlas and --label-maps exclude"),
    ],
)
def test_options_that_do_not_fit(tmp_path, arguments, said):
    assert said in words(tmp_path / "c", "--effect", "atrophy", *arguments)
    assert not (tmp_path / "c").exists()


def test_a_dose_of_lesions_is_not_asked_for(tmp_path):
    told = words(tmp_path / "c", "--effect", "lesions", "--from", "absent.tsv", "--loss", 20)
    assert "--loss goes with --effect atrophy" in told


def test_extras_arrive(monkeypatch, tmp_path):
    calls = []

    def fake(out, effect, subjects, spacing, seed, jobs, progress, scan_options):
        calls.append(scan_options)
        return CohortSummary(str(out), effect, subjects, subjects, 0, [])

    monkeypatch.setattr(simulate, "simulate_cohort", fake)
    run(tmp_path / "c", "--effect", "atrophy", "--subjects", 4, "--misalign", "--head-size", 5, "--raw", "--bias", 40)
    assert calls == [simulate.ScanOptions(simulate.RandomPose(20, 20, 0.05), simulate.Raw(0.4))]


def test_own_scans_arrive(monkeypatch, tmp_path):
    calls = []
    found = simulate.Sources([], [], ["a note"])
    monkeypatch.setattr(simulate, "find_sources", lambda *a, **k: calls.append((a, k)) or found)

    def fake(out, sources, planting, subjects, seed, jobs, progress):
        calls.append((sources, planting, subjects, seed, jobs))
        progress(2, 2)
        return CohortSummary(str(out), "atrophy", 2, 2, 0, [])

    monkeypatch.setattr(simulate, "simulate_from", fake)
    asked = ("--from", "t.tsv", "--healthy", "a", "--healthy", "b", "--loss", 12, "--region", "x", "--atlas", "builtin")
    result = run(tmp_path / "c", "--effect", "atrophy", *asked, "--seed", 3, "--subjects", 2)
    assert result.exit_code == 0, result.output
    assert "a note" in result.stderr
    assert calls[0][0][2] == ["a", "b"]
    assert calls[1][1:] == (simulate.Planting("atrophy", 12.0, simulate.Regions(("x",), "builtin")), 2, 3, 1)
