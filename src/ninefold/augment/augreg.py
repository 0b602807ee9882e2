"""RandAugment as AugReg's models saw it: sixteen operations, always applied, without noise.

Source: google-research/big_vision (`pp/archive/autoaugment.py`), by the vit-augreg-sam
    specification, section 6.5. Operations are defined in uint8 and float32 as TensorFlow computes
    them: values are cut, not rounded; what moves is sampled at the nearest pixel.
Departs: a threshold of 256 and more solarizes nothing, and at most 8 bits are kept (TensorFlow
    shifts and compares uint8, without a rule there); the mean of nine pixels is exact, where its
    convolution may round just below a whole number; grey images are taken too.
Shapes: b images, c channels, h rows, w columns, l layers.

Every operation works on a batch, on any device, and with the same bits on all of them: nothing but
integers and single float32 products and sums. So one image is a batch of one.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ninefold.core.errors import Refused

GREY = 128
"""What fills uncovered and cut pixels."""
SIDE = 224
"""Pixels a side that distances are meant for."""
LARGEST = 30
"""Magnitude up to which the official code expects good values; AugReg has 20 at the most, and
EfficientNetV2 25."""
DRAWS = 4
"""Random numbers an operation: which one, its sign, and a place in rows and columns."""

DRAWN = "randaugment"
"""In the `extra` of samples and batches: what chance has decided for each image, to be carried out
on the device."""

Pixels = UInt8[Tensor, "b c h w"]


def autocontrast(x: Pixels) -> Pixels:
    """Each channel stretched to 0 and 255, unless it has one value."""
    low, high = (value.float() for value in (x.amin((2, 3), True), x.amax((2, 3), True)))
    scale = 255.0 / (high - low).clamp(min=1.0)
    stretched = (x.float() * scale + -low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, x)


def equalize(x: Pixels) -> Pixels:
    """Each channel's values spread by their counts; as Pillow's."""
    b, c, h, w = x.shape
    planes = x.reshape(b * c, h * w).long()
    counts = planes.new_zeros(b * c, 256).scatter_add_(1, planes, torch.ones_like(planes))
    step = (h * w - counts.gather(1, planes.amax(1, keepdim=True))) // 255
    table = (counts.cumsum(1) - counts + step // 2) // step.clamp(min=1)
    spread = table.clamp(max=255).to(torch.uint8).gather(1, planes)
    return torch.where(step == 0, planes.to(torch.uint8), spread).view_as(x)


def posterize(x: Pixels, bits: int) -> Pixels:
    """The upper `bits` of 8; none is black, 8 and more all."""
    return x & (256 - 2 ** (8 - min(8, bits)))


def solarize(x: Pixels, threshold: int) -> Pixels:
    """Values from `threshold` on inverted: none from 256 on."""
    return torch.where(x.short() < threshold, x, 255 - x)


def solarize_add(x: Pixels, amount: int) -> Pixels:
    """Values below 128 raised."""
    return torch.where(x < 128, (x.short() + amount).clamp(max=255).to(torch.uint8), x)


def color(x: Pixels, factor: float) -> Pixels:
    """Away from each pixel's grey, or towards it."""
    return _blend(_grey(x).expand_as(x), x, factor)


