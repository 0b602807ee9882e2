"""Batches are a function of (seed, step)."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_parts import failing, plain, records, take

from ninefold.core.batch import Batch, Boxes, Sample
from ninefold.core.errors import Failed, Refused
from ninefold.core.preprocess import Preprocess
from ninefold.data import workers
from ninefold.data.fetch import collate, in_this_process
from ninefold.data.loader import choose_workers, evaluation_batches, permutation
from ninefold.data.records import Records

PREPROCESS = Preprocess(image_size=8, crop_fraction=1.0)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return all(
        torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and torch.equal(a.index, b.index)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_workers_gives_the_same_batches(count: int) -> None:
    assert same(take(records(10), 5), take(records(10), 5, workers=count))


@pytest.mark.parametrize("count", [0, 2])
def test_a_start_in_the_middle_gives_the_batches_from_there_on(count: int) -> None:
    whole = take(records(10), 6)
    assert same(whole[4:], take(records(10), 2, start_step=4, workers=count))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**40))
def test_steps_walk_through_whole_epochs(count: int, share: int, world: int, seed: int) -> None:
    """All ranks' rows of all steps, put together again, are the permutations one by one."""
    size, steps = share * world, 12
    seen: list[int] = []
    ranks = [
        take(
            records(count), steps, batch_size=size, seed=seed, rank=rank, world=world,
            transform=plain,
        )
        for rank in range(world)
    ]  # fmt: skip
    for step in range(steps):
        rows = torch.stack([ranks[rank][step].index for rank in range(world)], dim=1)
        seen += rows.flatten().tolist()
    for epoch in range(len(seen) // count):
        part = seen[epoch * count : (epoch + 1) * count]
        assert part == permutation(count, seed, epoch).tolist()
        assert sorted(part) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [permutation(50, seed, epoch).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


def test_noise_differs_between_samples_and_between_epochs() -> None:
    same_image = Records(["a"] * 6, [0] * 6, lambda i: records(1).load(0))
    first, second = take(same_image, 2)
    noise = {tuple(row.flatten().tolist()) for row in torch.cat([first.x, second.x])}
    assert len(noise) == 12


def test_loading_in_this_process_leaves_its_generators_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    threads = torch.get_num_threads()
    take(records(10), 2)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002
    assert torch.get_num_threads() == threads
    before = random.getstate()
    with in_this_process():
        random.seed(7)
    assert random.getstate() == before


def test_the_image_size_may_follow_the_step() -> None:
    sizes = [b.x.shape[-1] for b in take(records(10), 4, image_size=lambda step: 4 + step // 2)]
    assert sizes == [4, 4, 5, 5]


def test_nothing_to_train_on_and_uneven_shares_are_refused_at_once() -> None:
    with pytest.raises(Refused, match="no images to train on"):
        take(records(0), 0)
    with pytest.raises(Refused, match="batch_size 6 does not divide by 4 processes"):
        take(records(10), 0, world=4)


def test_batches_hold_uint8_images_class_ids_and_indices() -> None:
    batch = take(records(10), 1)[0]
    assert batch.x.dtype == torch.uint8
    assert batch.x.is_contiguous()
    assert batch.y.dtype == batch.index.dtype == torch.int64
    assert torch.equal(batch.y, batch.index % 3)


def test_several_labels_become_a_multi_hot_target() -> None:
    labels = [(0, 2), (), (1,)]
    sample = torch.zeros(3, 8, 8, dtype=torch.uint8)
    source = Records(["a", "b", "c"], labels, lambda i: Sample(sample, y=labels[i]), num_classes=4)
    batch = next(evaluation_batches(source, preprocess=PREPROCESS, batch_size=3, workers=0))
    assert batch.y.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]


def test_modalities_heads_maps_and_boxes_are_collated() -> None:
    box = Boxes(torch.zeros(1, 4), torch.zeros(1, dtype=torch.long))
    two = Records(["a", "b"], [0, 0], lambda i: Sample(torch.zeros(1)))
    heads = [
        Sample(
            {"rgb": torch.ones(2), "sound": torch.ones(3)},
            {"verb": i, "noun": 7},
            boxes=box,
            original=(4, 5),
            extra={"present": torch.tensor([i, 1])},
        )
        for i in range(2)
    ]
    batch = collate(heads, [0, 1], two)
    assert batch.x["sound"].shape == (2, 3)
    assert batch.y["verb"].tolist() == [0, 1]
    assert batch.boxes == [box, box]
    assert batch.original.tolist() == [[4, 5], [4, 5]]
    assert batch.extra["present"].tolist() == [[0, 1], [1, 1]]
    maps = [Sample(torch.ones(2), torch.full((4, 4), i)) for i in range(2)]
    assert collate(maps, [0, 1], two).y.shape == (2, 4, 4)
    assert collate([Sample(torch.ones(2))], [0], two).y is None


def test_images_of_different_forms_are_named() -> None:
    source = Records(["a", "b"], [0, 0], lambda i: Sample(torch.zeros(3, 4, 4 + i)))
    with pytest.raises(Failed, match=r"[ab]: came to \(3, 4, \d\), and [ab] to"):
        take(source, 1, transform=plain, batch_size=2)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 7, 12])
def test_ranks_evaluate_every_sample_once_in_equally_many_batches(world: int, count: int) -> None:
    ranks = [
        list(
            evaluation_batches(
                records(count), preprocess=PREPROCESS, batch_size=2, workers=0, rank=r, world=world
            )
        )
        for r in range(world)
    ]
    seen = [i for batches in ranks for b in batches for i in b.index.tolist() if i >= 0]
    assert sorted(seen) == list(range(count))
    assert len({tuple(len(b) for b in batches) for batches in ranks}) == 1
    if world == 1:
        assert all((b.index >= 0).all() for b in ranks[0])


def test_evaluation_is_the_same_with_workers() -> None:
    given = {"preprocess": PREPROCESS, "batch_size": 2}
    one = list(evaluation_batches(records(11), workers=0, **given))
    assert same(one, list(evaluation_batches(records(11), workers=2, **given)))


def test_evaluation_of_nothing_has_no_batches() -> None:
    assert not list(evaluation_batches(records(0), preprocess=PREPROCESS, batch_size=2, workers=0))


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path, count: int) -> None:
    with pytest.raises(Refused, match=r"^.*/13\.png: cannot be decoded$"):
        take(failing(tmp_path, "refuse", times=1), 4, workers=count, transform=plain)


