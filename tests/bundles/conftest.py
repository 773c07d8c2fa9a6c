"""Bundles that more than one file of tests wants trained."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def trained_sex_bundle(tmp_path_factory, tiny_cohort):
    """The sex bundle with model A-PIF, trained on the phantoms until it tells them apart."""
    from helpers.bundles import REPOSITORY, copy_of, train

    sources = REPOSITORY / "bundles" / "brain_t1w_sex_pif_classification"
    bundle = copy_of(sources, tmp_path_factory.mktemp("trained_sex") / "bundle")
    train(bundle, tiny_cohort, max_epochs=14, learning_rate=0.001, dropout=0.0, batch_size=2, max_shift=0, seed=1)
    return bundle
