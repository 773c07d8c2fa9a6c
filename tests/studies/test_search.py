"""Draws of hyper-parameters: the same after an interruption, within their space, ranked by what they came to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neuroxai.studies import Search
from neuroxai.studies.search import draw, settings_of

SPACE = {
    "architecture": {"A": {"model": "model_a"}, "B": {"model": "model_b"}},
    "learning_rate": {"low": 1e-5, "high": 1e-3, "log": True},
    "batch_size": [4, 6, 12],
    "patience": {"low": 3, "high": 9},
}


def all_draws(search, folder, stream=0, scores=None):
    known, drawn = [], []
    for number in range(search.draws):
        drawn.append(draw(search, SPACE, stream, known, folder / "search.log"))
        known.append(scores[number] if scores else None)
    return drawn


def test_draws_lie_in_their_space_and_the_first_are_as_given(tmp_path):
    search = Search(
        5, first=[{"architecture": "A"}, {"architecture": "A"}, {"architecture": "B"}, {"architecture": "B"}]
    )
    drawn = all_draws(search, tmp_path)
    assert [d["architecture"] for d in drawn[:4]] == ["A", "A", "B", "B"]
    for values in drawn:
        assert values.keys() == SPACE.keys()
        assert 1e-5 <= values["learning_rate"] <= 1e-3
        assert values["batch_size"] in (4, 6, 12)
        assert isinstance(values["patience"], int)
        assert 3 <= values["patience"] <= 9
    assert len({d["learning_rate"] for d in drawn}) == 5


def test_a_resumed_search_draws_the_same(tmp_path):
    search = Search(4, seed=3)
    whole = all_draws(search, tmp_path / "whole")
    again = [draw(search, SPACE, 0, [None] * n, tmp_path / "killed" / "search.log") for n in (0, 1)]
    # killed before the journal was whole, begun again in an empty folder, and gone on with
    fresh = [draw(search, SPACE, 0, [None] * n, tmp_path / "fresh" / "search.log") for n in (2, 0, 3, 1)]
    assert again == whole[:2]
    assert [fresh[1], fresh[3], fresh[0], fresh[2]] == whole
    assert all_draws(search, tmp_path / "whole") == whole


def test_streams_and_seeds_differ(tmp_path):
    one = all_draws(Search(3), tmp_path / "a")
    assert one != all_draws(Search(3), tmp_path / "b", stream=1)
    assert one != all_draws(Search(3, seed=1), tmp_path / "c")


def test_tpe_uses_what_came_of_earlier_draws_and_can_be_resumed(tmp_path):
    search = Search(14, sampler="tpe")
    low = [float(n) for n in range(14)]
    whole = all_draws(search, tmp_path / "whole", scores=low)
    assert whole == all_draws(search, tmp_path / "again", scores=low)
    # other scores, other draws once its start of ten random ones is over
    assert whole[12:] != all_draws(search, tmp_path / "other", scores=low[::-1])[12:]
    failed = all_draws(search, tmp_path / "failed", scores=[None if n % 3 else 1.0 for n in range(14)])
    assert len(failed) == 14


@given(st.fixed_dictionaries({"architecture": st.sampled_from("AB"), "batch_size": st.sampled_from([4, 6, 12])}))
def test_a_name_stands_for_its_settings(values):
    found = settings_of(SPACE, values)
    assert found == {"model": f"model_{values['architecture'].lower()}", "batch_size": values["batch_size"]}


def test_a_name_may_stand_for_several_settings():
    space = {"speed": {"slow": {"learning_rate": 1e-5, "patience": 20}, "fast": {"learning_rate": 1e-3}}}
    assert settings_of(space, {"speed": "slow"}) == {"learning_rate": 1e-5, "patience": 20}


def test_the_store_is_a_file(tmp_path):
    import optuna

    all_draws(Search(2), tmp_path)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "search.log")))
    (summary,) = optuna.get_all_study_summaries(storage)
    assert summary.n_trials == 2


def test_unknown_scores_do_not_change_random_draws(tmp_path):
    search = Search(3)
    assert all_draws(search, tmp_path / "a", scores=[0.9, 0.1, 0.5]) == all_draws(search, tmp_path / "b")
