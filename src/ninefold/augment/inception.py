"""Inception crop by TensorFlow's rule: a random box of an image, resized without antialiasing.

Source: Szegedy et al. 2015, arXiv 1409.4842; box of TensorFlow's `sample_distorted_bounding_box`
    (`GenerateRandomCrop`) with the whole image as the object and none of it required; resizing of
    `tf.image.resize(method="bilinear", antialias=False)`; called as in google-research/big_vision
    (`pp/ops_image.py`), with which AugReg's models were trained.
Departs: computed in double precision; TensorFlow's float32 may round a tie the other way.
Shapes: c channels, h rows, w columns, s the side of the square that is asked for.
"""

import math

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from ninefold.augment.config import Augment

_TRIES = 100


def distorted_box(
    height: int, width: int, augment: Augment, generator: torch.Generator
) -> tuple[int, int, int, int]:
    """First row, first column, rows and columns of a random part of an image.

    Aspect uniform; height uniform between those that the least and the largest area allow; place
    uniform, but never at the last row or column that would fit. After 100 misfits, the whole image.
    """
    narrow, wide = augment.crop_aspect
    for _ in range(_TRIES):
        draws = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        aspect = narrow + (wide - narrow) * draws[0]
        size = box_size(height, width, augment.crop_area, aspect, draws[1])
        if size is not None:
            rows, columns = size
            top, left = int(draws[2] * (height - rows)), int(draws[3] * (width - columns))
            return top, left, rows, columns
    return 0, 0, height, width


def box_size(
    height: int, width: int, area: tuple[float, float], aspect: float, draw: float
) -> tuple[int, int] | None:
    """Rows and columns of a box of that aspect; nothing where its area or sides do not fit."""
    least, largest = (share * height * width for share in area)
    low = round(math.sqrt(least / aspect))
    high = round(math.sqrt(largest / aspect))
    if round(high * aspect) > width:  # the most rows whose columns still fit
        high = int((width + 0.5 - 1e-7) / aspect)
        high -= round(high * aspect) > width
    high = min(high, height)
    low = min(low, high)
    rows = low + int(draw * (high - low + 1))
    rows += rows * round(rows * aspect) < least
    rows -= rows * round(rows * aspect) > largest
    columns = round(rows * aspect)
    fits = 0 < rows <= height and 0 < columns <= width
    return (rows, columns) if fits and least <= rows * columns <= largest else None


def resize_plainly(image: UInt8[Tensor, "c h w"], side: int) -> UInt8[Tensor, "c s s"]:
    """Bilinear between the four nearest pixels, however much smaller; fractions are cut off."""
    grown = F.interpolate(image[None].float(), (side, side), mode="bilinear", align_corners=False)
    return grown[0].clamp(0, 255).to(torch.uint8)