@pytest.mark.parametrize("count", [0, 2])
def test_any_other_error_is_one_line_with_the_file(tmp_path: Path, count: int) -> None:
    with pytest.raises(Failed, match=r"/13\.png: loading failed with KeyError: .*nothing") as error:
        take(failing(tmp_path, "break", times=1), 4, workers=count, transform=plain)
    assert "\n" not in str(error.value)


def test_a_worker_that_dies_once_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_POLL", 0.2)
    source = failing(tmp_path, "kill", times=1)
    batches = take(source, 4, workers=2, transform=plain)
    assert same(batches, take(source, 4, transform=plain))
    assert "a worker ended by signal SIGKILL at" in caplog.text
    assert "/13.png" in caplog.text


def test_a_sample_that_kills_its_worker_twice_ends_the_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_POLL", 0.2)
    with pytest.raises(Failed, match=r"a worker ended by signal SIGKILL at .*/13\.png, perhaps"):
        take(failing(tmp_path, "kill", times=2), 4, workers=2, transform=plain)


def test_a_worker_that_hangs_ends_the_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "TIMEOUT", 1.0)
    monkeypatch.setattr(workers, "_POLL", 0.5)
    with pytest.raises(Failed, match=r"no batch came for 1 s; the workers are at .*/13\.png"):
        take(failing(tmp_path, "hang", times=1), 4, workers=1, transform=plain)


def test_workers_are_gone_when_the_batches_are_closed() -> None:
    import multiprocessing

    take(records(10), 2, workers=2)
    assert not multiprocessing.active_children()


def test_the_number_of_workers_is_chosen_by_cores_and_ranks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_workers() == 7
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert choose_workers() == 1
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_workers() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert choose_workers() == 0
