"""RandAugment on decoded images: timm's, torchvision's, and AugReg's (`augment.augreg`).

Source: Cubuk et al. 2020, arXiv 1909.13719; operations, magnitudes and chances are those of timm's
    `rand_augment_transform`, with which Swin was trained. Operations are Pillow's, by definition.
Departs: grey images are taken too; timm's fill colour fits RGB alone.
Shapes: c channels, h rows, w columns.

The tables below say what an operation of timm's does, and which argument it gets at which level.
"""

import math
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from ninefold.augment.augreg import AugRegRandAugment, read_augreg
from ninefold.core.errors import Refused, nearest
from ninefold.core.preprocess import Preprocess

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


@dataclass(frozen=True)
class Canvas:
    """How operations that move pixels fill what they uncover, and how they interpolate."""

    fill: int | tuple[int, ...]
    resample: Image.Resampling


Apply = Callable[[Image.Image, float, Canvas], Image.Image]
Magnitude = Callable[[float, int], float]
"""From the level t in [0, magnitude_max / 10] and a sign, 1 or -1, to an operation's argument."""


def _affine(image: Image.Image, matrix: tuple[float, ...], canvas: Canvas) -> Image.Image:
    method = Image.Transform.AFFINE
    return image.transform(image.size, method, matrix, canvas.resample, fillcolor=canvas.fill)


def _solarize_add(image: Image.Image, amount: float, canvas: Canvas) -> Image.Image:
    brighter = [min(255, v + int(amount)) if v < 128 else v for v in range(256)]
    return image.point(brighter * len(image.getbands()))


def _posterize(image: Image.Image, bits: float, canvas: Canvas) -> Image.Image:
    mask = 256 - 2 ** (8 - min(8, max(0, int(bits))))  # Pillow itself refuses 0 bits: black
    return image.point([v & mask for v in range(256)] * len(image.getbands()))


OPERATIONS: dict[str, Apply] = {
    "AutoContrast": lambda image, _, canvas: ImageOps.autocontrast(image),
    "Equalize": lambda image, _, canvas: ImageOps.equalize(image),
    "Invert": lambda image, _, canvas: ImageOps.invert(image),
    "Rotate": lambda image, degrees, canvas: image.rotate(
        degrees, canvas.resample, fillcolor=canvas.fill
    ),
    "Posterize": _posterize,
    "Solarize": lambda image, threshold, canvas: ImageOps.solarize(image, int(threshold)),
    "SolarizeAdd": _solarize_add,
    "Color": lambda image, factor, canvas: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor, canvas: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor, canvas: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor, canvas: ImageEnhance.Sharpness(image).enhance(factor),
    "ShearX": lambda image, share, canvas: _affine(image, (1, share, 0, 0, 1, 0), canvas),
    "ShearY": lambda image, share, canvas: _affine(image, (1, 0, 0, share, 1, 0), canvas),
    "TranslateX": lambda image, share, canvas: _affine(
        image, (1, 0, share * image.width, 0, 1, 0), canvas
    ),
    "TranslateY": lambda image, share, canvas: _affine(
        image, (1, 0, 0, 0, 1, share * image.height), canvas
    ),
}

PLAIN: dict[str, Magnitude] = {
    "AutoContrast": lambda t, sign: 0,
    "Equalize": lambda t, sign: 0,
    "Invert": lambda t, sign: 0,
    "Rotate": lambda t, sign: sign * t * 30,  # degrees
    "Posterize": lambda t, sign: int(t * 4),  # bits that are kept
    "Solarize": lambda t, sign: min(256, int(t * 256)),  # values from here on are inverted
    "SolarizeAdd": lambda t, sign: min(128, int(t * 110)),  # added to values below 128
    "Color": lambda t, sign: t * 1.8 + 0.1,  # 1 changes nothing, here and in the next three
    "Contrast": lambda t, sign: t * 1.8 + 0.1,
    "Brightness": lambda t, sign: t * 1.8 + 0.1,
    "Sharpness": lambda t, sign: t * 1.8 + 0.1,
    "ShearX": lambda t, sign: sign * t * 0.3,  # columns a row
    "ShearY": lambda t, sign: sign * t * 0.3,
    "TranslateX": lambda t, sign: sign * t * 0.45,  # share of the width
    "TranslateY": lambda t, sign: sign * t * 0.45,
}
"""`inc0`: some operations weaken as the magnitude grows."""

