"""Parts are cut by content, stratified, and never through a group."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ninefold.data.split import content_keys, hold_out


def names(count: int) -> list[str]:
    return [f"image {i}" for i in range(count)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6), st.sampled_from([0.1, 1 / 9, 0.3]))
def test_each_class_gives_its_share_to_the_image(counts: list[int], share: float) -> None:
    labels = [c for c, count in enumerate(counts) for _ in range(count)]
    held = hold_out(names(len(labels)), labels, share, salt="val")
    taken = Counter(label for label, out in zip(labels, held, strict=True) if out)
    for c, count in enumerate(counts if max(counts) > 1 else []):
        assert taken[c] == (max(1, round(count * share)) if count > 1 else 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=2, max_size=80))
def test_no_unit_is_parted_and_neither_part_is_empty(rows: list[tuple[int, int]]) -> None:
    units = [f"patient {unit}" for unit, _ in rows]
    held = hold_out(units, [label for _, label in rows], 0.1, salt="val")
    inside = {unit for unit, out in zip(units, held, strict=True) if out}
    outside = {unit for unit, out in zip(units, held, strict=True) if not out}
    assert not inside & outside
    assert outside
    assert inside or len(set(units)) == 1


def test_the_choice_ignores_order() -> None:
    units, labels = names(100), [i % 3 for i in range(100)]
    held = hold_out(units, labels, 0.1, salt="val")
    chosen = {unit for unit, out in zip(units, held, strict=True) if out}
    back = hold_out(units[::-1], labels[::-1], 0.1, salt="val")
    assert {unit for unit, out in zip(units[::-1], back, strict=True) if out} == chosen


def test_other_salts_choose_others() -> None:
    labels = [0] * 100
    assert hold_out(names(100), labels, 0.1, salt="val") != hold_out(
        names(100), labels, 0.1, salt="test"
    )


def test_added_images_move_few_of_the_others() -> None:
    before = hold_out(names(1000), [0] * 1000, 0.1, salt="val")
    after = hold_out(names(1010), [0] * 1010, 0.1, salt="val")
    assert sum(a != b for a, b in zip(before, after, strict=False)) <= 10


def test_of_several_labels_the_rarest_is_stratified() -> None:
    labels = [(0, 1) if i % 10 == 0 else (0,) for i in range(200)]
    held = hold_out(names(200), labels, 0.1, salt="val")
    taken = [label for label, out in zip(labels, held, strict=True) if out]
    assert len(taken) == 20
    assert sum(1 in label for label in taken) == 2


def test_examples_without_any_label_are_a_class_of_their_own() -> None:
    labels = [() if i < 50 else (0,) for i in range(100)]
    held = hold_out(names(100), labels, 0.1, salt="val")
    assert sum(held[:50]) == sum(held[50:]) == 5


@pytest.mark.parametrize("size", [0, 10, 70_000])
def test_keys_tell_contents_and_nothing_else(tmp_path: Path, size: int) -> None:
    first, last = bytes(size), bytes(max(size - 1, 0)) + b"\1"
    for name, content in {"a": first, "b": first, "c": last}.items():
        (tmp_path / name).write_bytes(content)
    one, same, other = content_keys([str(tmp_path / name) for name in "abc"])
    assert one == same != other
