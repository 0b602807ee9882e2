"""Policies for whole images, Cutout, and the crops that came with them."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from pydantic import ValidationError
from test_sample import augmented, noise, seeded
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import v2

from ninefold.augment.config import Augment
from ninefold.augment.policies import LEVELS, FoundPolicy, cut_out, find_policy, found_pairs
from ninefold.augment.randaugment import to_pillow, to_tensor
from ninefold.augment.sample import SampleAugment
from ninefold.core.batch import Sample
from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess
from ninefold.layers.image import evaluation_whole

KINDS = v2.AutoAugmentPolicy
THEIRS = {
    "autoaugment": lambda: v2.AutoAugment(KINDS.IMAGENET),
    "autoaugment_cifar10": lambda: v2.AutoAugment(KINDS.CIFAR10),
    "autoaugment_svhn": lambda: v2.AutoAugment(KINDS.SVHN),
    "trivialaugment": v2.TrivialAugmentWide,
    "augmix": v2.AugMix,
}
ALL = (*THEIRS, *(f"fast_autoaugment_{name}" for name in ("cifar10", "svhn", "imagenet")))


@pytest.mark.parametrize("name", THEIRS)
def test_a_policy_is_torchvisions_and_leaves_the_global_generator_alone(name: str) -> None:
    image, policy = noise(3, 24, 30), find_policy(name, 3)
    for seed in range(6):
        generator = seeded(seed)
        drawn = int(torch.randint(2**62, (), generator=seeded(seed)))
        torch.manual_seed(drawn)
        expected = to_tensor(THEIRS[name]()(to_pillow(image)))
        torch.manual_seed(7)
        found = policy(image, generator)
        assert torch.equal(found, expected)
        after = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(after, torch.rand(3))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_policy_does_depends_on_the_generator_alone(name: str, channels: int) -> None:
    policy, image = pickle.loads(pickle.dumps(find_policy(name, channels))), noise(channels, 20, 20)
    before = copy.deepcopy(image)
    results = []
    for seed in range(8):
        torch.rand(seed)
        results.append(policy(image, seeded(seed)))
        assert torch.equal(results[-1], policy(image, seeded(seed)))
        assert results[-1].shape == image.shape
        assert results[-1].dtype == torch.uint8
    assert torch.equal(image, before)
    assert len({tuple(one.flatten().tolist()) for one in results}) > 3


def test_what_fast_autoaugment_found_is_there_as_published() -> None:
    sets = {name: found_pairs(name) for name in ("cifar10", "svhn", "imagenet")}
    assert {name: len(pairs) for name, pairs in sets.items()} == {
        "cifar10": 493, "svhn": 497, "imagenet": 498,
    }  # fmt: skip
    steps = [step for pairs in sets.values() for pair in pairs for step in pair]
    assert {name for name, _, _ in steps} == {*LEVELS, "Cutout"}
    assert all(0 <= p <= 1 and 0 <= t <= 1 for _, p, t in steps)
    assert sets["cifar10"][0] == (
        ("Contrast", 0.832066, 0.498843),
        ("TranslateX", 0.418499, 0.394023),
    )


def reference(picture: Image.Image, name: str, t: float, sign: int) -> Image.Image:
    """An operation of Fast AutoAugment from its range, straight in Pillow."""
    ranges = {"Shear": 0.3, "Translate": 0.45, "Rotate": 30}
    for part, most in ranges.items():
        if name.startswith(part):
            v = sign * (2 * t - 1) * most
    affine = Image.Transform.AFFINE
    enhanced = {"Contrast", "Color", "Brightness", "Sharpness"}
    if name in enhanced:
        return getattr(ImageEnhance, name)(picture).enhance(0.1 + 1.8 * t)
    if name == "Solarize":
        return ImageOps.solarize(picture, 256 * t)
    if name == "Posterize":
        return ImageOps.posterize(picture, int(4 + 4 * t))
    if name in ("AutoContrast", "Equalize", "Invert"):
        return getattr(ImageOps, name.lower())(picture)
    if name == "Rotate":
        return picture.rotate(v)
    width, height = picture.size
    matrix = {
        "ShearX": (1, v, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, v, 1, 0),
        "TranslateX": (1, 0, v * width, 0, 1, 0),
        "TranslateY": (1, 0, 0, 0, 1, v * height),
    }[name]
    return picture.transform(picture.size, affine, matrix)


@pytest.mark.parametrize("name", LEVELS)
def test_an_operation_of_fast_autoaugment_has_its_range(name: str) -> None:
    image = F.interpolate(noise(3, 6, 5)[None].float(), (24, 20), mode="bilinear")[0].byte()
    for level in (0.0, 0.31, 0.5, 0.8, 1.0):
        found = FoundPolicy((((name, 1.0, level), (name, 0.0, level)),))(image, seeded(3))
        both = [to_tensor(reference(to_pillow(image), name, level, sign)) for sign in (1, -1)]
        assert any(torch.equal(found, one) for one in both), level


def test_cutout_of_fast_autoaugment_is_a_fifth_of_the_width_at_the_most() -> None:
    image = torch.zeros(3, 40, 40, dtype=torch.uint8)
    policy = FoundPolicy(((("Cutout", 1.0, 1.0), ("Invert", 0.0, 0.0)),))
    sizes = set()
    for seed in range(60):
        found = policy(image, seeded(seed))
        rows, columns = found[0].any(1).sum(), found[0].any(0).sum()
        assert int((found[0] > 0).sum()) == int(rows * columns)
        assert {125} == set(found[0][found[0] > 0].tolist())
        sizes.add((int(rows), int(columns)))
    assert max(max(size) for size in sizes) == 9  # 8 and the row that Pillow includes
    black = Image.new("RGB", (40, 40))
    ImageDraw.Draw(black).rectangle((3, 4, 11.0, 12.0), (125, 123, 114))
    assert int((np.array(black)[..., 0] > 0).sum()) == 81


def test_each_operation_has_its_probability_and_each_pair_its_turn() -> None:
    pairs = (
        (("Invert", 0.25, 0.0), ("Invert", 0.0, 0.0)),
        (("Invert", 0.0, 0.0), ("Invert", 0.75, 0.0)),
    )
    image, policy = noise(3, 4, 4), FoundPolicy(pairs)
    generator = seeded()
    changed = sum(not torch.equal(policy(image, generator), image) for _ in range(2000))
    assert changed / 2000 == pytest.approx(0.5, abs=0.04)


# Cutout


def test_cutout_blanks_a_square_as_far_as_it_lies_in_the_image() -> None:
    image = noise(3, 20, 24) % 200
    fill = (250, 251, 252)
    hits = torch.zeros(20, 24)
    for seed in range(600):
        found = cut_out(image, 8, fill, seeded(seed))
        hole = (found == torch.tensor(fill, dtype=torch.uint8).view(3, 1, 1)).all(0)
        assert torch.equal(found[:, ~hole], image[:, ~hole])
        rows, columns = int(hole.any(1).sum()), int(hole.any(0).sum())
        assert int(hole.sum()) == rows * columns
        assert 4 <= rows <= 8
        assert 4 <= columns <= 8
        hits += hole
    assert float(hits[6:14, 8:16].std() / hits[6:14, 8:16].mean()) < 0.2
    assert float(hits.min()) > 0


def test_cutout_comes_last_with_the_mean_colour() -> None:
    grey = Preprocess(image_size=32, crop_fraction=1.0, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))
    found = augmented(
        noise(3, 32, 32), preprocess=grey, crop="none", flip=0.0, cutout=16, policy="trivialaugment"
    )
    hole = (found == torch.tensor([26, 51, 76], dtype=torch.uint8).view(3, 1, 1)).all(0)
    assert int(hole.sum()) >= 64


# Crops


def test_the_border_is_mirrored_before_a_window_is_cut() -> None:
    image = noise(3, 32, 32)
    wide = F.pad(image.float(), (4, 4, 4, 4), mode="reflect").byte()
    windows = [wide[:, i : i + 32, j : j + 32] for i in range(9) for j in range(9)]
    seen = set()
    for seed in range(40):
        found = augmented(image, seed, crop="reflect", flip=0.0)
        seen |= {k for k, window in enumerate(windows) if torch.equal(window, found)}
    assert len(seen) > 20


def test_a_random_square_is_cut_from_what_evaluation_shows_the_centre_of() -> None:
    preprocess = Preprocess(image_size=32, crop_fraction=0.8)
    image = noise(3, 50, 64)
    whole = evaluation_whole(image, preprocess, 32)
    assert whole.shape == (3, 40, 51)
    windows = {
        tuple(whole[:, i : i + 32, j : j + 32].flatten().tolist())
        for i in range(9)
        for j in range(20)
    }
    found = {
        tuple(
            augmented(image, s, preprocess=preprocess, crop="random", flip=0.0).flatten().tolist()
        )
        for s in range(30)
    }
    assert found <= windows
    assert len(found) > 15


# What does not go


def test_a_policy_beside_randaugment_is_refused() -> None:
    with pytest.raises(ValidationError, match="exclude each other; give one"):
        Augment(policy="augmix", randaugment="rand-m9")


@pytest.mark.parametrize("name", ["augmix", "fast_autoaugment_cifar10"])
def test_images_of_other_channels_are_refused_in_one_line(name: str) -> None:
    five = Preprocess(image_size=32, channels=5, mean=(0.5,), std=(0.5,))
    with pytest.raises(Refused, match=r"images of 1 or 3 channels, not 5") as refusal:
        SampleAugment(Augment.model_validate({"policy": name}), five)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("channels", "mean", "fill"),
    [(5, (0.5,), 128), (1, (0.7, 0.6, 0.5), 153), (3, (0.5,) * 3, 128)],
)
def test_cutout_takes_any_number_of_channels(
    channels: int, mean: tuple[float, ...], fill: int
) -> None:
    preprocess = Preprocess(
        image_size=16, channels=channels, mean=mean, std=(0.5,), crop_fraction=1.0
    )
    image: Tensor = noise(channels, 16, 16) % 100
    transform = SampleAugment(Augment(crop="none", cutout=4), preprocess)
    found = transform(Sample(image, 0), seeded(), 16).x
    assert int((found == fill).sum()) >= channels * 4
