"""Training batches on the device: random erasing, then Mixup or CutMix, then the user's own.

Source: Random erasing, Zhong et al. 2020, arXiv 1708.04896; Mixup, Zhang et al. 2018, arXiv
    1710.09412; CutMix, Yun et al. 2019, arXiv 1905.04899; chances and rules of timm's
    `RandomErasing` and of its `Mixup` in batch mode, with which Swin was trained; for `mix_with`
    `previous` of big_vision's `get_mixup`, with which AugReg's models were.
Departs: each of several processes draws a weight of its own and mixes within its share, where
    big_vision has one weight for the whole batch.
Shapes: b images or clips, c channels, t frames of a clip, h rows, w columns, k classes.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F

from ninefold.augment.config import Augment
from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.objects import find

ERASED_AREA = (0.02, 1 / 3)
"""Least and largest share of an image that is erased."""
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Least and largest height over width of an erased rectangle, drawn log-uniformly."""
_TRIES = 10

Box = tuple[int, int, int, int]
"""First row, end row, first column, end column."""


class BatchAugment:
    """What training does to a batch of normalised images.

    Numbers are drawn from torch's global generators, which the loop seeds by the step: shapes and
    weights on the CPU, so that nothing waits for the device, and noise where the images are.

    Args:
        augment: Its erasing, mixing and `custom` count here.
        num_classes: Classes of the targets that mixing makes of class ids.

    Raises:
        Refused: a custom augmentation that cannot be found or called.
    """

    def __init__(self, augment: Augment, num_classes: int) -> None:
        self._augment, self._num_classes = augment, num_classes
        self._custom = _custom(augment.custom)

    def __call__(self, batch: Batch) -> Batch:
        """The changed batch; mixed targets are `(b, k)`. The images are changed in place."""
        if self._augment.erase:
            erase(_images(batch), self._augment)
        if self._augment.mixup or self._augment.cutmix:
            batch = self._mix(batch)
        if self._custom is not None:
            batch = self._custom(batch)
            if not isinstance(batch, Batch):
                name, kind = self._augment.custom, type(batch).__name__
                raise Failed(f"{name}: gave a {kind}; an augmentation gives the batch back")
        return batch

    def _mix(self, batch: Batch) -> Batch:
        augment, images = self._augment, _images(batch)
        chance, coin, down, right = torch.rand(4, dtype=torch.float64).tolist()
        if chance >= augment.mix_probability:
            return batch
        cut = augment.cutmix > 0 and (augment.mixup == 0 or coin < augment.cutmix_share)
        alpha = augment.cutmix if cut else augment.mixup
        weight = float(Beta(torch.tensor(alpha), torch.tensor(alpha)).sample())
        partner: Partner = augment.mix_with
        if cut:
            box = cutmix_box(images.shape[-2], images.shape[-1], weight, down, right)
            weight = cutmix(images, box, partner)
        else:
            weight = max(weight, 1.0 - weight) if partner == "previous" else weight
            mixup(images, weight, partner)
        assert isinstance(batch.y, Tensor)
        assert batch.y.ndim < 3, "maps of ids cannot be mixed"
        return replace(batch, y=mixed_target(batch.y, weight, self._num_classes, partner))


Partner = Literal["reversed", "previous"]
"""What an image is mixed with: the one at its place in the reversed batch, or the one before it."""


def mixup(
    images: Float[Tensor, "b c *t h w"], weight: float, partner: Partner = "reversed"
) -> None:
    """Mix into each image, in place, another one.

    Args:
        weight: Share of the image itself.
    """
    images.lerp_(_partners(images, partner), 1.0 - weight)


def cutmix_box(height: int, width: int, weight: float, down: float, right: float) -> Box:
    """The rectangle that covers a share of `1 - weight` where the border does not cut it.

    Args:
        weight: Share of the image that stays.
        down: Where its centre lies, from 0 (first row) to 1 (excluded: past the last).
        right: Likewise among the columns.
    """
    side = math.sqrt(1.0 - weight)
    rows, columns = int(height * side), int(width * side)
    y, x = int(down * height), int(right * width)
    return (
        max(y - rows // 2, 0),
        min(y + (rows + 1) // 2, height),
        max(x - columns // 2, 0),
        min(x + (columns + 1) // 2, width),
    )


def cutmix(images: Float[Tensor, "b c *t h w"], box: Box, partner: Partner = "reversed") -> float:
    """Put into each image, in place, a rectangle of another one.

    Returns:
        The share of pixels that stayed: what the target is weighted with.
    """
    top, bottom, left, right = box
    part = images[..., top:bottom, left:right]
    part.copy_(_partners(part, partner))
    height, width = images.shape[-2:]
    return 1.0 - (bottom - top) * (right - left) / (height * width)


def mixed_target(
    target: Int[Tensor, " b"] | Float[Tensor, "b k"] | Int[Tensor, "b k"],
    weight: float,
    num_classes: int,
    partner: Partner = "reversed",
) -> Float[Tensor, "b k"]:
    """Targets mixed as the images are. Label smoothing is the loss's, and linear: it commutes."""
    hot = F.one_hot(target, num_classes) if target.ndim == 1 else target
    return hot * weight + _partners(hot, partner) * (1.0 - weight)


def _partners(values: Tensor, partner: Partner) -> Tensor:
    return values.flip(0) if partner == "reversed" else values.roll(1, 0)


def erase(images: Float[Tensor, "b c *t h w"], augment: Augment) -> None:
    """Overwrite rectangles of some images, in place: with normal noise a pixel, or with zeros."""
    chances = torch.rand(len(images), dtype=torch.float64).tolist()
    for image, chance in zip(images, chances, strict=True):
        if chance >= augment.erase:
            continue
        for box in erased_boxes(image.shape[-2], image.shape[-1], augment.erase_count):
            part = image[..., box[0] : box[1], box[2] : box[3]]
            if augment.erase_mode == "pixel":
                part.copy_(torch.randn_like(part, memory_format=torch.contiguous_format))
            else:
                part.zero_()


def erased_boxes(height: int, width: int, most: int) -> list[Box]:
    """From 1 to `most` rectangles that share the area; one is left out after ten misfits."""
    count = int(torch.randint(1, most + 1, ())) if most > 1 else 1
    boxes: list[Box] = []
    for _ in range(count):
        for share, log_aspect, down, right in torch.rand(_TRIES, 4, dtype=torch.float64).tolist():
            area = _between(share, *ERASED_AREA) * height * width / count
            aspect = math.exp(_between(log_aspect, *map(math.log, ERASED_ASPECT)))
            rows, columns = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if rows < height and columns < width:
                top = int(down * (height - rows + 1))
                left = int(right * (width - columns + 1))
                boxes.append((top, top + rows, left, left + columns))
                break
    return boxes


def _custom(name: str) -> Callable[[Batch], Any] | None:
    if not name:
        return None
    found = find(name)
    if isinstance(found, type):  # a class of augmentations is made without arguments
        found = found()
    if not callable(found):
        raise Refused(f"{name}: a {type(found).__name__}; an augmentation is called as f(batch)")
    return found


def _images(batch: Batch) -> Tensor:
    assert isinstance(batch.x, Tensor)
    assert batch.x.is_floating_point()
    return batch.x


def _between(u: float, low: float, high: float) -> float:
    return low + (high - low) * u
