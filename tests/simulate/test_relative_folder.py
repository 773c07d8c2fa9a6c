"""A relative folder means the same to worker processes that were started elsewhere."""

from __future__ import annotations

from joblib import Parallel, delayed

from neuroxai.simulate import simulate_cohort


def test_workers_that_stand_elsewhere_write_to_the_folder_named(tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    Parallel(n_jobs=2)(delayed(abs)(n) for n in range(2))  # started here, and kept
    monkeypatch.chdir(tmp_path / "second")
    summary = simulate_cohort("cohort", "atrophy", subjects=2, spacing=8, jobs=2)
    assert summary.failed == []
    assert list((tmp_path / "second" / "cohort").glob("sub-*/anat/*_T1w.nii.gz"))
    assert not list((tmp_path / "first").iterdir())
