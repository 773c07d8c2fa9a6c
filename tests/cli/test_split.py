from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from neuroxai.cli import main
from neuroxai.cohort import load_datalist
from neuroxai.errors import InputError
from neuroxai.io import sha256

runner = CliRunner()


@pytest.fixture
def cohort(tmp_path):
    folder = tmp_path / "cohort"
    lines = ["participant_id\tdiagnosis\tage\tsex"]
    for i in range(30):
        lines.append(f"sub-{i:02d}\t{('AD', 'CN')[i % 2]}\t{60 + i}\t{'FM'[i // 2 % 2]}")
        scan = folder / f"sub-{i:02d}/anat/sub-{i:02d}_desc-brain_T1w.nii.gz"
        scan.parent.mkdir(parents=True)
        scan.touch()
    (folder / "participants.tsv").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments):
    return runner.invoke(main.app, ["split", *map(str, arguments)])


def test_one_file_that_loads(cohort, tmp_path):
    out = tmp_path / "new/datalist.json"
    result = run(cohort, out, "--target", "diagnosis", "--classes", "CN,AD", "--seed", 1, "--desc", "brain")
    assert result.exit_code == 0, result.output
    assert "0 = CN, 1 = AD; seed 1" in result.stdout
    assert "validation" in result.stdout
    assert len(load_datalist(out, "training", cohort)) == 18
    assert json.loads(out.read_text())["participants_sha256"] == sha256(cohort / "participants.tsv")
    first = out.read_bytes()
    assert run(cohort, out, "--seed", 1).exit_code == 0
    assert out.read_bytes() == first
    assert run(cohort, out, "--seed", 2).exit_code == 0
    assert out.read_bytes() != first
    assert list(out.parent.iterdir()) == [out]


def test_folds_and_repeats_in_a_folder(cohort, tmp_path):
    assert run(cohort, tmp_path / "f", "--folds", 3).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [f"datalist_fold-{i}.json" for i in range(3)]
    assert run(cohort, tmp_path / "r/ten.json", "--repeats", 2, "--fractions", ".8,.1,.1").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["ten_split-0.json", "ten_split-1.json"]
    assert run(cohort, tmp_path / "one").exit_code == 0
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["datalist.json"]


def test_what_is_no_datalist_is_not_overwritten(cohort, tmp_path):
    before = (cohort / "participants.tsv").read_bytes()
    own = tmp_path / "participants.json"
    own.write_text('{"age": {"Units": "years"}}')
    for out in (own, cohort / "participants.tsv"):
        result = run(cohort, out)
        assert isinstance(result.exception, InputError)
    assert own.read_text() == '{"age": {"Units": "years"}}'
    assert (cohort / "participants.tsv").read_bytes() == before


def test_splits_of_another_kind_are_not_mixed_in(cohort, tmp_path):
    assert run(cohort, tmp_path / "f", "--folds", 3).exit_code == 0
    for more in (("--repeats", 2), ()):
        result = run(cohort, tmp_path / "f", *more)
        assert "datalist_fold-0.json: belongs to an earlier split" in str(result.exception)
    assert len(list((tmp_path / "f").iterdir())) == 3


def test_folds_of_an_earlier_split_are_not_mixed_in(cohort, tmp_path):
    assert run(cohort, tmp_path / "f", "--folds", 4).exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "f").iterdir()}
    result = run(cohort, tmp_path / "f", "--folds", 3, "--seed", 5)
    assert isinstance(result.exception, InputError)
    assert "datalist_fold-3.json: belongs to an earlier split" in str(result.exception)
    assert {p.name: p.read_bytes() for p in (tmp_path / "f").iterdir()} == before


def test_json_for_machines(cohort, tmp_path):
    result = run(cohort, tmp_path / "d.json", "--match", "--match-width", 10, "--json")
    shown = json.loads(result.stdout)["datalists"][0]
    assert shown["classes"] == ["CN", "AD"]
    assert sum(row["F"] for row in shown["summary"]) == sum(row["M"] for row in shown["summary"]) > 0


def test_left_out_participants_are_named_and_the_exit_code_is_1(cohort, tmp_path):
    next((cohort / "sub-07/anat").iterdir()).unlink()
    result = run(cohort, tmp_path / "d.json")
    assert result.exit_code == 1
    assert "left out: sub-07: in participants.tsv, but no scan was found" in result.stderr
    assert (tmp_path / "d.json").is_file()
    assert run(cohort, tmp_path / "d.json", "--allow-missing").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "dx"], "unknown column for --target 'dx'"),
        (["--classes", "CN,MCI"], "'MCI'"),
        (["--fractions", ".6,.4"], "three numbers"),
        (["--fractions", ".6,.4,x"], "three numbers"),
        (["--folds", "3", "--fractions", ".6,.2,.2"], "--folds and --fractions"),
        (["--age-bins", "old"], "--age-bins 'old'"),
        (["--suffix", "FLAIR"], "--suffix FLAIR"),
        (["--folds", "30"], "15 subjects for 30 parts"),
    ],
)
def test_bad_options_end_with_one_line_and_2(cohort, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("sys.argv", ["neuroxai", "split", str(cohort), str(tmp_path / "out"), *arguments])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "out").exists()


def test_help_shows_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "neuroxai split cohort" in result.stdout


@pytest.mark.real
def test_real_cohort(real_data, tmp_path):
    cohort = real_data / "cohorts/ds002748"
    result = run(cohort, tmp_path / "d.json", "--target", "sex", "--seed", 3, "--desc", "brain")
    assert result.exit_code == 0, result.output
    assert "0 = F, 1 = M" in result.stdout
    items = [i for part in ("training", "validation", "test") for i in load_datalist(tmp_path / "d.json", part, cohort)]
    assert len({i["participant_id"] for i in items}) == 49
