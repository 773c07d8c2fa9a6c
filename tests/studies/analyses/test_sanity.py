"""The checks of explanation methods as studies: forgetting, regions set to zero, what filters respond to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from helpers.studies import cohort_of, declared, sooner
from neuroxai.errors import InputError
from neuroxai.studies import check, read_study, run_study
from neuroxai.studies.analyses import rieke2018
from neuroxai.studies.results import open_results

SIMULATED = {"main": {"simulate": {"effect": "atrophy", "subjects": 12, "spacing": 5}}}


@pytest.mark.parametrize("name", ["adebayo2018", "rieke2018", "eitel2022"])
@pytest.mark.parametrize("quick", [False, True])
def test_the_declarations_can_be_run(name, quick):
    check(read_study(name, quick))


@pytest.mark.parametrize(
    ("analysis", "changes", "words"),
    [
        ("adebayo2018", {"explain": {}}, "there is none"),
        ("adebayo2018", {"options": {"scan": 3}}, "'scan'"),
        ("adebayo2018", {"options": {"scans": 0}}, "1 or more"),
        ("adebayo2018", {"explain": {"a": {"method": "lrp_zero", "layer": "features.conv4"}}}, "begins at a layer"),
        ("rieke2018", {}, "none has method region_occlusion"),
        ("rieke2018", {"explain": {"a": {"method": "region_occlusion"}}, "options": {"x": 1}}, "no options"),
        ("eitel2022", {}, "layer is None"),
        ("eitel2022", {"options": {"layer": "features.conv4", "filters": 0}}, "filters is 0"),
        ("eitel2022", {"options": {"layer": "features.conv4", "step": 3}}, "'step'"),
    ],
)
def test_what_an_analysis_lacks_is_told_before_any_training(tmp_path, analysis, changes, words):
    study = read_study(declared(tmp_path / "mine.yaml", analysis=analysis, cohorts=SIMULATED, **changes))
    with pytest.raises(InputError, match=words):
        check(study)


def test_spearman_is_scipys_where_it_is_defined(rng):
    from scipy.stats import spearmanr

    a, b = rng.normal(size=(2, 9))
    assert rieke2018._spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    a[3] = np.nan
    assert rieke2018._spearman(a, b) == pytest.approx(spearmanr(np.delete(a, 3), np.delete(b, 3)).statistic)
    assert np.isnan(rieke2018._spearman(np.ones(9), b))


@pytest.mark.full(0)
def test_all_three_on_one_small_network(tiny_cohort, tmp_path, terminal):
    cohort = cohort_of(tiny_cohort, tmp_path / "cohort")
    settings = {
        "spacing": 5,
        "max_epochs": 14,
        "min_epochs": 14,
        "batch_size": 2,
        "learning_rate": 0.001,
        "dropout": 0.0,
    }
    common = {"arms": {"plain": {}}, "settings": settings, "cohorts": {"main": {}}}
    explain = {"drop": {"method": "region_occlusion"}, "grad": {"method": "gradient_x_input"}}
    wanted = {
        "adebayo2018": {"options": {"scans": 2}, "explain": {"grad": {"method": "gradient_x_input"}}},
        "rieke2018": {"explain": explain, "statistics": {"replicates": 50}},
        "eitel2022": {
            "options": {"layer": "features.conv4", "filters": 2, "steps": 60, "weight_decay": 0.0},
            "explain": {},
        },
    }
    found = {}
    for name, changes in wanted.items():
        study = read_study(declared(tmp_path / f"{name}.yaml", analysis=name, **common, **changes))
        with sooner(terminal):
            summary = run_study(study, tmp_path / name, {"main": cohort})
        assert summary.failed == []
        found[name] = open_results(tmp_path / name)
    # equal settings, equal runs, wherever they were made
    assert len({results.done[0].run.identifier for results in found.values()}) == 1
    forgetting = pd.read_csv(tmp_path / "adebayo2018" / "rank_correlations.tsv", sep="\t")
    assert forgetting["step"].tolist() == list(range(1, len(forgetting) + 1))
    assert forgetting["layer"].iloc[0] == "head.linear2"
    assert forgetting["rank_correlation"].between(-1, 1).all()
    filters = pd.read_csv(tmp_path / "eitel2022" / "filters.tsv", sep="\t")
    assert len(filters) == 2
    assert len(list((tmp_path / "eitel2022" / "figures").glob("*.svg"))) == 2
    page = (tmp_path / "rieke2018" / "report.html").read_text()
    results = found["rieke2018"]
    scans = results.scans(results.done[0], "drop")
    if (scans["cell"] == "TP").any():
        # the phantoms' blob lies on their left, and nowhere else is anything to be found
        regions = pd.read_csv(tmp_path / "rieke2018" / "regions.tsv", sep="\t")
        assert regions["drop"].is_monotonic_decreasing
        assert regions["region"][0].startswith("Left")
        assert f"Without {regions['region'][0]} the score drops most" in page
    else:
        assert "No patient of the test part was recognised" in page
