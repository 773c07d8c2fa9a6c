"""Relevance guidance: the term against LRP by hand, its masks, and what a step does with it."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer
from torch import nn

from neuroxai.atlas import builtin
from neuroxai.components import ClassificationLoss, RelevanceGuidance, RelevanceMaskd
from neuroxai.errors import InputError
from neuroxai.io import write_json, write_tsv, write_volume
from neuroxai.lrp import LRP
from neuroxai.networks import Block, ConvNet, PifNet
from neuroxai.preprocess.template import load_template
from neuroxai.space import Volume, mni152

SPACE = mni152(8)


def batch():
    torch.manual_seed(0)
    masks = torch.zeros(4, 1, 12, 12, 12, dtype=torch.bool)
    masks[:2, :, 3:9], masks[2:, :, :, 4:] = True, True
    return {
        "image": torch.rand(4, 1, 12, 12, 12, dtype=torch.float64),
        "label": torch.tensor([0, 1, 1, 0]),
        "relevance_mask": masks,
    }


def networks(outputs=2, **options):
    torch.manual_seed(1)
    yield ConvNet((12, 12, 12), [Block(3, pool=2), Block(4)], num_classes=outputs, hidden=(5,), **options).double()
    yield PifNet((12, 12, 12), [Block(3, pool=2)], 2, 4, num_classes=outputs, hidden=(5,), **options).double()


def stepped(network, data, weight, **options):
    """One step of MONAI's trainer with a rate of nought; returns its loss and the gradients it left."""
    guidance = RelevanceGuidance(network, weight, every=1, **options)
    trainer = SupervisedTrainer(
        torch.device("cpu"), 1, [data], network, torch.optim.SGD(network.parameters(), 0.0), ClassificationLoss(),
        train_handlers=[guidance], decollate=False,
    )  # fmt: skip
    trainer.run()
    found = {"loss": trainer.state.output["loss"].detach(), "share": trainer.state.metrics["relevance_outside"]}
    return found, [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("rule", ["z_plus", "epsilon"])
def test_the_term_is_the_share_outside_and_its_gradient_is_added(outputs, rule):
    data = batch()
    for network in list(networks(outputs)):
        twin = copy.deepcopy(network).train()
        loss = ClassificationLoss()(twin(data["image"]), data["label"])
        loss.backward()
        plain = [parameter.grad.clone() for parameter in twin.parameters()]
        # twin's running statistics are those after the step's forward pass, as the guided network's are
        with torch.no_grad():
            logits = twin.eval()(data["image"])
        start = logits.softmax(1) if outputs == 2 else torch.ones_like(logits)
        size = LRP(twin, rule).attribute(data["image"], start=start).abs().flatten(1)
        outside = ~data["relevance_mask"].flatten(1)
        expected = float(((size * outside).sum(1) / size.sum(1)).mean())
        assert 0.02 < expected < 0.98
        found, gradients = stepped(network, data, 2.0, rule=rule)
        assert found["share"] == pytest.approx(expected, rel=1e-4)
        assert float(found["loss"]) == pytest.approx(float(loss) + 2 * expected, rel=1e-4)
        assert not any(torch.allclose(g, p, rtol=1e-3) for g, p in zip(gradients[:1], plain[:1], strict=True))
        lrp = LRP(twin, rule)
        for index in (0, len(plain) - 2):  # the first filters, the last layer's weights: along one direction
            parameter = list(twin.parameters())[index]
            direction = torch.randn_like(parameter)

            def share(step, parameter=parameter, direction=direction, lrp=lrp, start=start, outside=outside):
                with torch.no_grad():
                    parameter.add_(direction, alpha=step)
                    size = lrp.attribute(data["image"], start=start).abs().flatten(1)
                    parameter.sub_(direction, alpha=step)
                return float(((size * outside).sum(1) / size.sum(1)).mean())

            slope = (share(1e-8) - share(-1e-8)) / 2e-8
            got = float(((gradients[index] - plain[index]) * direction).sum()) / 2
            assert got == pytest.approx(slope, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_with_gradient_checkpointing_a_step_is_the_same(which):
    data = batch()
    plain, saving = (list(networks(checkpointing=flag))[which].train() for flag in (False, True))
    saving.load_state_dict(plain.state_dict())
    for got, expected in zip(stepped(saving, data, 1.0)[1], stepped(plain, data, 1.0)[1], strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_every_second_scan_is_guided_by_turns_and_a_batch_of_one_every_second_step():
    network, data = next(networks()), batch()
    guidance = RelevanceGuidance(network, 1.0, every=2)
    shares = guidance.shares(data["image"], data["relevance_mask"]).tolist()
    seen = []
    for iteration in (1, 2):

        class Engine:
            class state:
                batch, output = data, {"image": data["image"], "loss": torch.zeros(())}

        Engine.state.iteration = iteration
        guidance._guide(Engine)
        seen.append(float(Engine.state.output["loss"]))
    assert seen == pytest.approx([(shares[1] + shares[3]) / 2, (shares[0] + shares[2]) / 2], rel=1e-5)


def test_autocast_leaves_the_term_in_full_precision():
    network, data = next(networks()), batch()
    guidance = RelevanceGuidance(network.eval(), 1.0)
    expected = guidance.shares(data["image"], data["relevance_mask"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guidance.shares(data["image"], data["relevance_mask"]), expected)


def test_where_no_relevance_arrives_the_share_is_nought_and_said_to_change_nothing(caplog):
    network, data = next(networks()), batch()
    data["image"] = data["image"] * data["relevance_mask"]
    with caplog.at_level(logging.WARNING, "neuroxai"):
        assert stepped(network, data, 1.0)[0]["share"] == 0
    assert "no relevance lies outside --relevance_mask" in caplog.text
    nn.init.zeros_(network.head.linear2.weight)
    found, gradients = stepped(network, batch(), 1.0)
    assert found["share"] == 0
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


# masks


@pytest.fixture
def cohort(tmp_path):
    """Two scans of a class each with a lesion mask, on a grid of their own; returns the folder."""
    fine, items, rows = mni152(4), [], []
    for n in range(2):
        name = f"sub-{n}"
        (tmp_path / name).mkdir()
        data = np.zeros(fine.shape, dtype=np.uint8)
        data[20 + 4 * n : 24 + 4 * n, 20:24, 20:24] = 1
        write_volume(tmp_path / name / f"{name}_mask.nii.gz", Volume(data, fine), dtype=np.uint8)
        write_volume(tmp_path / name / f"{name}_T1w.nii.gz", Volume(data.astype(np.float32) + 1, fine))
        items.append({"image": f"{name}/{name}_T1w.nii.gz", "label": n, "lesions": f"{name}/{name}_mask.nii.gz"})
        rows.append({"participant_id": name, "prior": f"{name}/{name}_mask.nii.gz"})
    write_json(tmp_path / "datalist.json", {"classes": ["a", "b"], "training": items})
    import pandas as pd

    write_tsv(tmp_path / "participants.tsv", pd.DataFrame(rows))
    return tmp_path


def masks(cohort, mask):
    made = RelevanceMaskd("relevance_mask", mask, SPACE, str(cohort / "datalist.json"), str(cohort))
    return [made({"source": str(cohort / f"sub-{n}" / f"sub-{n}_T1w.nii.gz")})["relevance_mask"] for n in range(2)]


def test_brain_regions_and_files(cohort):
    brain, regions = load_template(spacing=8).brain.data, builtin(SPACE)
    both = regions.mask("Left hippocampus") | regions.mask("Right hippocampus")
    for asked, expected in (
        ("brain", brain),
        ("hippocampus", both),
        ("builtin:Left hippocampus", regions.mask("Left hippocampus")),
        (["hippocampus", "brain stem"], both | regions.mask("Brain stem")),
    ):
        first, second = masks(cohort, asked)
        assert first is second
        assert first.dtype == torch.bool
        assert np.array_equal(first.numpy()[0], expected)
    found, _ = masks(cohort, str(cohort / "sub-0" / "sub-0_mask.nii.gz"))
    assert np.argwhere(found.numpy()[0]).tolist() == [[x, y, z] for x in (10, 11) for y in (10, 11) for z in (10, 11)]


@pytest.mark.parametrize("column", ["lesions", "prior"])
def test_a_column_of_the_datalist_or_of_the_cohort(cohort, column):
    first, second = (found.numpy()[0] for found in masks(cohort, column))
    assert np.argwhere(first)[0].tolist() == [10, 10, 10]
    assert np.argwhere(second)[0].tolist() == [12, 10, 10]
    assert first.sum() == second.sum() == 8


def test_what_is_no_mask_is_refused(cohort):
    for asked, words in (
        ("hippocampos", r"--relevance_mask hippocampos: no such file, no column .* among them"),
        ("jhu-23:fornix", "jhu-23"),
        (str(cohort / "absent.nii.gz"), "no such file"),
    ):
        with pytest.raises(InputError, match=words):
            masks(cohort, asked)
    empty = cohort / "empty.nii.gz"
    write_volume(empty, Volume(np.zeros(SPACE.shape, dtype=np.uint8), SPACE), dtype=np.uint8)
    with pytest.raises(InputError, match="holds no voxel of the network's grid"):
        masks(cohort, str(empty))
    (cohort / "sub-1" / "sub-1_mask.nii.gz").unlink()
    with pytest.raises(InputError, match=r"sub-1_T1w.nii.gz has 'sub-1/sub-1_mask.nii.gz' there, expected the file"):
        masks(cohort, "lesions")
