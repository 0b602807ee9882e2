"""Decoded images are kept in memory that all processes of a run share."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_parts import take
from PIL import Image

from ninefold.core.preprocess import Preprocess
from ninefold.data import kept
from ninefold.data.kept import Kept, free_memory
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data
from ninefold.data.records import Records


def image(seed: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    """As `decode` lays it out."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(
        0, 256, (height, width, channels), generator=generator, dtype=torch.uint8
    )
    return values.permute(2, 0, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve noisy JPEG and PNG files of 8 to 13 pixels, grey among them."""
    for i in range(12):
        path = tmp_path / f"class{i % 2}" / f"{i}.{'jpg' if i % 3 else 'png'}"
        path.parent.mkdir(exist_ok=True)
        values = image(i, 8 + i % 6, 8 + i % 4, 1 if i == 5 else 3).permute(1, 2, 0).numpy()
        Image.fromarray(values[..., 0] if i == 5 else values).save(path)
    return tmp_path


def batches(records: Records, *, workers: int) -> list[tuple[Any, Any]]:
    """Images and labels of three epochs of training, and one of evaluation."""
    taken = take(records, 9, batch_size=4, workers=workers)
    preprocess = Preprocess(image_size=8, crop_fraction=1.0)
    taken += evaluation_batches(records, preprocess=preprocess, batch_size=3, workers=workers)
    return [(batch.x, batch.y) for batch in taken]


def same(one: list[tuple[Any, Any]], other: list[tuple[Any, Any]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("cache", [0.0, 0.25])
def test_batches_are_the_same_with_and_without_for_any_number_of_workers(
    photos: Path, cache: float, workers: int
) -> None:
    expected = batches(open_data(photos, cut=False, cache=0.0).splits["all"], workers=0)
    found = batches(open_data(photos, cut=False, cache=cache).splits["all"], workers=workers)
    assert same(expected, found)


def test_what_one_worker_decoded_no_other_process_decodes_again(photos: Path) -> None:
    records = open_data(photos, cut=False).splits["all"]
    expected = batches(records, workers=2)
    for file in records.files:
        Path(file).unlink()
    assert same(expected, batches(records, workers=1))


def test_without_room_every_image_is_decoded_each_time(photos: Path) -> None:
    records = open_data(photos, cut=False, cache=0.0).splits["all"]
    records.load(0)
    Path(records.files[0]).unlink()
    with pytest.raises(Exception, match="no such file"):
        records.load(0)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=8),
    st.sampled_from([1, 3, 5]),
    st.integers(0, 60_000),
)
def test_images_come_back_as_they_were_put_and_none_overlap(
    sizes: list[tuple[int, int]], channels: int, limit: int
) -> None:
    room = Kept(len(sizes), channels, limit)
    images = [image(i, *size, channels) for i, size in enumerate(sizes)]
    for i, one in enumerate(images):
        room.put(i, one)
    share = limit // len(sizes)
    for i, one in enumerate(images):
        found = room.find(i)
        assert found is None or (torch.equal(found, one) and found.stride()[1:] == one.stride()[1:])
        assert (found is not None) == (one.nbytes <= share - share % 4096 * (share > 4096))


def test_a_change_to_a_copy_changes_nothing_that_is_kept() -> None:
    room = Kept(1, 3, 1000)
    one = image(0, 8, 8)
    room.put(0, one)
    for _ in range(2):
        found = room.find(0)
        assert found is not None
        assert torch.equal(found, one)
        found.zero_()


def test_a_process_that_is_not_forked_begins_with_room_of_its_own() -> None:
    room = Kept(2, 3, 1000)
    room.put(0, image(0, 4, 4))
    other = pickle.loads(pickle.dumps(room))
    assert other.find(0) is None
    other.put(0, image(1, 4, 4))
    found = room.find(0)
    assert found is not None
    assert torch.equal(found, image(0, 4, 4))


def test_where_the_system_gives_no_room_nothing_is_kept() -> None:
    room = Kept(2, 3, 2**62)
    room.put(1, image(0, 4, 4))
    assert room.find(1) is None


def test_a_container_is_not_given_more_than_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 1000000\n")
    whole = free_memory()
    monkeypatch.setattr(kept, "_CGROUPS", ((str(tmp_path), *kept._CGROUPS[0][1:]),))
    assert free_memory() == 3_000_000 < whole
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert free_memory() == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() > 3_000_000
