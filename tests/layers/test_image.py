"""Resizing and cropping of uint8 images."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Resize

from ninefold.core.preprocess import Preprocess
from ninefold.layers.image import Interpolation, crop, evaluation_view, resize


def noise(channels: int, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (channels, rows, columns), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(20, 31), (61, 90), (1, 1), (7, 80)])
def test_resizing_noise_equals_pillow_to_few_grey_levels(
    interpolation: Interpolation, size: tuple[int, int]
) -> None:
    image = noise(3, 45, 60)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
    expected = np.asarray(pillow.resize(size[::-1], filters[interpolation])).astype(int)
    ours = resize(image, size, interpolation).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - expected).max() <= 3
    assert np.abs(ours - expected).mean() < 0.5


def test_nearest_only_picks_values_of_the_source() -> None:
    image = noise(1, 9, 9)
    assert torch.equal(resize(image, (3, 3), "nearest"), image[:, 1::3, 1::3])


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 7, 13])
def test_each_channel_is_resized_as_if_alone(channels: int) -> None:
    image = noise(channels, 30, 40)
    alone = torch.cat([resize(plane[None], (17, 19)) for plane in image])
    assert torch.equal(resize(image, (17, 19)), alone)


def test_memory_layout_does_not_change_the_result() -> None:
    planes = noise(3, 30, 40)
    interleaved = planes.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert torch.equal(resize(planes, (12, 50)), resize(interleaved, (12, 50)))


def test_same_size_is_the_image_itself() -> None:
    image = noise(3, 8, 8)
    assert resize(image, (8, 8)) is image


def test_crop_takes_the_named_rectangle() -> None:
    image = noise(3, 10, 12)
    assert torch.equal(crop(image, 2, 3, 4, 5), image[:, 2:6, 3:8])


def test_crop_outside_the_image_is_an_error() -> None:
    with pytest.raises(AssertionError):
        crop(noise(3, 10, 12), 8, 0, 4, 5)


@pytest.mark.parametrize("shape", [(30, 47), (47, 30), (33, 50), (24, 24), (9, 70)])
@pytest.mark.parametrize(("side", "fraction"), [(24, 0.875), (24, 1.0), (25, 0.9)])
def test_the_evaluation_view_is_torchvisions_resize_and_centre_crop(
    shape: tuple[int, int], side: int, fraction: float
) -> None:
    image = noise(3, *shape)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy())
    filtered = Resize(int(side / fraction), interpolation=Image.Resampling.BICUBIC)(pillow)
    expected = np.asarray(CenterCrop(side)(filtered)).astype(int)
    view = evaluation_view(image, Preprocess(crop_fraction=fraction), side)
    ours = view.permute(1, 2, 0).numpy().astype(int)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= 3


def test_squashing_shows_the_whole_image() -> None:
    image = noise(1, 10, 20)
    view = evaluation_view(image, Preprocess(squash=True, crop_fraction=0.5), 8)
    assert torch.equal(view, resize(image, (8, 8)))


@pytest.mark.parametrize("form", [(10, 173), (173, 10), (9, 100)])
def test_the_view_of_a_very_long_image_is_its_middle(form: tuple[int, int]) -> None:
    ramp = torch.arange(max(form)).view(1, *((1, -1) if form[1] > form[0] else (-1, 1)))
    image = ramp.expand(3, *form).to(torch.uint8)
    preprocess = Preprocess(image_size=7, crop_fraction=0.7)
    assert abs(float(evaluation_view(image, preprocess, 7).float().mean()) - max(form) / 2) < 1.1


def test_the_view_of_the_longest_of_images_needs_no_gigabytes() -> None:
    image = torch.zeros(3, 1, 65535, dtype=torch.uint8)
    assert evaluation_view(image, Preprocess(), 224).shape == (3, 224, 224)