INCREASING: dict[str, Magnitude] = PLAIN | {
    "Posterize": lambda t, sign: 4 - int(t * 4),
    "Solarize": lambda t, sign: 256 - min(256, int(t * 256)),
    "Color": lambda t, sign: max(0.1, 1 + sign * t * 0.9),
    "Contrast": lambda t, sign: max(0.1, 1 + sign * t * 0.9),
    "Brightness": lambda t, sign: max(0.1, 1 + sign * t * 0.9),
    "Sharpness": lambda t, sign: max(0.1, 1 + sign * t * 0.9),
}
"""`inc1`: all operations grow stronger with the magnitude."""

MAGNITUDES = {"inc0": PLAIN, "inc1": INCREASING}

_SECTION = re.compile(r"(mstd|mmax|inc|m|n|p)(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class RandAugment:
    """Some operations, drawn with replacement, one after the other on an image.

    Args:
        canvas: Fill colour and interpolation.
        magnitudes: A table of `MAGNITUDES`; its names are the operations to draw from.
        layers: Operations drawn for an image.
        probability: That a drawn operation is applied.
        magnitude: Mean strength, in tenths.
        std: Standard deviation of the strength of each operation on each image.
        limit: Largest strength, in tenths.
    """

    canvas: Canvas
    magnitudes: str = "inc0"
    layers: int = 2
    probability: float = 0.5
    magnitude: float = 10
    std: float = 0.0
    limit: int = 10

    def __call__(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "c h w"]:
        """The changed image; the same tensor where chance lets all operations out."""
        draws = torch.rand(self.layers, 3, generator=generator, dtype=torch.float64).tolist()
        noise = torch.randn(self.layers, generator=generator, dtype=torch.float64).tolist()
        table = MAGNITUDES[self.magnitudes]
        names = list(table)
        picture: Image.Image | None = None
        for (choice, chance, coin), shift in zip(draws, noise, strict=True):
            if chance >= self.probability:
                continue
            name = names[int(choice * len(names))]
            level = max(0.0, min(self.magnitude + self.std * shift, self.limit)) / 10
            picture = to_pillow(image) if picture is None else picture
            argument = table[name](level, 1 if coin < 0.5 else -1)
            picture = OPERATIONS[name](picture, argument, self.canvas)
        return image if picture is None else to_tensor(picture)


@dataclass(frozen=True)
class TorchvisionRandAugment:
    """torchvision's RandAugment of 14 operations, with its defaults, driven by our generator.

    Args:
        layers: Operations an image, always applied.
        magnitude: One of its 31 bins, 0 to 30.
    """

    layers: int = 2
    magnitude: int = 9

    def __call__(
        self, image: UInt8[Tensor, "c h w"], generator: torch.Generator
    ) -> UInt8[Tensor, "c h w"]:
        """The changed image; torch's global generator is left as it was."""
        from torchvision.transforms import RandAugment as Theirs  # half a second

        with drawing_from(generator):
            return Theirs(self.layers, self.magnitude)(image)


@contextmanager
def drawing_from(generator: torch.Generator) -> Generator[None]:
    """Within, torch's global generator, which torchvision's transforms draw from, starts where a
    draw of ours says; afterwards it is as it was."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(seed)
        yield


KINDS = ("rand", "augreg", "torchvision")


def read_randaugment(
    notation: str, preprocess: Preprocess
) -> RandAugment | AugRegRandAugment | TorchvisionRandAugment:
    """What `rand-m9-mstd0.5-inc1`, `augreg-l2-m15` or `torchvision-n2-m9` means.

    Sections stand in any order behind the first word, joined by dashes. `rand`, timm's: `m`
    magnitude (10), `mstd` its deviation (0), `mmax` the limit of both (10), `n` operations an image
    (2), `p` chance of each (0.5), `inc` 1 for operations that all grow stronger with the magnitude
    (0); uncovered pixels get the mean colour of `preprocess`, whose interpolation is used.
    `augreg`: `augment.augreg.read_augreg`. `torchvision`: `n` operations (2), `m` magnitude (9 of
    30).

    Raises:
        Refused: another notation, a magnitude above the limit, or images with other than 1 or 3
            channels.
    """
    where = f"augment.randaugment: {notation!r}"
    first, *sections = notation.split("-")
    if first == "augreg":
        return read_augreg(sections, preprocess.channels, where)
    if first == "torchvision":
        return _read_torchvision(sections, preprocess.channels, where)
    if first != "rand":
        raise Refused(
            f"{where} does not begin with {', '.join(f'{kind}-' for kind in KINDS)}"
            f"{nearest(first, KINDS)}; 'rand-m9-mstd0.5-inc1' would be right"
        )
    return _read_timm(sections, preprocess, where)


def _read_torchvision(sections: Sequence[str], channels: int, where: str) -> TorchvisionRandAugment:
    if channels not in (1, 3):
        raise Refused(f"{where}: works on images of 1 or 3 channels, not {channels}")
    values = {"n": 2, "m": 9}
    for section in sections:
        match = re.fullmatch(r"([nm])(\d+)", section)
        if match is None or (match[1] == "m" and int(match[2]) > 30):
            raise Refused(f"{where}: cannot read {section!r}; sections are nN and m0 to m30")
        values[match[1]] = int(match[2])
    return TorchvisionRandAugment(values["n"], values["m"])


def _read_timm(sections: Sequence[str], preprocess: Preprocess, where: str) -> RandAugment:
    values: dict[str, float] = {}
    for section in sections:
        match = _SECTION.fullmatch(section)
        if match is None:
            raise Refused(
                f"{where}: cannot read {section!r}; sections are mN mstdX mmaxN nN pX inc0 or inc1"
            )
        values[match[1]] = float(match[2])
    whole = ("n", "mmax", "inc")
    bounds = {"p": (0, 1), "inc": (0, 1), "mmax": (1, 100), "mstd": (0, 100)}
    for key, value in values.items():
        least, largest = bounds.get(key, (0, 100))
        if not least <= value <= largest or (key in whole and value % 1):
            kind = "a whole number" if key in whole else "a number"
            raise Refused(
                f"{where}: {key} is {value:g}; {kind} from {least} to {largest} is wanted"
            )
    made = RandAugment(
        _canvas(preprocess),
        magnitudes=f"inc{values.get('inc', 0):g}",
        layers=int(values.get("n", 2)),
        probability=values.get("p", 0.5),
        magnitude=values.get("m", 10),
        std=values.get("mstd", 0.0),
        limit=int(values.get("mmax", 10)),
    )
    if made.magnitude > made.limit:
        raise Refused(
            f"{where}: m is {made.magnitude:g}; a number from 0 to {made.limit} is wanted, or "
            f"mmax{math.ceil(made.magnitude)} beside it, which else cuts it to {made.limit}"
        )
    return made


def _canvas(preprocess: Preprocess) -> Canvas:
    channels = preprocess.channels
    if channels not in (1, 3):
        raise Refused(
            f"augment.randaugment: works on images of 1 or 3 channels, not {channels}; "
            "--augment.randaugment '' turns it off"
        )
    mean = preprocess.mean if len(preprocess.mean) == channels else preprocess.mean * channels
    fill = tuple(min(255, round(255 * value)) for value in mean)
    return Canvas(fill if channels == 3 else fill[0], _FILTERS[preprocess.interpolation])


def to_pillow(image: UInt8[Tensor, "c h w"]) -> Image.Image:
    """An image of 1 or 3 channels as Pillow's."""
    array = image.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if len(image) == 1 else array)


def to_tensor(picture: Image.Image) -> UInt8[Tensor, "c h w"]:
    """And back."""
    array = np.array(picture)
    pixels = torch.from_numpy(array)
    return pixels[None] if array.ndim == 2 else pixels.permute(2, 0, 1)
