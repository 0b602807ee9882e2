"""Common corruptions: each against a naive loop or another library, and what all have in common."""

import colorsys
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ninefold.augment import corruptions as ours
from ninefold.augment.corruptions import Draws, corrupt
from ninefold.augment.severities import (
    CORRUPTIONS,
    LARGE,
    SMALL,
    chosen_corruptions,
    constants,
)  # fmt: skip
from ninefold.core.errors import Refused

CPU = torch.device("cpu")
RANDOM = {"brightness", "contrast", "defocus_blur", "zoom_blur", "pixelate", "jpeg_compression"}


def pictures(count: int = 3, side: int = 32, channels: int = 3) -> Tensor:
    """Smooth colours with edges, so that blur and compression have something to spoil."""
    rows = torch.arange(side).view(1, 1, side, 1)
    columns = torch.arange(side).view(1, 1, 1, side)
    phase = torch.arange(count * channels).view(count, channels, 1, 1)
    waves = (0.3 * rows + phase).sin() * (0.2 * columns + phase).cos()
    edges = ((rows + columns + phase) % 11 < 4).float() * 0.3
    return ((0.5 + 0.3 * waves + edges).clamp(0, 1) * 255).to(torch.uint8)


def floats(side: int = 20, channels: int = 3) -> Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_a_function_of_image_and_seed_alone(name: str) -> None:
    images = pictures()
    together = corrupt(images, name, 3, [5, 6, 7])
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    assert torch.equal(corrupt(images[1:2], name, 3, [6]), together[1:2])
    other = corrupt(images, name, 3, [8, 9, 10])
    assert torch.equal(other, together) == (name in RANDOM)


@pytest.mark.parametrize("side", [32, 112])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_changes_the_picture_and_the_last_more_than_the_first(
    name: str, side: int
) -> None:
    images = pictures(4, side)
    changes = []
    for severity in (1, 5):
        found = corrupt(images, name, severity, range(4))
        changes.append(float((found.float() - images.float()).square().mean()))
    assert min(changes) > 0
    # The elastic constants move whole pictures further in the lower severities.
    assert name == "elastic_transform" or changes[0] < changes[1], changes


def test_small_and_large_images_have_constants_of_their_own() -> None:
    assert set(SMALL) == set(LARGE)
    assert len(CORRUPTIONS) == 15
    assert all(len(rows) == 5 for table in (SMALL, LARGE) for rows in table.values())
    assert constants("jpeg_compression", 5, 32) == (40,)
    assert constants("jpeg_compression", 5, 224) == (7,)
    assert (constants("fog", 1, 95), constants("fog", 1, 96)) == ((0.2, 3), (1.5, 2))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_images_stay_grey(name: str) -> None:
    assert corrupt(pictures(2, 32, 1), name, 2, [1, 2]).shape == (2, 1, 32, 32)


@pytest.mark.parametrize(
    ("images", "name", "severity", "told"),
    [
        (pictures(), "fogg", 1, "no corruption is called 'fogg'; did you mean 'fog'"),
        (pictures(), "fog", 6, "fog: severity is 6; 1 to 5"),
        (pictures(1, 32, 5), "fog", 1, "images of 5 channels and 32 pixels a side"),
        (pictures(1, 8), "fog", 1, "images of 3 channels and 8 pixels a side"),
    ],
)
def test_what_is_not_defined_is_refused(
    images: Tensor, name: str, severity: int, told: str
) -> None:
    with pytest.raises(Refused, match=told):
        corrupt(images, name, severity, range(len(images)))


def test_all_or_some_are_chosen_by_name() -> None:
    assert chosen_corruptions("all") == CORRUPTIONS
    assert chosen_corruptions(["fog", "snow", "fog"]) == ("fog", "snow")
    with pytest.raises(Refused, match="there are all, gaussian_noise"):
        chosen_corruptions(["fog", "qqq"])


# Each against something slower


