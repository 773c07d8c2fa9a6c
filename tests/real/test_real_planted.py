"""Effects planted in real adults: the dose, and a classifier that looks away from it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from neuroxai.io import read_tsv, read_volume
from neuroxai.simulate import Planting, Regions, find_sources, simulate_from

pytestmark = [pytest.mark.real, pytest.mark.full(1)]

LOSS = 40.0


@pytest.fixture(scope="module")
def cohort(real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted") / "cohort"
    sources = find_sources(real_data / "cohorts" / "ds002748" / "participants.tsv")
    assert len(sources.scans) == 14
    atlas = real_data / "atlases" / "HarvardOxford-sub-maxprob-thr25-1mm.nii.gz"
    names = real_data / "atlases" / "HarvardOxford-Subcortical.xml"
    regions = Regions(("Left Hippocampus", "Right Hippocampus"), str(atlas), names)
    summary = simulate_from(folder, sources, Planting("atrophy", LOSS, regions), subjects=16, seed=1)
    assert summary.failed == []
    return folder, read_tsv(folder / "participants.tsv")


def test_measured_loss_is_the_dose(cohort):
    _, table = cohort
    patients = table[table["dose"] > 0]
    assert len(patients) == 8
    for side in ("left", "right"):
        assert (patients[f"{side}_hippocampus_loss_percent"] - LOSS).abs().max() < 3


def test_a_classifier_sees_the_effect_near_it_and_nothing_away(cohort):
    folder, table = cohort
    images, masks = [], []
    for name in table["participant_id"]:
        stem = folder / name / "anat" / f"{name}_space-MNI152_res-2_desc"
        images.append(read_volume(f"{stem}-brain_T1w.nii.gz").data)
        masks.append(read_volume(f"{stem}-effect_mask.nii.gz", check_content=False).data > 0)
    union, brain = np.any(masks, axis=0), (np.stack(images) > 0).all(axis=0)
    away = brain & (ndimage.distance_transform_edt(~union, sampling=2.0) > 20.0)
    scans = np.stack([image / np.median(image[away]) for image in images])
    label, twin = (table["dose"] > 0).to_numpy().astype(int), table["twin"].to_numpy().astype(str)

    def auc(features):
        score = np.zeros(len(label))
        for train, test in GroupKFold(n_splits=8).split(features, label, twin):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            score[test] = model.fit(features[train], label[train]).decision_function(features[test])
        return roc_auc_score(label, score)

    assert away.sum() > 50_000
    assert auc(scans[:, brain & union]) > 0.7
    assert 0.4 < auc(scans[:, away][:, ::10]) < 0.6
    # had only the patients been interpolated once more, looking away would tell
    leaky = [ndimage.uniform_filter(s, 2) if ill else s for s, ill in zip(scans, label, strict=True)]
    roughness = np.array(
        [[np.abs(ndimage.laplace(s))[away].mean(), np.abs(np.gradient(s)[0])[away].mean()] for s in leaky]
    )
    assert auc(roughness) > 0.8
