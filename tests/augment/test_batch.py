"""What training does to a batch, against timm's Mixup and RandomErasing for the same draws."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.data import mixup as timm_mixup
from timm.data import random_erasing
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.distributions import Beta

from ninefold.augment.batch import (
    ERASED_AREA,
    BatchAugment,
    cutmix,
    cutmix_box,
    erase,
    erased_boxes,
    mixed_target,
)
from ninefold.augment.config import Augment
from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.objects import name_of
from ninefold.tasks.classification import Classification
from ninefold.tasks.config import Loss

CLASSES = 5


def batch(size: int = 6, seed: int = 0, height: int = 9, width: int = 12) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, height, width, generator=generator)
    return Batch(images, torch.randint(CLASSES, (size,), generator=generator))


def timm_mixed(augment: Augment, plain: Batch, smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """timm's result where numpy hands out what torch's global generator would."""
    chance, coin, down, right = torch.rand(4, dtype=torch.float64).tolist()
    places, chances = iter([down, right]), iter([chance, coin])

    def beta(alpha: float, _: float) -> float:
        return float(Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())

    def randint(low: int, high: int, size: None) -> int:
        return low + int(next(places) * (high - low))

    draws = SimpleNamespace(rand=lambda: next(chances), beta=beta, randint=randint)
    real = timm_mixup.np
    timm_mixup.np = SimpleNamespace(random=draws, sqrt=np.sqrt, clip=np.clip)
    try:
        mixer = timm_mixup.Mixup(
            augment.mixup,
            augment.cutmix,
            prob=augment.mix_probability,
            switch_prob=augment.cutmix_share,
            label_smoothing=smoothing,
            num_classes=CLASSES,
        )
        assert isinstance(plain.x, Tensor)
        return mixer(plain.x.clone(), plain.y)
    finally:
        timm_mixup.np = real


@pytest.mark.parametrize("alphas", [(0.8, 1.0), (0.8, 0.0), (0.0, 1.0), (0.2, 0.2)])
def test_mixed_images_and_targets_are_timms_for_the_same_draws(alphas: tuple[float, float]) -> None:
    augment = Augment(mixup=alphas[0], cutmix=alphas[1], mix_probability=0.9)
    mixed = 0
    for seed in range(40):
        torch.manual_seed(seed)
        ours = BatchAugment(augment, CLASSES)(batch(seed=seed))
        torch.manual_seed(seed)
        images, target = timm_mixed(augment, batch(seed=seed))
        assert isinstance(ours.y, Tensor)
        mixed += ours.y.ndim == 2
        soft = ours.y if ours.y.ndim == 2 else nn.functional.one_hot(ours.y, CLASSES).float()
        torch.testing.assert_close(ours.x, images, rtol=0, atol=1e-6)
        torch.testing.assert_close(soft, target, rtol=0, atol=1e-6)
    assert 30 <= mixed < 40


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0)])
def test_smoothing_by_the_loss_equals_smoothing_of_the_mixed_target(
    alphas: tuple[float, float],
) -> None:
    augment = Augment(mixup=alphas[0], cutmix=alphas[1])
    task = Classification(tuple("abcde"), Loss(label_smoothing=0.1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 12, CLASSES))
    for seed in range(10):
        torch.manual_seed(seed)
        ours = BatchAugment(augment, CLASSES)(batch(seed=seed))
        torch.manual_seed(seed)
        images, target = timm_mixed(augment, batch(seed=seed), smoothing=0.1)
        expected = SoftTargetCrossEntropy()(model(images), target)
        torch.testing.assert_close(task.loss(model, ours)["loss"], expected)


def test_unmixed_smoothing_is_timms_too() -> None:
    task = Classification(tuple("abcde"), Loss(label_smoothing=0.1))
    logits = nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 12, CLASSES))
    plain = batch()
    assert isinstance(plain.y, Tensor)
    target = timm_mixup.mixup_target(plain.y, CLASSES, smoothing=0.1)
    expected = SoftTargetCrossEntropy()(logits(plain.x), target)
    torch.testing.assert_close(task.loss(logits, plain)["loss"], expected)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_the_weight_after_cutmix_is_the_share_of_pixels_that_stayed(
    height: int, width: int, weight: float, down: float, right: float
) -> None:
    images = torch.stack([torch.zeros(1, height, width), torch.ones(1, height, width)])
    box = cutmix_box(height, width, weight, down, right)
    stayed = cutmix(images, box)
    assert math.isclose(stayed, 1 - float(images[0].mean()), abs_tol=1e-6)
    assert math.isclose(stayed, float(images[1].mean()), abs_tol=1e-6)
    assert stayed >= weight - 1e-9  # the border may cut the rectangle, never enlarge it


def test_the_shares_of_mixing_and_of_cutmix_are_those_asked_for() -> None:
    augment = BatchAugment(
        Augment(mixup=0.8, cutmix=1.0, mix_probability=0.5, cutmix_share=0.25), CLASSES
    )
    torch.manual_seed(0)
    kinds = {"none": 0, "cutmix": 0, "mixup": 0}
    plain = batch(size=2, height=16, width=16)
    assert isinstance(plain.x, Tensor)
    for _ in range(800):
        mixed = augment(batch(size=2, height=16, width=16))
        assert isinstance(mixed.y, Tensor)
        kept = (mixed.x == plain.x) | (mixed.x == plain.x.flip(0))
        cut = bool(kept.all())
        kinds["none" if mixed.y.ndim == 1 else "cutmix" if cut else "mixup"] += 1
    assert 350 <= kinds["none"] <= 450  # 400 +- 3.5 standard deviations
    assert 65 <= kinds["cutmix"] <= 135  # 100 likewise


def test_in_a_batch_of_odd_length_the_middle_image_is_mixed_with_itself() -> None:
    plain = batch(size=5)
    torch.manual_seed(1)
    mixed = BatchAugment(Augment(mixup=0.8), CLASSES)(batch(size=5))
    assert isinstance(mixed.y, Tensor)
    assert isinstance(plain.y, Tensor)
    torch.testing.assert_close(mixed.x[2], plain.x[2])
    torch.testing.assert_close(mixed.y[2], nn.functional.one_hot(plain.y[2], CLASSES).float())
    assert not torch.allclose(mixed.x[0], plain.x[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_targets_of_several_labels_are_mixed_as_they_are(dtype: torch.dtype) -> None:
    target = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]]).to(dtype)
    expected = torch.tensor([[0.75, 0.75, 0], [0, 1, 1], [0.25, 0.25, 0]])
    torch.testing.assert_close(mixed_target(target, 0.75, 3), expected)


def test_without_any_augmentation_the_batch_stays_as_it_is() -> None:
    plain = batch()
    assert BatchAugment(Augment(), CLASSES)(plain) is plain


@pytest.mark.parametrize("count", [1, 3])
def test_erased_rectangles_are_timms_for_the_same_draws(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.ones(60, 3, 21, 13)
    ours, theirs = images.clone(), images.clone()
    torch.manual_seed(0)
    erase(ours, Augment(erase=0.7, erase_count=count, erase_mode="constant"))
    torch.manual_seed(0)
    _timm_erase(theirs, 0.7, count, monkeypatch)
    assert torch.equal(ours, theirs)
    assert 30 <= int((ours == 0).flatten(1).any(1).sum()) <= 52


def _timm_erase(
    images: Tensor, probability: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chances = iter(torch.rand(len(images), dtype=torch.float64).tolist())
    table: list[float] = []
    fresh = True

    def uniform(low: float, high: float) -> float:
        nonlocal table, fresh
        if low == 0.02:  # the area: a new try; the last one's places may be left over
            if fresh or len(table) < 4:
                table = torch.rand(10, 4, dtype=torch.float64).flatten().tolist()
                fresh = False
            elif len(table) % 4:
                table = table[len(table) % 4 :]
        return low + (high - low) * table.pop(0)

    def randint(low: int, high: int) -> int:
        nonlocal fresh
        if low == 1:  # the number of rectangles
            fresh = True
            return int(torch.randint(1, high + 1, ()))
        place = low + int(table.pop(0) * (high - low + 1))
        if len(table) % 4 == 0:
            fresh = True  # both places are drawn: the next area begins another rectangle
        return place

    stub = SimpleNamespace(random=lambda: next(chances), uniform=uniform, randint=randint)
    monkeypatch.setattr(random_erasing, "random", stub)
    random_erasing.RandomErasing(probability, mode="const", max_count=count, device="cpu")(images)


def test_of_an_image_of_one_row_nothing_is_erased() -> None:
    images = torch.ones(50, 3, 1, 400)
    erase(images, Augment(erase=1.0, erase_mode="constant"))
    assert bool((images == 1).all())


def test_erased_areas_lie_within_their_bounds() -> None:
    torch.manual_seed(0)
    shares = []
    for _ in range(300):
        [(top, bottom, left, right)] = erased_boxes(224, 224, 1)
        assert 0 <= top < bottom <= 224
        assert 0 <= left < right <= 224
        shares.append((bottom - top) * (right - left) / 224**2)
    assert ERASED_AREA[0] * 0.95 <= min(shares) < 0.03
    assert 0.31 < max(shares) <= ERASED_AREA[1] * 1.02


def test_erased_pixels_are_normal_noise_and_all_others_stay() -> None:
    images = torch.full((200, 3, 32, 32), 7.0)
    torch.manual_seed(0)
    erase(images, Augment(erase=0.5))
    noise = images[images != 7.0]
    assert 0.03 < len(noise) / images.numel() < 0.15
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    untouched = (images == 7.0).flatten(1).all(1).float().mean()
    assert 0.37 < float(untouched) < 0.63


def test_all_frames_of_a_clip_are_cut_and_erased_at_one_place() -> None:
    frames = batch().x[:, :, None].expand(-1, -1, 4, -1, -1)
    for augment in (Augment(cutmix=1.0), Augment(erase=1.0, erase_mode="constant")):
        torch.manual_seed(5)
        clips = BatchAugment(augment, CLASSES)(Batch(frames.clone(), batch().y))
        torch.manual_seed(5)
        images = BatchAugment(augment, CLASSES)(batch())
        assert torch.equal(clips.x, images.x[:, :, None].expand_as(frames))
        assert torch.equal(clips.y, images.y)
        assert not torch.equal(clips.x, frames)


def test_mixup_with_the_image_before_is_big_visions_in_a_loop() -> None:
    """lambda of Beta(alpha, alpha) or its rest, whichever is larger; x_i with x_{i-1}."""
    augment = Augment(mixup=0.5, mix_with="previous")
    weights = []
    for seed in range(40):
        plain = batch()
        torch.manual_seed(seed)
        mixed = BatchAugment(augment, CLASSES)(batch())
        torch.manual_seed(seed)
        torch.rand(4, dtype=torch.float64)
        drawn = float(Beta(torch.tensor(0.5), torch.tensor(0.5)).sample())
        weight = max(drawn, 1.0 - drawn)
        for i in range(6):
            x = weight * plain.x[i] + (1.0 - weight) * plain.x[i - 1]
            torch.testing.assert_close(mixed.x[i], x)
            y = torch.zeros(CLASSES)
            y[plain.y[i]] += weight
            y[plain.y[i - 1]] += 1.0 - weight
            torch.testing.assert_close(mixed.y[i], y)
        weights.append(drawn)
    assert min(weights) < 0.4


def test_cutmix_takes_its_part_from_the_image_before_where_that_is_asked() -> None:
    plain, torn = batch(), batch()
    box = (2, 7, 3, 9)
    stayed = cutmix(torn.x, box, "previous")
    for i in range(6):
        assert torch.equal(torn.x[i, :, 2:7, 3:9], plain.x[i - 1, :, 2:7, 3:9])
    expected = stayed * torch.eye(CLASSES)[plain.y[0]]
    expected[plain.y[-1]] += 1 - stayed
    torch.testing.assert_close(mixed_target(plain.y, stayed, CLASSES, "previous")[0], expected)


def test_the_same_seed_gives_the_same_batch() -> None:
    augment = BatchAugment(Augment(mixup=0.8, cutmix=1.0, erase=0.5), CLASSES)
    torch.manual_seed(3)
    first = augment(batch())
    torch.manual_seed(3)
    second = augment(batch())
    third = augment(batch())
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.y, second.y)
    assert not torch.equal(first.x, third.x)


def darken(given: Batch) -> Batch:
    assert isinstance(given.x, Tensor)
    return Batch(given.x - 1, given.y)


class Darken:
    def __call__(self, given: Batch) -> Batch:
        return darken(given)


def test_the_users_own_augmentation_comes_last_as_function_or_class() -> None:
    for own in (darken, Darken):
        augment = BatchAugment(Augment(erase=1.0, erase_mode="constant", custom=name_of(own)), 2)
        assert float(augment(batch()).x.max()) > -1
        assert (augment(batch()).x == -1).any()


def test_what_is_no_augmentation_is_refused() -> None:
    with pytest.raises(Refused, match="an augmentation is called as f"):
        BatchAugment(Augment(custom="math:pi"), CLASSES)
    with pytest.raises(Refused, match="did you mean 'darken'"):
        BatchAugment(Augment(custom=f"{__name__}:darkenn"), CLASSES)
    forgetful = BatchAugment(Augment(custom="builtins:len"), CLASSES)
    with pytest.raises(Failed, match="gave a int; an augmentation gives the batch back"):
        forgetful(batch())
