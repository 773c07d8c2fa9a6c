from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader
from monai.transforms import Compose, RandomizableTransform

from neuroxai.components import ScanDataset, ScanSampler, pair_column
from neuroxai.errors import InputError


def dataset(labels):
    items = [{"image": str(n), "participant_id": f"sub-{n}", "label": label} for n, label in enumerate(labels)]
    return ScanDataset(items, dict)


def order(data, epoch=1, **options):
    sampler = ScanSampler(data, **options)
    sampler.set_epoch(epoch)
    draws = list(sampler)
    assert len(draws) == len(sampler)
    return draws


@given(
    labels=st.lists(st.integers(0, 1), min_size=4, max_size=30).filter(lambda found: len(set(found)) == 2),
    processes=st.integers(2, 4),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    balanced=st.booleans(),
)
def test_processes_see_in_each_step_what_one_with_the_whole_batch_sees(labels, processes, batch, seed, balanced):
    data = dataset(labels * processes)  # divides evenly
    alone = order(data, seed=seed, balanced=balanced)
    shares = [order(data, seed=seed, balanced=balanced, num_replicas=processes, rank=rank) for rank in range(processes)]
    for start in range(0, len(shares[0]), batch):
        together = [draw for share in shares for draw in share[start : start + batch]]
        assert sorted(together) == sorted(alone[start * processes : (start + batch) * processes])


def test_every_scan_is_seen_once_an_epoch_in_another_order_with_other_seeds():
    data = dataset([0, 1] * 10)
    first, again, second = order(data), order(data), order(data, epoch=2)
    assert first == again
    assert sorted(draw.scan for draw in first) == list(range(20)) == sorted(draw.scan for draw in second)
    assert [draw.scan for draw in first] != [draw.scan for draw in second]
    assert not {draw.seed for draw in first} & {draw.seed for draw in second}
    assert len({draw.seed for draw in first}) == 20


def test_a_balanced_order_draws_each_class_as_often():
    data = dataset([0] * 90 + [1] * 10)
    draws = [draw for epoch in range(30) for draw in order(data, epoch=epoch, balanced=True)]
    counts = Counter(data.data[draw.scan]["label"] for draw in draws)
    # 3,000 fair draws: five standard deviations are 137
    assert abs(counts[1] - 1500) < 137
    assert {draw.scan for draw in draws} == set(range(100))


def test_equally_many_for_all_processes_where_the_number_does_not_divide():
    data = dataset([0, 1] * 3 + [0])
    assert [len(order(data, num_replicas=2, rank=rank)) for rank in (0, 1)] == [4, 4]


class Drawn(RandomizableTransform):
    """Replaces an item by a random number."""

    def __call__(self, data):
        self.randomize(data)
        return int(self.R.randint(1000))


def test_augmentation_follows_the_draw_and_nothing_else():
    data = dataset([0, 1] * 8)
    data.random_transform = Compose([Drawn()])
    draws = order(data)
    forwards = [data[draw] for draw in draws]
    assert forwards == [data[draw] for draw in reversed(draws)][::-1]
    assert len(set(forwards)) > 8


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_what_is_drawn(workers):
    data = dataset([0, 1] * 4)
    sampler = ScanSampler(data, seed=3)
    sampler.set_epoch(1)
    loader = DataLoader(data, sampler=sampler, batch_size=2, num_workers=workers)
    assert [name for batch in loader for name in batch["image"]] == [str(draw.scan) for draw in sampler]


def paired(values):
    items = [
        {"image": str(n), "participant_id": f"sub-{n}", "label": n % 2, "twin": value} for n, value in enumerate(values)
    ]
    return ScanDataset(items, dict)


@given(
    pairs=st.integers(1, 9),
    singles=st.integers(0, 5),
    batch=st.integers(1, 3),
    processes=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_twins_come_in_one_batch_and_each_scan_once(pairs, singles, batch, processes, seed):
    values = [f"anatomy{n}" for n in range(pairs)] * 2 + [""] * singles  # who has no value is no twin of others
    data, room = paired(values), 2 * batch * processes
    options = {"seed": seed, "pair_by": "twin"}
    draws = order(data, batch_size=2 * batch, num_replicas=processes, even_divisible=False, **options, rank=0)
    alone = [draw.scan for draw in order(data, batch_size=room, **options)]
    assert [draw.scan for draw in draws] == alone[::processes]
    assert sorted(alone) == list(range(len(values)))
    seeds = {draw.scan: draw.seed for draw in order(data, batch_size=room, **options)}
    assert [seeds[n] for n in range(pairs)] == [seeds[n] for n in range(pairs, 2 * pairs)]  # augmented alike
    assert len(set(seeds.values())) == pairs + singles
    places = [{alone.index(n) // room for n in (first, first + pairs)} for first in range(pairs)]
    # one pair is cut where a single scan, for which there is no other, leaves a gap of one
    assert sum(len(place) > 1 for place in places) <= singles % 2


def test_which_column_pairs(tmp_path):
    def listed(**columns):
        rows = [{"image": f"{n}.nii", **{k: v[n] for k, v in columns.items()}} for n in range(4)]
        path = tmp_path / "datalist.json"
        path.write_text(json.dumps({"training": rows}))
        return str(path)

    twins = listed(twin=["a", "b", "a", "b"], pair=[1, 1, 2, 3])
    assert pair_column(twins) == "twin"
    assert pair_column(twins, "pair") == "pair"
    assert pair_column(twins, "none") is None is pair_column(twins, None)
    assert pair_column(listed(twin=["a", "b", "c", ""])) is None  # twins of whom one is in another part
    with pytest.raises(InputError, match=r"pair_by 'age'.*twin.*--group"):
        pair_column(twins, "age")
    with pytest.raises(InputError, match=r"--pair_by pair: no two"):
        pair_column(listed(pair=[1, 2, 3, 4]), "pair")


def test_pairs_cannot_be_drawn_with_replacement():
    with pytest.raises(InputError, match=r"--pair_by twin.*--class_balance"):
        ScanSampler(paired(["a", "a"]), balanced=True, pair_by="twin")
