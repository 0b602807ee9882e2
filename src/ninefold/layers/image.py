"""Resizing and cropping of decoded images: uint8 in, uint8 out, any number of channels.

Source: antialiased resampling as in Pillow (a filter stretched by the scale, values rounded after
    each axis); measured within 1/255 of it on photos, 3/255 on noise.
Shapes: c channels, h rows, w columns of the source; r rows, s columns of the result.
"""

from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from ninefold.core.preprocess import Preprocess

Interpolation = Literal["bicubic", "bilinear", "nearest"]

_FAST_CHANNELS = 4
"""torch resizes up to 4 interleaved uint8 channels with vector instructions, about 10 times faster
than more of them, or than planes; so wider images go through in parts."""

_LONGEST = 8
"""Times its shorter side that an image is long at the most, where only its middle is shown."""


def resize(
    image: UInt8[Tensor, "c h w"],
    size: tuple[int, int],
    interpolation: Interpolation = "bicubic",
) -> UInt8[Tensor, "c r s"]:
    """The whole image at another size.

    Args:
        image: On the CPU; a channels-last layout (as `data.decode` gives it) is the fastest.
        size: Rows and columns of the result.
        interpolation: Always antialiased, `nearest` excepted.
    """
    if tuple(image.shape[1:]) == size:
        return image
    if interpolation == "nearest":
        return F.interpolate(image[None], size, mode="nearest-exact")[0]
    parts = [
        F.interpolate(
            part[None].contiguous(memory_format=torch.channels_last),
            size,
            mode=interpolation,
            antialias=True,
        )[0]
        for part in image.split(_FAST_CHANNELS)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def crop(
    image: UInt8[Tensor, "c h w"], top: int, left: int, height: int, width: int
) -> UInt8[Tensor, "c r s"]:
    """A view of the rectangle whose upper left pixel is `(top, left)`; it must lie inside."""
    rows, columns = image.shape[1:]
    inside = 0 <= top <= top + height <= rows and 0 <= left <= left + width <= columns
    assert inside, (top, left, height, width, rows, columns)
    return image[:, top : top + height, left : left + width]


def evaluation_view(
    image: UInt8[Tensor, "c h w"], preprocess: Preprocess, image_size: int
) -> UInt8[Tensor, "c r s"]:
    """The square that a model is shown at evaluation, prediction and serving.

    Args:
        image: The upright image.
        preprocess: Its `crop_fraction`, `squash` and `interpolation` count.
        image_size: Side of the square, in pixels; `preprocess.image_size`, but in training stages.

    Source: the rule of torchvision's and timm's evaluation (sizes rounded down, margins to even).
    Departs: of an image more than 8 times as long as wide, only the middle is resized at all; one
        of 65535 x 1 pixels would take 13 GB. The square shifts by less than a pixel of the source.
    """
    whole = evaluation_whole(image, preprocess, image_size)
    height, width = whole.shape[1:]
    top, left = round((height - image_size) / 2), round((width - image_size) / 2)
    return crop(whole, top, left, image_size, image_size)


def evaluation_whole(
    image: UInt8[Tensor, "c h w"], preprocess: Preprocess, image_size: int
) -> UInt8[Tensor, "c r s"]:
    """What `evaluation_view` cuts its square from, at the size that it has there."""
    if preprocess.squash:
        return resize(image, (image_size, image_size), preprocess.interpolation)
    image = _without_far_ends(image)
    rows, columns = image.shape[1:]
    short = int(image_size / preprocess.crop_fraction)
    height = max(short, short * rows // columns)
    width = max(short, short * columns // rows)
    return resize(image, (height, width), preprocess.interpolation)


def _without_far_ends(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c r s"]:
    """The middle of a very long or wide image; its centre stays the centre."""
    rows, columns = image.shape[1:]
    longest = _LONGEST * min(rows, columns)
    top, left = max(0, rows - longest) // 2, max(0, columns - longest) // 2
    return crop(image, top, left, rows - 2 * top, columns - 2 * left)
