"""RandAugment against timm's, both driven by the same draws."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from timm.data import auto_augment

from ninefold.augment.randaugment import (
    INCREASING,
    MAGNITUDES,
    OPERATIONS,
    PLAIN,
    Canvas,
    read_randaugment,
)
from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess

FILL = (124, 116, 104)
SWIN = "rand-m9-mstd0.5-inc1"


def picture(mode: str) -> Image.Image:
    """Smooth colours with some noise, so that every operation has something to do."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:29, 0:41]
    waves = [np.sin(rows / 5 + k) + np.cos(columns / (4 + k)) for k in range(3)]
    noise = generator.normal(0, 12, (29, 41, 3))
    array = (110 + 35 * np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(array).convert(mode)


def tensor(image: Image.Image) -> torch.Tensor:
    array = np.array(image)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


@pytest.fixture(autouse=True)
def _posterize_of_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow used to give black for no bits, as timm expects; now it raises, and timm with it."""
    real = ImageOps.posterize

    def posterize(image: Image.Image, bits: int) -> Image.Image:
        return real(image, bits) if bits > 0 else image.point(lambda _: 0)

    monkeypatch.setattr(ImageOps, "posterize", posterize)


def timm_name(name: str, magnitudes: str) -> str:
    if name.startswith("Translate"):
        return f"{name}Rel"
    return name if magnitudes == "inc0" or INCREASING[name] is PLAIN[name] else f"{name}Increasing"


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("magnitudes", ["inc0", "inc1"])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_gives_timms_pixels_at_every_level_and_sign(
    name: str, magnitudes: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = FILL if mode == "RGB" else FILL[0]
    image = picture(mode)
    for resample in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
        hparams = {"img_mean": fill, "interpolation": resample, "magnitude_max": 20}
        for level in (0.0, 2.5, 7.3, 9.0, 10.0, 14.0):
            for sign in (1, -1):
                stub = SimpleNamespace(random=lambda sign=sign: 0.5 - 0.1 * sign)
                monkeypatch.setattr(auto_augment, "random", stub)
                theirs = auto_augment.AugmentOp(
                    timm_name(name, magnitudes), prob=1.0, magnitude=level, hparams=hparams
                )
                argument = MAGNITUDES[magnitudes][name](level / 10, sign)
                ours = OPERATIONS[name](image, argument, Canvas(fill, resample))
                assert np.array_equal(np.array(ours), np.array(theirs(image))), (level, sign)


def test_the_operations_are_those_that_timm_draws_from() -> None:
    assert [timm_name(n, "inc0") for n in PLAIN] == auto_augment._RAND_TRANSFORMS
    assert [timm_name(n, "inc1") for n in INCREASING] == auto_augment._RAND_INCREASING_TRANSFORMS
    assert set(PLAIN) == set(OPERATIONS)


@pytest.mark.parametrize("notation", [SWIN, "rand-m7-n3-mstd1-p0.8-mmax20", "rand-inc1"])
def test_whole_images_equal_timms_for_the_same_draws(
    notation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = read_randaugment(notation, Preprocess())
    hparams = {"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC}
    theirs = auto_augment.rand_augment_transform(notation, hparams)
    image, changed = picture("RGB"), 0
    for seed in range(40):
        expected = _timm_driven(theirs, image, seed, monkeypatch)
        found = ours(tensor(image), torch.Generator().manual_seed(seed))
        assert torch.equal(found, tensor(expected)), seed
        changed += not torch.equal(found, tensor(image))
    assert changed > 15


def _timm_driven(
    transform: auto_augment.RandAugment,
    image: Image.Image,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> Image.Image:
    """timm's result where its choices, chances, noise and signs are the draws of our generator."""
    generator, layers = torch.Generator().manual_seed(seed), transform.num_layers
    draws = torch.rand(layers, 3, generator=generator, dtype=torch.float64).tolist()
    noise = torch.randn(layers, generator=generator, dtype=torch.float64).tolist()

    def driven(op: auto_augment.AugmentOp, chance: float, coin: float, shift: float) -> object:
        def call(img: Image.Image) -> Image.Image:
            answers = iter([chance, coin])
            stub = SimpleNamespace(
                random=lambda: next(answers), gauss=lambda mean, std: mean + std * shift
            )
            monkeypatch.setattr(auto_augment, "random", stub)
            return op(img)

        return call

    def choice(ops: list[auto_augment.AugmentOp], size: int, **_: object) -> list[object]:
        assert size == layers
        picks = [ops[int(pick * len(ops))] for pick, _, _ in draws]
        return [
            driven(op, chance, coin, shift)
            for op, (_, chance, coin), shift in zip(picks, draws, noise, strict=True)
        ]

    stub = SimpleNamespace(random=SimpleNamespace(choice=choice))
    monkeypatch.setattr(auto_augment, "np", stub)
    return transform(image)


def test_swins_notation_means_what_timm_reads_in_it() -> None:
    ours = read_randaugment(SWIN, Preprocess())
    assert (ours.magnitude, ours.std, ours.layers, ours.probability) == (9, 0.5, 2, 0.5)
    assert ours.magnitudes == "inc1"
    assert ours.canvas == Canvas(FILL, Image.Resampling.BICUBIC)


def test_grey_images_get_a_grey_fill() -> None:
    preprocess = Preprocess(channels=1, mean=(0.5,), std=(0.2,), interpolation="bilinear")
    ours = read_randaugment("rand-m10-n1-p1", preprocess)
    assert ours.canvas == Canvas(128, Image.Resampling.BILINEAR)
    grey = tensor(picture("L"))
    for seed in range(30):
        assert ours(grey, torch.Generator().manual_seed(seed)).shape == grey.shape


def test_one_mean_for_all_channels_fills_all_of_them() -> None:
    ours = read_randaugment("rand", Preprocess(mean=(0.25,), std=(0.5,)))
    assert ours.canvas.fill == (64, 64, 64)


def test_it_travels_to_another_process() -> None:
    ours = read_randaugment(SWIN, Preprocess())
    assert pickle.loads(pickle.dumps(ours)) == ours


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("randm9", "does not begin with rand-, augreg-, torchvision-; did you mean 'rand'"),
        ("augmix-m5", "does not begin with rand-, augreg-, torchvision-"),
        ("rand-w0", "cannot read 'w0'"),
        ("rand-m9-tweights", "cannot read 'tweights'"),
        ("rand-n1.5", "n is 1.5; a whole number from 0 to 100"),
        ("rand-m101", "m is 101; a number from 0 to 100"),
        ("rand-m99", "m is 99; a number from 0 to 10 is wanted, or mmax99 beside it"),
        ("rand-m20.5-mmax20", "m is 20.5; a number from 0 to 20 is wanted, or mmax21"),
        ("rand-mstd101", "mstd is 101; a number from 0 to 100"),
        ("rand-p2", "p is 2; a number from 0 to 1"),
        ("rand-inc2", "inc is 2; a whole number from 0 to 1"),
        ("rand-mmax0", "mmax is 0; a whole number from 1 to 100"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(notation: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        read_randaugment(notation, Preprocess())
    assert "\n" not in str(refusal.value)


def test_images_of_other_channels_are_refused_before_any_is_seen() -> None:
    with pytest.raises(Refused, match="works on images of 1 or 3 channels, not 4"):
        read_randaugment(SWIN, Preprocess(channels=4, mean=(0.5,), std=(0.5,)))