def contrast(x: Pixels, factor: float) -> Pixels:
    """Away from a constant that the number of pixels decides: 196 for 224 x 224.

    The official code means the mean grey, but sums its histogram without the values.
    """
    constant = min(255, x.shape[2] * x.shape[3] // 256)
    return _blend(torch.full_like(x, constant), x, factor)


def contrast_about_mean(x: Pixels, factor: float) -> Pixels:
    """Away from each image's mean grey, cut to a whole number."""
    mean = _grey(x).sum((1, 2, 3), keepdim=True) // (x.shape[2] * x.shape[3])
    return _blend(mean.to(torch.uint8).expand_as(x), x, factor)


def brightness(x: Pixels, factor: float) -> Pixels:
    """Away from black."""
    return _blend(torch.zeros_like(x), x, factor)


def sharpness(x: Pixels, factor: float) -> Pixels:
    """Away from a mean of nine pixels in which the middle one counts five times; not at borders."""
    inner = x[:, :, 1:-1, 1:-1].short()
    wide = x.short()
    wide = wide[:, :, :-2] + wide[:, :, 1:-1] + wide[:, :, 2:]
    wide = wide[..., :-2] + wide[..., 1:-1] + wide[..., 2:]
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = ((wide + 4 * inner) // 13).to(torch.uint8)
    return _blend(smooth, x, factor)


def rotate(x: Pixels, degrees: float) -> Pixels:
    """About the middle, against the clock for positive angles."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    down, right = x.shape[2] - 1, x.shape[3] - 1
    across = (right - (cos * right - sin * down)) / 2
    return _moved(x, (cos, -sin, across), (sin, cos, (down - (sin * right + cos * down)) / 2))


def shear_x(x: Pixels, share: float) -> Pixels:
    """Rows moved to the left by `share` columns for each row from the top."""
    return _moved(x, (1.0, share, 0.0), (0.0, 1.0, 0.0))


def shear_y(x: Pixels, share: float) -> Pixels:
    """Columns moved up likewise."""
    return _moved(x, (1.0, 0.0, 0.0), (share, 1.0, 0.0))


def translate_x(x: Pixels, pixels: float) -> Pixels:
    """To the left."""
    return _moved(x, (1.0, 0.0, pixels), (0.0, 1.0, 0.0))


def translate_y(x: Pixels, pixels: float) -> Pixels:
    """Up."""
    return _moved(x, (1.0, 0.0, 0.0), (0.0, 1.0, pixels))


def cutout(x: Pixels, half: int, centres: Int[Tensor, "b 2"]) -> Pixels:
    """Grey from `half` pixels before each centre (row, column) to as many after it, it included."""
    inside = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, length in enumerate(x.shape[2:]):
        place = torch.arange(length, device=x.device)
        centre = centres[:, axis, None].to(x.device)
        hit = (place >= centre - half) & (place < centre + half)
        inside = inside & (hit[:, None, :, None] if axis == 0 else hit[:, None, None, :])
    return x.masked_fill(inside, GREY)


Operate = Callable[[Pixels, float, Int[Tensor, "b 2"]], Pixels]
"""A batch, the operation's argument, and a place in each image, to the changed batch."""

OPERATIONS: dict[str, Operate] = {
    "AutoContrast": lambda x, _, at: autocontrast(x),
    "Equalize": lambda x, _, at: equalize(x),
    "Invert": lambda x, _, at: 255 - x,
    "Rotate": lambda x, degrees, at: rotate(x, degrees),
    "Posterize": lambda x, bits, at: posterize(x, int(bits)),
    "Solarize": lambda x, threshold, at: solarize(x, int(threshold)),
    "Color": lambda x, factor, at: color(x, factor),
    "Contrast": lambda x, factor, at: contrast(x, factor),
    "Brightness": lambda x, factor, at: brightness(x, factor),
    "Sharpness": lambda x, factor, at: sharpness(x, factor),
    "ShearX": lambda x, share, at: shear_x(x, share),
    "ShearY": lambda x, share, at: shear_y(x, share),
    "TranslateX": lambda x, pixels, at: translate_x(x, pixels),
    "TranslateY": lambda x, pixels, at: translate_y(x, pixels),
    "Cutout": lambda x, half, at: cutout(x, int(half), at),
    "SolarizeAdd": lambda x, amount, at: solarize_add(x, int(amount)),
}
"""In the official order."""

ARGUMENTS: dict[str, Callable[[float, int], float]] = {
    "AutoContrast": lambda t, sign: 0,
    "Equalize": lambda t, sign: 0,
    "Invert": lambda t, sign: 0,
    "Rotate": lambda t, sign: sign * 30 * t,
    "Posterize": lambda t, sign: int(4 * t),
    "Solarize": lambda t, sign: int(256 * t),
    "Color": lambda t, sign: 1.8 * t + 0.1,  # 1 changes nothing, here and in the next three
    "Contrast": lambda t, sign: 1.8 * t + 0.1,
    "Brightness": lambda t, sign: 1.8 * t + 0.1,
    "Sharpness": lambda t, sign: 1.8 * t + 0.1,
    "ShearX": lambda t, sign: sign * 0.3 * t,
    "ShearY": lambda t, sign: sign * 0.3 * t,
    "TranslateX": lambda t, sign: sign * 100 * t,  # pixels, whatever the size of the image
    "TranslateY": lambda t, sign: sign * 100 * t,
    "Cutout": lambda t, sign: int(40 * t),
    "SolarizeAdd": lambda t, sign: int(110 * t),
}
"""From a tenth of the magnitude and a sign to the argument. Not all grow stronger: posterizing
weakens, and magnitude 0 blackens, inverts and takes colour, contrast and light away."""

_DISTANCES = ("TranslateX", "TranslateY", "Cutout")


@dataclass(frozen=True)
class AugRegRandAugment:
    """Some of the sixteen operations, drawn with replacement, one after the other on an image.

    Args:
        layers: Operations an image.
        magnitude: Strength of all, in tenths; the paper has 0, 10, 15 and 20.
        mean_contrast: Contrast about the mean grey, in place of the official constant.
        relative: Translations and cuts are for 224 pixels and shrink with the image; the official
            ones are pixels, of which 100 empty a small image.
    """

    layers: int = 2
    magnitude: float = 10
    mean_contrast: bool = False
    relative: bool = False

    def __call__(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "c h w"]:
        """The changed image."""
        return self.operate(image[None], self.draw(generator)[None])[0]

    def draw(self, generator: torch.Generator) -> Float[Tensor, "l 4"]:
        """All that chance decides about an image, from 0 to 1 (excluded)."""
        return torch.rand(self.layers, DRAWS, generator=generator, dtype=torch.float64)

    def operate(
        self, images: UInt8[Tensor, "b c h w"], draws: Float[Tensor, "b l 4"]
    ) -> UInt8[Tensor, "b c h w"]:
        """The changed images: those with the same operation at a time; the same for any batch.

        Args:
            draws: Of each image, on the CPU.
        """
        names = list(OPERATIONS)
        size = torch.tensor(images.shape[2:])
        for layer in draws.unbind(1):
            groups: dict[tuple[str, int], list[int]] = {}
            for i, (choice, coin, *_) in enumerate(layer.tolist()):
                sign = 1 if coin < 0.5 else -1
                groups.setdefault((names[int(choice * len(names))], sign), []).append(i)
            places = (layer[:, 2:] * size).long()
            images = self._layer(images, groups, places)
        return images

    def _layer(
        self, images: Tensor, groups: dict[tuple[str, int], list[int]], places: Tensor
    ) -> Tensor:
        if len(groups) == 1:
            ((name, sign),) = groups
            return self._operation(name, sign, images, places)
        changed = torch.empty_like(images)
        for (name, sign), rows in groups.items():
            index = torch.tensor(rows)
            here = index.to(images.device)
            changed[here] = self._operation(name, sign, images[here], places[index])
        return changed

    def _operation(self, name: str, sign: int, x: Tensor, places: Tensor) -> Tensor:
        argument = ARGUMENTS[name](self.magnitude / 10, sign)
        if self.relative and name in _DISTANCES:
            argument *= min(x.shape[2:]) / SIDE
        if self.mean_contrast and name == "Contrast":
            return contrast_about_mean(x, argument)
        return OPERATIONS[name](x, argument, places)


_SECTION = re.compile(r"(l|m)(\d+(?:\.\d+)?)")


def read_augreg(sections: Sequence[str], channels: int, where: str) -> AugRegRandAugment:
    """What stands behind `augreg`: `l` operations an image (2), `m` magnitude (10 of 30), `mean`
    for contrast about the mean grey, `rel` for distances that shrink with the image.

    Raises:
        Refused: another section, a larger magnitude, or images with other than 1 or 3 channels.
    """
    if channels not in (1, 3):
        raise Refused(f"{where}: works on images of 1 or 3 channels, not {channels}")
    values: dict[str, float] = {}
    for section in sections:
        match = _SECTION.fullmatch(section)
        if match is None and section not in ("mean", "rel"):
            raise Refused(f"{where}: cannot read {section!r}; sections are lN mN mean rel")
        if match is not None:
            values[match[1]] = float(match[2])
    layers, magnitude = values.get("l", 2.0), values.get("m", 10.0)
    if layers % 1:
        raise Refused(f"{where}: l is {layers:g}; a whole number is wanted")
    if magnitude > LARGEST:
        raise Refused(f"{where}: m is {magnitude:g}; a number from 0 to {LARGEST} is wanted")
    return AugRegRandAugment(int(layers), magnitude, "mean" in sections, "rel" in sections)


def _blend(other: Pixels, x: Pixels, factor: float) -> Pixels:
    if factor in (0.0, 1.0):
        return x if factor else other
    start = other.float()
    return (start + factor * (x.float() - start)).clamp(0, 255).to(torch.uint8)


def _grey(x: Pixels) -> UInt8[Tensor, "b 1 h w"]:
    """As TensorFlow: weighted in float32 from 0 to 1, then back."""
    if x.shape[1] == 1:
        return x
    red, green, blue = (x.float() * (1 / 255)).unbind(1)
    grey = 0.2989 * red + 0.587 * green + 0.114 * blue
    return (grey * 255.5).to(torch.uint8)[:, None]


def _moved(
    x: Pixels, across: tuple[float, float, float], down: tuple[float, float, float]
) -> Pixels:
    """Each pixel from the nearest place that the two rows of an affine map send it to.

    Pixels stand at whole numbers; halves are rounded away from 0.
    """
    h, w = x.shape[2:]
    columns = torch.arange(w, dtype=torch.float32, device=x.device)
    rows = torch.arange(h, dtype=torch.float32, device=x.device)[:, None]
    column, row = (_rounded(a * columns + b * rows + c) for a, b, c in (across, down))
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    place = row.clamp(0, h - 1) * w + column.clamp(0, w - 1)
    moved = x.flatten(2).index_select(2, place.flatten()).view_as(x)
    return moved.masked_fill(~inside, GREY)


def _rounded(value: Float[Tensor, "h w"]) -> Int[Tensor, "h w"]:
    whole = value.abs().floor()
    up = value.abs() - whole >= 0.5  # exact, where a sum with 0.5 in float32 would round
    return (whole + up).long() * value.sign().long()
