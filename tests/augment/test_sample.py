"""What training does to one image."""

import pickle
import random
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data import transforms
from torchvision.transforms import functional as tv

from ninefold.augment.config import Augment
from ninefold.augment.sample import (
    SampleAugment,
    brightness,
    contrast,
    inception_window,
    jitter,
    saturation,
)
from ninefold.core.batch import Sample
from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess
from ninefold.layers.image import evaluation_view

PLAIN = Preprocess(image_size=32, crop_fraction=1.0)


def noise(channels: int = 3, rows: int = 40, columns: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (channels, rows, columns), dtype=torch.uint8, generator=generator)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(
    image: torch.Tensor, seed: int = 0, *, preprocess: Preprocess = PLAIN, **fields: object
) -> torch.Tensor:
    transform = SampleAugment(Augment.model_validate(fields), preprocess)
    return transform(Sample(image, 3), seeded(seed), 32).x


def timm_window(rows: int, columns: int, augment: Augment, seed: int) -> tuple[int, int, int, int]:
    """timm's crop where its `random` hands out the draws of our generator."""
    draws = iter(torch.rand(10, 4, generator=seeded(seed), dtype=torch.float64).flatten().tolist())
    spent: list[float] = []

    def uniform(low: float, high: float) -> float:
        if len(spent) % 4 == 2:  # the last try was too large: its two places were not asked for
            spent.extend([next(draws), next(draws)])
        spent.append(next(draws))
        return low + (high - low) * spent[-1]

    def randint(low: int, high: int) -> int:
        spent.append(next(draws))
        return low + int(spent[-1] * (high - low + 1))

    real = transforms.random
    transforms.random = SimpleNamespace(uniform=uniform, randint=randint)
    try:
        return transforms.RandomResizedCropAndInterpolation.get_params(
            torch.empty(3, rows, columns), augment.crop_area, augment.crop_aspect
        )
    finally:
        transforms.random = real


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 300), st.integers(2, 300), st.integers(0, 10**6), st.sampled_from([0.08, 0.9])
)
def test_a_random_part_is_timms_for_the_same_draws(
    rows: int, columns: int, seed: int, least: float
) -> None:
    augment = Augment(crop_area=(least, 1.0))
    ours = inception_window(rows, columns, augment, seeded(seed))
    top, left, height, width = timm_window(rows, columns, augment, seed)
    assert (ours.top, ours.left, ours.height, ours.width) == (top, left, height, width)


@pytest.mark.parametrize(
    ("shape", "window"), [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10))]
)
def test_where_no_try_fits_the_centre_is_cut_at_the_nearest_allowed_aspect(
    shape: tuple[int, int], window: tuple[int, ...]
) -> None:
    ours = inception_window(*shape, Augment(crop_area=(0.9, 1.0)), seeded())
    assert (ours.top, ours.left, ours.height, ours.width) == window


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_every_crop_gives_a_square_of_the_size_asked_for(crop: str, channels: int) -> None:
    image = noise(channels)
    for image_size in (24, 32):
        transform = SampleAugment(Augment.model_validate({"crop": crop}), PLAIN)
        sample = transform(Sample(image, 3), seeded(), image_size)
        assert sample.x.shape == (channels, image_size, image_size)
        assert sample.x.dtype == torch.uint8
        assert sample.x.is_contiguous()
        assert sample.y == 3


def test_the_padded_crop_shifts_by_an_eighth_at_the_most_and_fills_with_zeros() -> None:
    image = noise(rows=32, columns=32).clamp(min=1)
    padded = torch.nn.functional.pad(image, (4, 4, 4, 4))
    cuts = {
        padded[:, top : top + 32, left : left + 32].numpy().tobytes(): (top, left)
        for top in range(9)
        for left in range(9)
    }
    places = [
        cuts[augmented(image, seed, crop="pad", flip=0).numpy().tobytes()] for seed in range(400)
    ]
    tops, lefts = zip(*places, strict=True)
    assert set(tops) == set(lefts) == set(range(9))


