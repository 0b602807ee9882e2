"""Training images, one by one: where pixels go (crop, pad, flip), then what colours become.

Source: Inception crop, Szegedy et al. 2015, arXiv 1409.4842, by the rule of timm and torchvision
    (TensorFlow's: `augment.inception`);
    padded crop, as for CIFAR since He et al. 2016; colour jitter as in torchvision.
Shapes: c channels, h rows, w columns, s the side of the square that is asked for.

A sample transform is `(sample, generator, image_size) -> sample`: it draws from the generator
alone, so that a sample depends on (seed, epoch, index) and on nothing else.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from ninefold.augment.augreg import DRAWN, AugRegRandAugment
from ninefold.augment.config import Augment
from ninefold.augment.inception import distorted_box, resize_plainly
from ninefold.augment.policies import cut_out, find_policy
from ninefold.augment.randaugment import read_randaugment
from ninefold.core.batch import Sample
from ninefold.core.preprocess import Preprocess
from ninefold.layers.image import crop, evaluation_view, evaluation_whole, resize

_TRIES = 10


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class SampleAugment:
    """What training does to one decoded image.

    Args:
        augment: Its crop, flip, RandAugment, policy, colour jitter and Cutout count here.
        preprocess: Channels, mean (as fill colour) and the way of resizing.

    Raises:
        Refused: a notation of RandAugment that cannot be read, or images that it or the policy
            cannot change.
    """

    def __init__(self, augment: Augment, preprocess: Preprocess) -> None:
        self._augment, self._preprocess = augment, preprocess
        self._randaugment = (
            read_randaugment(augment.randaugment, preprocess) if augment.randaugment else None
        )
        self._policy = find_policy(augment.policy, preprocess.channels) if augment.policy else None
        self._mean = tuple(min(255, round(255 * value)) for value in preprocess.mean)

    def __call__(self, sample: Sample, generator: torch.Generator, image_size: int) -> Sample:
        """The sample with an image `(c, s, s)`, uint8 as it came; where RandAugment is left to the
        device, with what it is to do under `extra[DRAWN]`, and nothing done yet."""
        image = self._place(sample.x, generator, image_size)
        if self._augment.on_device and isinstance(self._randaugment, AugRegRandAugment):
            extra = {**sample.extra, DRAWN: self._randaugment.draw(generator)}
            return replace(sample, x=image.contiguous(), extra=extra)
        image = self._recolour(image, generator)
        if self._augment.cutout:
            image = cut_out(image, self._augment.cutout, self._mean, generator)
        return replace(sample, x=image.contiguous())

    def _place(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator, image_size: int
    ) -> UInt8[Tensor, "c s s"]:
        augment = self._augment
        if augment.crop == "random_resized":
            window = inception_window(image.shape[1], image.shape[2], augment, generator)
            part = crop(image, window.top, window.left, window.height, window.width)
            image = resize(part, (image_size, image_size), self._preprocess.interpolation)
        elif augment.crop == "random":
            whole = evaluation_whole(image, self._preprocess, image_size)
            image = _somewhere(whole, image_size, generator)
        elif augment.crop == "inception":
            box = distorted_box(image.shape[1], image.shape[2], augment, generator)
            image = resize_plainly(crop(image, *box), image_size)
        else:
            image = evaluation_view(image, self._preprocess, image_size)
        if augment.crop == "pad":
            image = _somewhere(F.pad(image, (image_size // 8,) * 4), image_size, generator)
        elif augment.crop == "reflect":
            image = _somewhere(_mirrored(image, image_size // 8), image_size, generator)
        if augment.flip and float(torch.rand((), generator=generator)) < augment.flip:
            image = image.flip(2)
        return image

    def _recolour(
        self, image: UInt8[Tensor, "c s s"], generator: torch.Generator
    ) -> UInt8[Tensor, "c s s"]:
        if self._randaugment is not None:
            return self._randaugment(image, generator)
        if self._policy is not None:
            return self._policy(image, generator)
        if self._augment.color_jitter:
            return jitter(image, self._augment.color_jitter, generator)
        return image


def _somewhere(
    image: UInt8[Tensor, "c h w"], side: int, generator: torch.Generator
) -> UInt8[Tensor, "c s s"]:
    """A square of an image, at a random place."""
    height, width = image.shape[1:]
    if height == width:
        top, left = torch.randint(height - side + 1, (2,), generator=generator).tolist()
    else:
        top, left = (
            int(torch.randint(length - side + 1, (), generator=generator))
            for length in (height, width)
        )
    return crop(image, top, left, side, side)


def _mirrored(image: UInt8[Tensor, "c h w"], margin: int) -> UInt8[Tensor, "c r s"]:
    """Wider by a margin on each side, mirrored at the outermost pixels (these are not repeated)."""
    for axis in (1, 2):
        last = image.shape[axis] - 1
        place = torch.arange(-margin, last + 1 + margin).abs()
        image = image.index_select(axis, last - (last - place).abs())
    return image


def inception_window(
    height: int, width: int, augment: Augment, generator: torch.Generator
) -> Window:
    """A part of an image: area uniform, aspect log-uniform, place uniform.

    Of ten tries the first that lies inside is taken, else the largest central part of an allowed
    aspect.
    """
    area, aspects = height * width, augment.crop_aspect
    draws = torch.rand(_TRIES, 4, generator=generator, dtype=torch.float64).tolist()
    for share, log_aspect, down, right in draws:
        part = area * _between(share, *augment.crop_area)
        aspect = math.exp(_between(log_aspect, *map(math.log, aspects)))
        rows, columns = round(math.sqrt(part / aspect)), round(math.sqrt(part * aspect))
        if 0 < rows <= height and 0 < columns <= width:
            top, left = int(down * (height - rows + 1)), int(right * (width - columns + 1))
            return Window(top, left, rows, columns)
    rows, columns = height, width
    if width / height < aspects[0]:
        rows = round(width / aspects[0])
    elif width / height > aspects[1]:
        columns = round(height * aspects[1])
    return Window((height - rows) // 2, (width - columns) // 2, rows, columns)


def jitter(
    image: UInt8[Tensor, "c h w"], strength: float, generator: torch.Generator
) -> UInt8[Tensor, "c h w"]:
    """Brightness, contrast and saturation by a random factor each, in random order.

    Args:
        strength: Factors are uniform in `[max(0, 1 - strength), 1 + strength]`.

    Images of other than 3 channels have no saturation; their contrast is about the mean of all
    channels.
    """
    factors = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    for i in torch.randperm(3, generator=generator).tolist():
        factor = _between(factors[i], max(0.0, 1.0 - strength), 1.0 + strength)
        image = (brightness, contrast, saturation)[i](image, factor)
    return image


def brightness(image: UInt8[Tensor, "c h w"], factor: float) -> UInt8[Tensor, "c h w"]:
    """Away from black, or towards it for a factor below 1."""
    return _blend(image, torch.zeros(()), factor)


def contrast(image: UInt8[Tensor, "c h w"], factor: float) -> UInt8[Tensor, "c h w"]:
    """Away from the image's mean grey, or towards it."""
    return _blend(image, _grey(image).mean(), factor)


def saturation(image: UInt8[Tensor, "c h w"], factor: float) -> UInt8[Tensor, "c h w"]:
    """Away from each pixel's grey, or towards it."""
    return _blend(image, _grey(image), factor) if len(image) == 3 else image


def _grey(image: UInt8[Tensor, "c h w"]) -> Float[Tensor, "d h w"]:
    if len(image) != 3:
        return image.float()
    red, green, blue = image.float()
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()[None]


def _blend(
    image: UInt8[Tensor, "c h w"], other: Float[Tensor, "*d"], factor: float
) -> UInt8[Tensor, "c h w"]:
    return (image * factor + other * (1.0 - factor)).clamp(0, 255).to(torch.uint8)


def _between(u: float, low: float, high: float) -> float:
    return low + (high - low) * u
