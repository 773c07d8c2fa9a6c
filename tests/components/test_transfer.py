from __future__ import annotations

import logging

import pytest
import torch

from neuroxai.components import load_pretrained, pretrained_sha256
from neuroxai.errors import InputError, LeakageError, SpaceError
from neuroxai.io import sha256, write_json
from neuroxai.networks import ad_cnn, ms_cnn

GRID = (40, 40, 40)
CLASSES = ["HC", "MS"]


def network(seed, grid=GRID, **options):
    torch.manual_seed(seed)
    return ms_cnn(grid, padding="same", **options)


def same(first, second):
    return all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.fixture
def pretrained(tmp_path):
    """A bundle's folder with weights, and a function that writes their record."""
    folder = tmp_path / "pretrained"
    (folder / "models").mkdir(parents=True)
    former = network(1)
    torch.save(former.state_dict(), folder / "models" / "model.pt")

    def record(participants, **settings):
        write_json(
            folder / "models" / "model.json",
            {
                "checkpoint_sha256": sha256(folder / "models" / "model.pt"),
                "training_participants": participants,
                "settings": settings,
            },
        )

    return folder, former, record


def datalist(folder, **facts):
    """Three subjects, one a part."""
    parts = {
        part: [
            {"image": f"sub-{n}/x_T1w.nii", "label": n % 2, "participant_id": f"sub-{n}"}
            for n in (2 * number, 2 * number + 1)
        ]
        for number, part in enumerate(("training", "validation", "test"))
    }
    return str(write_json(folder / "datalist.json", {"classes": CLASSES, **parts, **facts}))


def test_all_layers_are_loaded_from_a_bundle_or_a_file_and_said(pretrained, caplog):
    folder, former, _ = pretrained
    for path in (folder, folder / "models" / "model.pt"):
        mine = network(2)
        assert not same(mine, former)
        with caplog.at_level(logging.INFO, "neuroxai"):
            assert load_pretrained(mine, str(path)) is mine
        assert same(mine, former)
        assert all(p.requires_grad for p in mine.parameters())
        assert pretrained_sha256(str(path)) == sha256(folder / "models" / "model.pt")
    assert f"begins with the 10 tensors of {folder / 'models' / 'model.pt'}" in caplog.text


@pytest.mark.parametrize("path", [None, ""])
def test_without_a_path_nothing_changes(path):
    mine = network(2)
    assert same(load_pretrained(mine, path), network(2))
    assert pretrained_sha256(path) is None


def test_another_grid_is_refused_by_layer_shapes_and_way_out(pretrained):
    folder, former, _ = pretrained
    mine = network(2, (60, 60, 60))
    with pytest.raises(
        SpaceError,
        match=r"linear1.weight.*\(1, 64\).*\(1, 512\).*--spacing.*--pretrained_head fresh",
    ):
        load_pretrained(mine, str(folder))
    assert same(mine, network(2, (60, 60, 60)))
    load_pretrained(mine, str(folder), head="fresh")
    assert torch.equal(mine.features.conv4.weight, former.features.conv4.weight)


def test_a_fresh_head_is_left_only_when_asked_for(pretrained, caplog):
    folder, former, _ = pretrained
    mine, untouched = network(2, num_classes=3), network(2, num_classes=3)
    with pytest.raises(SpaceError, match=r"\(1, 64\).*\(3, 64\) \(and 1 more\)"):
        load_pretrained(mine, str(folder))
    with caplog.at_level(logging.INFO, "neuroxai"):
        load_pretrained(mine, str(folder), head="fresh")
    assert "8 tensors" in caplog.text
    assert "head.linear1 begins fresh" in caplog.text
    assert same(mine.features, former.features)
    assert same(mine.head, untouched.head)
    # asked for, it stays fresh though it would fit
    fitting = load_pretrained(network(2), str(folder), head="fresh")
    assert same(fitting.head, network(2).head)
    with pytest.raises(InputError, match="unknown pretrained head 'new'"):
        load_pretrained(mine, str(folder), head="new")


def test_another_network_is_refused_even_with_a_fresh_head(pretrained):
    other = ad_cnn(GRID, padding="same")
    with pytest.raises(SpaceError, match=r"is missing \(and") as caught:
        load_pretrained(other, str(pretrained[0]), head="fresh")
    assert "--pretrained_head" not in str(caught.value)


def test_absent_weights_name_the_option(tmp_path):
    for path in (tmp_path, tmp_path / "absent.pt"):
        for function in (lambda p: load_pretrained(network(0), p), pretrained_sha256):
            with pytest.raises(InputError, match=r"no such weights.*--pretrained"):
                function(str(path))


def test_a_held_out_subject_of_the_same_cohort_is_refused(pretrained, tmp_path):
    folder, _, record = pretrained
    record(["sub-0", "sub-3", "5"], participants_sha256="aa")
    with pytest.raises(LeakageError, match=r"sub-3 .*validation.*\(2 such subjects\)"):
        load_pretrained(network(0), str(folder), datalist=datalist(tmp_path, participants_sha256="aa"))


def test_equal_names_in_other_cohorts_and_shared_training_subjects_are_allowed(pretrained, tmp_path, caplog):
    folder, former, record = pretrained
    with caplog.at_level(logging.WARNING, "neuroxai"):
        record(["sub-0", "sub-3"], participants_sha256="aa")
        load_pretrained(network(0), str(folder), datalist=datalist(tmp_path, participants_sha256="bb"))
        record(["sub-0", "sub-1"], participants_sha256="aa")
        mine = load_pretrained(network(0), str(folder), datalist=datalist(tmp_path, participants_sha256="aa"))
    assert same(mine, former)
    assert not caplog.text


def test_what_cannot_be_told_is_a_warning(pretrained, tmp_path, caplog):
    folder, _, record = pretrained
    load_pretrained(network(0), str(folder), datalist=datalist(tmp_path, participants_sha256="aa"))
    assert "no record beside it" in caplog.text
    caplog.clear()
    record(["sub-4", "sub-3"])
    load_pretrained(network(0), str(folder), datalist=datalist(tmp_path, participants_sha256="aa"))
    assert "named as 2 of validation and test (sub-3 ...): cannot tell" in caplog.text


def test_a_record_of_other_weights_is_refused(pretrained, tmp_path):
    folder, _, record = pretrained
    record(["sub-0"])
    torch.save(network(9).state_dict(), folder / "models" / "model.pt")
    with pytest.raises(InputError, match="describes another checkpoint"):
        load_pretrained(network(0), str(folder), datalist=datalist(tmp_path))
