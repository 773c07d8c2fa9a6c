"""Nothing but the effect tells the classes apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from neuroxai.simulate import simulate_scan
from neuroxai.simulate.cohort import draw_people

SUBJECTS = 36


def statistics(image, away):
    """Histogram moments, quantiles, gradient energy and noise level of one scan away from the effect."""
    values = image[away].astype(np.float64)
    z = (values - values.mean()) / values.std()
    gradient = np.gradient(image.astype(np.float64))
    energy = sum(g**2 for g in gradient)[away].mean() / values.var()
    rough = (image - ndimage.gaussian_filter(image, 1.0))[away].std() / values.std()
    return [
        values.mean(),
        values.std() / values.mean(),
        (z**3).mean(),
        (z**4).mean(),
        *np.percentile(z, [2, 10, 25, 50, 75, 90, 98]),
        energy,
        rough,
        float(away.sum()),
        float((image > 0).sum()),
    ]


@pytest.mark.full(1)
@pytest.mark.parametrize("name", ["atrophy_8mm", "lesions_8mm"])
def test_statistics_away_from_the_effect_stay_at_chance(name, request):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    acquisition = request.getfixturevalue(name)
    people = draw_people(SUBJECTS, 21, acquisition.effect.ages)
    scans = [simulate_scan(acquisition, np.random.SeedSequence(21, spawn_key=(1, p.number)), p.patient) for p in people]
    label = np.array([p.patient for p in people])
    union = ndimage.binary_dilation(np.any([s.mask for s in scans], axis=0))

    def accuracy(images):
        features = np.array([statistics(i, (i > 0) & ~union) for i in images])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.3))
        folds = RepeatedStratifiedKFold(n_splits=6, n_repeats=4, random_state=0)
        return cross_val_score(model, features, label, cv=folds).mean()

    low, high = stats.binom(SUBJECTS, 0.5).interval(0.95)
    assert low <= accuracy([s.image for s in scans]) * SUBJECTS <= high

    # what this test guards against: patients interpolated once more than controls (half a voxel there and back)
    leaky = [ndimage.uniform_filter(s.image, 2) * (s.image > 0) if s.mask.any() else s.image for s in scans]
    assert accuracy(leaky) * SUBJECTS > high