def test_no_crop_shows_what_evaluation_shows() -> None:
    preprocess = Preprocess(image_size=32, crop_fraction=0.8)
    view = evaluation_view(noise(), preprocess, 32)
    assert torch.equal(augmented(noise(), crop="none", flip=0, preprocess=preprocess), view)
    assert torch.equal(augmented(noise(), crop="none", flip=1, preprocess=preprocess), view.flip(2))


def test_images_are_flipped_with_the_probability_that_was_asked_for() -> None:
    image = noise(rows=32, columns=32)
    flips = sum(
        torch.equal(augmented(image, seed, crop="none", flip=0.25), image.flip(2))
        for seed in range(400)
    )
    assert 70 <= flips <= 130  # 100 +- 3.5 standard deviations


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.3])
def test_colours_change_as_torchvision_changes_them(factor: float, channels: int) -> None:
    image = noise(channels)
    expected = tv.adjust_brightness(image, factor)
    assert torch.equal(brightness(image, factor), expected)
    assert torch.equal(saturation(image, factor), tv.adjust_saturation(image, factor))
    apart = contrast(image, factor).int() - tv.adjust_contrast(image, factor).int()
    assert apart.abs().max() <= 1  # a mean over all pixels, summed in another order


def test_jitter_draws_three_factors_within_its_strength() -> None:
    flat = torch.full((1, 4, 4), 100, dtype=torch.uint8)  # even: brightness alone shows
    values = [int(jitter(flat, 0.4, seeded(seed))[0, 0, 0]) for seed in range(300)]
    assert 59 <= min(values) <= 62
    assert 138 <= max(values) <= 140
    assert len({jitter(noise(), 0.4, seeded(s)).numpy().tobytes() for s in range(20)}) == 20


def test_images_of_many_channels_are_jittered_too() -> None:
    assert augmented(noise(5), color_jitter=0.4).shape == (5, 32, 32)


def test_randaugment_takes_the_place_of_colour_jitter() -> None:
    with_both = augmented(noise(), 7, randaugment="rand-m9-inc1", color_jitter=0.4)
    assert torch.equal(with_both, augmented(noise(), 7, randaugment="rand-m9-inc1"))
    assert not torch.equal(with_both, augmented(noise(), 7))


def test_the_generator_alone_decides_and_no_global_one_is_touched() -> None:
    fields = {"randaugment": "rand-m9-mstd0.5-inc1"}
    images = [augmented(noise(), seed, **fields) for seed in (5, 6)]
    torch.manual_seed(99)
    random.seed(99)
    assert torch.equal(images[0], augmented(noise(), 5, **fields))
    assert not torch.equal(images[0], images[1])
    state = torch.get_rng_state()
    augmented(noise(), 8, **fields, crop="pad")
    augmented(noise(), 8, color_jitter=0.4)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_image_that_came_is_left_as_it_was() -> None:
    image = noise(rows=32, columns=32)
    kept = image.clone()
    for crop in ("random_resized", "pad", "none"):
        augmented(image, crop=crop, flip=0, randaugment="rand-p1")
        augmented(image, crop=crop, flip=0, color_jitter=0.4)
    assert torch.equal(image, kept)


def test_it_travels_to_another_process() -> None:
    transform = SampleAugment(Augment(randaugment="rand-m9-mstd0.5-inc1"), PLAIN)
    other = pickle.loads(pickle.dumps(transform))
    sample = Sample(noise(), 0)
    assert torch.equal(transform(sample, seeded(), 32).x, other(sample, seeded(), 32).x)


@pytest.mark.parametrize("fields", [{"crop_area": (0.5, 0.2)}, {"crop_aspect": (0.0, 1.0)}])
def test_ranges_that_do_not_rise_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(Refused, match="must rise"):
        Augment.parse(fields, where="augment")
