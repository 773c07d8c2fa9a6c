from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from neuroxai.components import ClassificationLoss, ScanDataset, class_weights
from neuroxai.errors import InputError


def dataset(*labels):
    return ScanDataset([{"image": "", "participant_id": str(n), "label": k} for n, k in enumerate(labels)], dict)


@given(seed=st.integers(0, 2**31), weights=st.none() | st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)))
def test_one_logit_and_two_agree_with_torch(seed, weights):
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(9, 1, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 2, (9,), generator=generator)
    two = torch.cat([torch.zeros_like(logit), logit], dim=1)
    wanted = nn.CrossEntropyLoss(None if weights is None else torch.tensor(weights, dtype=torch.float64))(two, labels)
    loss = ClassificationLoss(weights).double()
    torch.testing.assert_close(loss(logit, labels), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss(two, labels), wanted, rtol=1e-6, atol=0)


def test_weights_give_every_class_the_same_share():
    found = class_weights(dataset(0, 0, 0, 1), ["CN", "AD"], "loss")
    assert found == [4 / 6, 2.0]
    assert 3 * found[0] == pytest.approx(1 * found[1])
    assert class_weights(dataset(0, 1), ["CN", "AD"], "none") is None
    assert class_weights(dataset(0, 1), ["CN", "AD"], "sampling") is None
    assert not ClassificationLoss(found).state_dict()


def test_what_cannot_be_balanced_is_refused():
    with pytest.raises(InputError, match=r"class_balance 'weights'.*loss, none, sampling"):
        class_weights(dataset(0, 1), ["CN", "AD"], "weights")
    with pytest.raises(InputError, match="class 'AD'"):
        class_weights(dataset(0, 0), ["CN", "AD"], "loss")