@pytest.mark.parametrize(
    ("sigma", "truncate", "mode"),
    [(0.05, 4, "nearest"), (1.5, 4, "nearest"), (2.0, 3, "reflect"), (30.0, 3, "reflect")],
)
def test_gaussian_blur_is_scipys(sigma: float, truncate: float, mode: str) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = floats()
    expected = ndimage.gaussian_filter(
        x.double().numpy(), (0, 0, sigma, sigma), truncate=truncate, mode=mode
    )
    found = ours.gaussian(x, sigma, truncate=truncate, mode=mode)
    assert np.abs(found.numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("factor", [1.0, 1.06, 1.3, 1.75, 2.25, 4.0])
def test_zooming_is_scipys(factor: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = floats(32)
    part = math.ceil(32 / factor)
    top = (32 - part) // 2
    middle = x[0, :, top : top + part, top : top + part].numpy()
    large = ndimage.zoom(middle, (1, factor, factor), order=1)
    cut = (large.shape[1] - 32) // 2
    expected = large[:, cut : cut + 32, cut : cut + 32]
    assert np.abs(ours._enlarged(x, factor)[0].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("reach", [1, 3])
def test_glass_copies_pixels_one_after_the_other(reach: int) -> None:
    """By the order in which the authors' loops go; a chain of copies may be as long as a row."""
    side = 18
    draws = Draws([3, 4], CPU)
    source = ours._copied(draws, side, reach)
    moves = Draws([3, 4], CPU).integers(-reach, reach, 2, side - 2 * reach, side - 2 * reach)
    for image in range(2):
        picture = torch.arange(side * side).view(side, side).clone()
        for h in range(side - reach, reach, -1):
            for w in range(side - reach, reach, -1):
                down, right = moves[image, :, h - reach - 1, w - reach - 1].tolist()
                picture[h, w] = picture[h + down, w + right]
        assert torch.equal(source[image].view(side, side), picture)
    assert int((source == torch.arange(side * side)).sum()) < 2 * side * side * 0.7


def test_a_streak_is_a_sum_over_pixels_along_its_angle() -> None:
    x, degrees = floats(12), torch.tensor([-40.0, 20.0])
    found = ours._streaked(x, 3, 2.0, degrees)
    weights = [math.exp(-(i**2) / 8) for i in range(7)]
    for image in range(2):
        angle = math.radians(float(degrees[image]))
        for row in range(12):
            for column in range(12):
                total = torch.zeros(3)
                for i, weight in enumerate(weights):
                    r = row + math.ceil(i * math.sin(angle) - 0.5)
                    c = column + math.ceil(i * math.cos(angle) - 0.5)
                    total += weight * x[image, :, min(max(r, 0), 11), min(max(c, 0), 11)]
                torch.testing.assert_close(found[image, :, row, column], total / sum(weights))


def test_defocus_is_a_mean_over_a_softened_disk() -> None:
    """Radius 3 of severity 1: 29 pixels; the softening of 0.1 pixels is none."""
    x = floats(24)
    found = ours.defocus_blur(x, Draws([0, 1], CPU), 3, 0.1)
    near = [(i, j) for i in range(-3, 4) for j in range(-3, 4) if i * i + j * j <= 9]
    expected = sum(x[:, :, 12 + i, 9 + j] for i, j in near) / len(near)
    torch.testing.assert_close(found[:, :, 12, 9], expected)
    corner = sum(x[:, :, abs(i), abs(j)] for i, j in near) / len(near)
    torch.testing.assert_close(found[:, :, 0, 0], corner)


def test_brightness_is_more_value_in_hsv() -> None:
    x = floats(6)
    x[0, :, 0, 0] = 0
    found = ours.brightness(x, Draws([0, 1], CPU), 0.2)
    for place in np.ndindex(2, 6, 6):
        image, row, column = place
        hue, saturation, value = colorsys.rgb_to_hsv(*x[image, :, row, column].tolist())
        expected = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2)))
        torch.testing.assert_close(found[image, :, row, column], expected)


def test_noise_has_the_spread_that_is_asked_for() -> None:
    x, draws = torch.full((1, 3, 128, 128), 0.5), Draws([0], CPU)
    assert float(ours.gaussian_noise(x, draws, 0.1).std()) == pytest.approx(0.1, rel=0.02)
    shot = ours.shot_noise(x, draws, 60)
    assert float(shot.mean()) == pytest.approx(0.5, rel=0.01)
    assert float(shot.std()) == pytest.approx(math.sqrt(0.5 / 60), rel=0.02)
    salted = ours.impulse_noise(x, draws, 0.2)
    assert float((salted == 1).float().mean()) == pytest.approx(0.1, rel=0.05)
    assert float((salted == 0).float().mean()) == pytest.approx(0.1, rel=0.05)


def test_plasma_is_rough_at_every_scale_and_goes_from_0_to_1() -> None:
    height = ours.plasma(Draws([1, 2], CPU), 64, 2.0)
    assert height.amin(dim=(1, 2)).tolist() == [0, 0]
    assert height.amax(dim=(1, 2)).tolist() == [1, 1]
    steps = [
        float((height[:, ::s, ::s] - height[:, ::s, ::s].roll(1, 1)).abs().mean()) for s in (1, 8)
    ]
    assert 0 < steps[0] < steps[1]


def test_an_elastic_transform_without_strength_is_an_affine_map_of_three_points() -> None:
    """With no reach either, nothing moves at all; and a moved picture keeps its plane colours."""
    x = floats()
    torch.testing.assert_close(ours.elastic_transform(x, Draws([0, 1], CPU), 0, 0, 0), x)
    rows = torch.arange(32.0).view(1, 1, 32, 1).expand(1, 3, 32, 32) / 32
    moved = ours.elastic_transform(rows, Draws([0], CPU), 0, 0, 2.5)
    inner = moved[0, 0, 8:24, 8:24]
    bend = inner[2:] - 2 * inner[1:-1] + inner[:-2]
    assert float(bend.abs().max()) < 1e-5
    assert float((inner - rows[0, 0, 8:24, 8:24]).abs().max()) > 0.005
