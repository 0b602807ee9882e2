"""Policies that change an image as a whole: torchvision's, and those that Fast AutoAugment found.

Source: AutoAugment, Cubuk et al. 2019, arXiv 1805.09501; TrivialAugment, Mueller & Hutter 2021,
    arXiv 2103.10158; AugMix, Hendrycks et al. 2020, arXiv 1912.02781: torchvision's classes of
    these names as they come, on Pillow's images (uncovered pixels black). Fast AutoAugment, Lim et
    al. 2019, arXiv 1905.00397: policies and operations of kakaobrain/fast-autoaugment. Cutout,
    DeVries & Taylor 2017, arXiv 1708.04552.
Shapes: c channels, h rows, w columns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from ninefold.augment.randaugment import (
    OPERATIONS,
    Canvas,
    Magnitude,
    drawing_from,
    to_pillow,
    to_tensor,
)
from ninefold.core.errors import Refused

FOUND = Path(__file__).with_name("fast_autoaugment.txt")
_FAST = "fast_autoaugment_"

Step = tuple[str, float, float]
"""An operation, its probability, and its level from 0 to 1."""
Change = Callable[[UInt8[Tensor, "c h w"], torch.Generator], UInt8[Tensor, "c h w"]]

LEVELS: dict[str, Magnitude] = {
    "AutoContrast": lambda t, sign: 0,
    "Equalize": lambda t, sign: 0,
    "Invert": lambda t, sign: 0,
    "ShearX": lambda t, sign: sign * (0.6 * t - 0.3),  # columns a row
    "ShearY": lambda t, sign: sign * (0.6 * t - 0.3),
    "TranslateX": lambda t, sign: sign * (0.9 * t - 0.45),  # share of the width
    "TranslateY": lambda t, sign: sign * (0.9 * t - 0.45),
    "Rotate": lambda t, sign: sign * (60 * t - 30),  # degrees
    "Solarize": lambda t, sign: math.ceil(256 * t),  # values from here on are inverted
    "Posterize": lambda t, sign: int(4 + 4 * t),  # bits that are kept
    "Contrast": lambda t, sign: 0.1 + 1.8 * t,  # 1 changes nothing, here and in the next three
    "Color": lambda t, sign: 0.1 + 1.8 * t,
    "Brightness": lambda t, sign: 0.1 + 1.8 * t,
    "Sharpness": lambda t, sign: 0.1 + 1.8 * t,
}
"""Fast AutoAugment's: what an operation gets at level t; in the middle, many do nothing."""
_CUT, _CUT_FILL = 0.2, (125, 123, 114)
"""Its Cutout: side of the square at level 1 over the image's width, and its colour."""


def find_policy(name: str, channels: int) -> Change:
    """The policy of that name in `config.Policy`, as a function of an image and a generator.

    Args:
        channels: Of the images.

    Raises:
        Refused: images with other than 1 or 3 channels.
    """
    if channels not in (1, 3):
        raise Refused(
            f"augment.policy: works on images of 1 or 3 channels, not {channels}; "
            "--augment.policy '' turns it off"
        )
    if name.startswith(_FAST):
        return FoundPolicy(found_pairs(name.removeprefix(_FAST)))
    from torchvision.transforms import v2  # half a second that other runs need not spend

    kinds = v2.AutoAugmentPolicy
    known: dict[str, Callable[[], Any]] = {
        "autoaugment": lambda: v2.AutoAugment(kinds.IMAGENET),
        "autoaugment_cifar10": lambda: v2.AutoAugment(kinds.CIFAR10),
        "autoaugment_svhn": lambda: v2.AutoAugment(kinds.SVHN),
        "trivialaugment": v2.TrivialAugmentWide,
        "augmix": v2.AugMix,
    }
    return TorchvisionPolicy(known[name]())


@dataclass(frozen=True)
class TorchvisionPolicy:
    """A transform of torchvision that draws from our generator.

    Args:
        transform: Takes an image of Pillow and gives one; draws from torch's global generator.
    """

    transform: Callable[[Image.Image], Image.Image]

    def __call__(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "c h w"]:
        """The changed image; the global generator is afterwards as it was."""
        with drawing_from(generator):
            return to_tensor(self.transform(to_pillow(image)))


@dataclass(frozen=True)
class FoundPolicy:
    """One pair of operations, drawn for each image, each carried out by its probability.

    Args:
        pairs: What to draw from.
    """

    pairs: tuple[tuple[Step, Step], ...]

    def __call__(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "c h w"]:
        """The changed image; the same tensor where chance lets both operations out."""
        draws = torch.rand(3, 4, generator=generator, dtype=torch.float64).tolist()
        pair = self.pairs[int(draws[2][0] * len(self.pairs))]
        picture: Image.Image | None = None
        canvas = Canvas(0 if len(image) == 1 else (0, 0, 0), Image.Resampling.NEAREST)
        for (name, probability, level), (chance, coin, right, down) in zip(
            pair, draws[:2], strict=True
        ):
            if chance >= probability:
                continue
            picture = to_pillow(image) if picture is None else picture
            if name == "Cutout":
                picture = _cut(picture, _CUT * level * picture.width, right, down)
            else:
                argument = LEVELS[name](level, 1 if coin < 0.5 else -1)
                picture = OPERATIONS[name](picture, argument, canvas)
        return image if picture is None else to_tensor(picture)


def _cut(picture: Image.Image, side: float, right: float, down: float) -> Image.Image:
    """A square about a point, its first row and column whole pixels, its last ones included."""
    if side <= 0:
        return picture
    width, height = picture.size
    left, top = (int(max(0, a * n - side / 2)) for a, n in ((right, width), (down, height)))
    box = (left, top, min(width, left + side), min(height, top + side))
    picture = picture.copy()
    fill = _CUT_FILL if picture.mode == "RGB" else _CUT_FILL[1]
    ImageDraw.Draw(picture).rectangle(box, fill)
    return picture


def found_pairs(name: str) -> tuple[tuple[Step, Step], ...]:
    """What Fast AutoAugment found on `cifar10`, `svhn` or `imagenet`."""
    sections: dict[str, list[tuple[Step, Step]]] = {}
    current: list[tuple[Step, Step]] = []
    for line in FOUND.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            a, p, t, b, q, u = line.split()
            current.append(((a, float(p), float(t)), (b, float(q), float(u))))
    return tuple(sections[name])


def cut_out(
    image: UInt8[Tensor, "c h w"],
    side: int,
    fill: tuple[int, ...],
    generator: torch.Generator,
) -> UInt8[Tensor, "c h w"]:
    """Cutout: a square about a random pixel becomes one colour, as far as it lies in the image.

    Args:
        side: In pixels.
        fill: A value a channel, or one for all.
    """
    height, width = image.shape[1:]
    down, right = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    top, left = int(down * height) - side // 2, int(right * width) - side // 2
    out = image.clone(memory_format=torch.contiguous_format)
    part = out[:, max(top, 0) : top + side, max(left, 0) : left + side]
    part.copy_(torch.tensor(fill, dtype=torch.uint8).view(-1, 1, 1).expand_as(part))
    return out
