"""Relevance guidance: the term against LRP by hand, its masks, and what a step does with it."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import torch
from monai.engines import SupervisedTrainer

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
    found = {"loss": trainer.state.output["loss"].detach(), "outside": trainer.state.metrics["relevance_outside"]}
    return found, [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("rule", ["z_plus", "epsilon"])
def test_the_term_is_the_relevance_outside_and_its_gradient_is_added(outputs, rule):
    data = batch()
    outside = ~data["relevance_mask"]
    # for two outputs the sign of the labelled class's logit less the other's does not matter to absolute values
    coefficients = torch.tensor([[1.0, -1.0][:outputs]], dtype=torch.float64)
    for network in list(networks(outputs)):
        twin = copy.deepcopy(network).train()
        loss = ClassificationLoss()(twin(data["image"]), data["label"])
        loss.backward()  # twin's running statistics are those after the step's forward pass, as the guided network's
        plain = [parameter.grad.clone() for parameter in twin.parameters()]
        lrp = LRP(twin.eval(), rule)

        def term(lrp=lrp):
            found = lrp.attribute(data["image"], start=lambda logits: logits * coefficients)
            return float((found.abs() * outside).sum() / 4)

        assert term() > 0
        found, gradients = stepped(network, data, 2.0, rule=rule)
        assert found["outside"] == pytest.approx(term(), rel=1e-9)
        assert float(found["loss"]) == pytest.approx(float(loss) + 2 * term(), rel=1e-9)
        for index in (0, len(plain) - 2):  # the first filters, the last layer's weights: along one direction
            parameter = list(twin.parameters())[index]
            direction, terms = torch.randn_like(parameter), []
            for step in (1e-8, -2e-8):
                with torch.no_grad():
                    parameter.add_(direction, alpha=step)
                terms.append(term())
            got = float(((gradients[index] - plain[index]) * direction).sum()) / 2
            assert got == pytest.approx((terms[0] - terms[1]) / 2e-8, rel=1e-3, abs=1e-6)


def test_of_several_classes_the_labelled_one_is_held_against_the_mean_of_the_others():
    data, network = batch(), next(networks(3)).eval()
    found = RelevanceGuidance(network, 1.0).outside(data["image"], data["label"], data["relevance_mask"])
    for n, label in enumerate(data["label"].tolist()):
        signs = torch.full((3,), -0.5, dtype=torch.float64)
        signs[label] = 1.0
        one = LRP(network, "epsilon").attribute(data["image"][n : n + 1], start=lambda z, signs=signs: z * signs)
        assert float(found[n]) == pytest.approx(float((one.abs() * ~data["relevance_mask"][n]).sum()), rel=1e-9)


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
    each = guidance.outside(data["image"], data["label"], data["relevance_mask"]).tolist()
    seen = []
    for iteration in (1, 2):

        class Engine:
            class state:
                batch, output = data, {"image": data["image"], "label": data["label"], "loss": torch.zeros(())}

        Engine.state.iteration = iteration
        guidance._guide(Engine)
        seen.append(float(Engine.state.output["loss"]))
    assert seen == pytest.approx([(each[1] + each[3]) / 2, (each[0] + each[2]) / 2], rel=1e-5)


def test_autocast_leaves_the_term_in_full_precision():
    network, data = next(networks()), batch()
    guidance = RelevanceGuidance(network.eval(), 1.0)
    expected = guidance.outside(data["image"], data["label"], data["relevance_mask"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guidance.outside(data["image"], data["label"], data["relevance_mask"]), expected)


def test_where_no_relevance_lies_outside_it_is_said_to_change_nothing(caplog):
    network, data = next(networks()), batch()
    data["image"] = data["image"] * data["relevance_mask"]
    with caplog.at_level(logging.WARNING, "neuroxai"):
        assert stepped(network, data, 1.0)[0]["outside"] == 0
    assert "no relevance lies outside --relevance_mask" in caplog.text


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
    grown = brain.copy()  # by a voxel in all 26 directions, nowhere near the grid's border
    for shift in np.ndindex(3, 3, 3):
        grown |= np.roll(brain, np.subtract(shift, 1), axis=(0, 1, 2))
    both = regions.mask("Left hippocampus") | regions.mask("Right hippocampus")
    for asked, expected in (
        ("brain", grown),
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
