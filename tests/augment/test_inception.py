"""Inception crop by TensorFlow's rule."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ninefold.augment.config import Augment
from ninefold.augment.inception import box_size, distorted_box, resize_plainly
from ninefold.augment.sample import SampleAugment
from ninefold.core.batch import Sample
from ninefold.core.preprocess import Preprocess

OFFICIAL = Augment(crop="inception", crop_area=(0.05, 1.0), crop_aspect=(0.75, 1.33))


@pytest.mark.parametrize(("draw", "size"), [(0.0, (22, 23)), (0.5, (59, 61)), (0.999, (96, 100))])
def test_a_box_of_aspect_1_04_equals_cases_worked_by_hand(
    draw: float, size: tuple[int, int]
) -> None:
    """Of 100 x 100: sqrt(500 / 1.04) = 21.9 rows at the least, and at the most the 96 whose 99.8
    columns fit, as sqrt(10000 / 1.04) = 98 do not."""
    assert box_size(100, 100, (0.05, 1.0), 1.04, draw) == size


def test_a_box_that_is_rounded_out_of_its_area_grows_or_shrinks_by_a_row() -> None:
    # sqrt(50 / 1.3) = 6.2: 6 rows have 8 columns, 48 pixels; 7 have 9, which are enough.
    assert box_size(10, 100, (0.05, 0.1), 1.3, 0.0) == (7, 9)
    # sqrt(100 / 1.3) = 8.8: 9 rows have 12 columns, 108 pixels; 8 have 10, which are few enough.
    assert box_size(10, 100, (0.05, 0.1), 1.3, 0.99) == (8, 10)


def test_an_image_in_which_no_box_fits_is_taken_whole() -> None:
    augment = OFFICIAL.changed(crop_area=(0.9, 1.0))
    assert distorted_box(10, 100, augment, torch.Generator().manual_seed(0)) == (0, 0, 10, 100)


@settings(max_examples=150, deadline=None)
@given(st.integers(8, 300), st.integers(8, 300), st.integers(0, 10**6))
def test_boxes_lie_inside_with_an_allowed_area_and_aspect(h: int, w: int, seed: int) -> None:
    box = distorted_box(h, w, OFFICIAL, torch.Generator().manual_seed(seed))
    top, left, rows, columns = box
    assert 0 <= top <= top + rows <= h
    assert 0 <= left <= left + columns <= w
    if box != (0, 0, h, w):
        assert 0.05 * h * w <= rows * columns <= h * w
        assert round(0.75 * rows) <= columns <= round(1.33 * rows)


def test_aspect_and_height_are_uniform_and_the_last_place_is_never_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = [distorted_box(400, 400, OFFICIAL, generator) for _ in range(3000)]
    aspects = torch.tensor([columns / rows for _, _, rows, columns in boxes])
    narrow, square, wide = ((aspects < 0.9).sum(), ((aspects > 0.95) & (aspects < 1.1)).sum(),
                            (aspects > 1.18).sum())  # fmt: skip
    for count in (narrow, square, wide):  # 0.15 of a range of 0.58
        assert abs(int(count) / 3000 - 0.15 / 0.58) < 0.035
    rows = torch.tensor([rows / min(400, 400 / a) for (_, _, rows, _), a in
                         zip(boxes, aspects.tolist(), strict=True)])  # fmt: skip
    assert abs(float((rows > 0.62).float().mean()) - 0.5) < 0.04  # from about 0.24 to 1
    last = [top + rows == 400 and rows < 400 for top, _, rows, _ in boxes]
    assert not any(last)


def test_resizing_takes_the_four_nearest_pixels_and_cuts_fractions_off() -> None:
    row = torch.tensor([[0, 10, 20, 41, 50, 60, 70, 81]], dtype=torch.uint8)
    image = row.expand(8, 8)[None].contiguous()
    assert resize_plainly(image, 4)[0, 0].tolist() == [5, 30, 55, 75]
    assert resize_plainly(image, 2)[0, 0].tolist() == [15, 65]  # at 1.5 and 5.5: no others count
    assert resize_plainly(image, 16)[0, 0, :4].tolist() == [0, 2, 7, 12]


def test_the_crop_gives_the_resized_box() -> None:
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    augment = SampleAugment(OFFICIAL.changed(flip=0.0), Preprocess(image_size=32))
    found = augment(Sample(image, 1), torch.Generator().manual_seed(3), 32).x
    top, left, rows, columns = distorted_box(50, 70, OFFICIAL, torch.Generator().manual_seed(3))
    part = image[:, top : top + rows, left : left + columns]
    assert torch.equal(found, resize_plainly(part, 32))
