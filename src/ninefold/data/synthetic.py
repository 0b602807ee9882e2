"""Generated data sets: `synthetic://classification?size=64&train=2000&test=500&seed=0`.

A picture is a function of (seed, split, index) and of nothing else: nothing is stored, any worker
makes any picture, and no picture of one split is one of another. The class is the outline of the
one large thing in it. Place, size, turn, colours and textures vary and carry no label, so that a
linear model on pixels fails; that the thing is lighter than the ground lets a small model learn
its outline within a minute (with either of them the lighter one, it takes several).

Shapes: c channels, h rows, w columns.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ninefold.core.batch import Sample
from ninefold.core.errors import Refused, nearest
from ninefold.data.config import Synthetic
from ninefold.data.paint import PATTERNS, Colour, Scene, Texture, Thing, paint
from ninefold.data.records import DataSet, Records
from ninefold.data.shapes import CLASSES

KINDS = ("classification",)
SPLITS = ("train", "val", "test")
VERSION = 1
"""Goes up with every change of what is painted; part of the fingerprint."""

RADIUS = (0.22, 0.38)
"""Of the thing that gives the class, as a share of the picture's side."""
TURN = math.radians(20)
"""How far that thing is turned at most, to either side."""
THING_LEVEL, GROUND_LEVEL = (0.62, 0.88), (0.14, 0.4)
"""Brightness of thing and ground, from 0 to 1."""
SPREAD = 0.05
"""How far the two colours of a texture lie from its brightness."""
NOISE = 0.02
"""Standard deviation of the noise on every pixel, of values from 0 to 1."""


def open_synthetic(address: str) -> DataSet:
    """The generated data set that an address names.

    Raises:
        Refused: another kind, an unknown or repeated key, or a value out of range.
    """
    kind, options = _read(address)
    splits = {
        split: _records(split, count, options)
        for split in SPLITS
        if (count := getattr(options, split))
    }
    told = f"{VERSION} {kind} {options.model_dump_json()}"
    fingerprint = hashlib.sha256(told.encode()).hexdigest()
    return DataSet(address, kind, tuple(CLASSES), splits, fingerprint=fingerprint)


def write_folder(data: DataSet, folder: str | Path) -> None:
    """Write the pictures of a set as PNG files, `<split>/<class>/<index>.png`.

    Raises:
        Refused: the folder already holds something, or an image is neither grey nor RGB.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder}: the folder is not empty; name a new one")
    for split, records in data.splits.items():
        for i, label in enumerate(records.labels):
            x = records.load(i).x
            if not (isinstance(label, int) and isinstance(x, Tensor) and x.shape[0] in (1, 3)):
                raise Refused(f"{data.address}: only grey or RGB images of one class are written")
            path = folder / split / data.classes[label] / f"{i:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(x.permute(1, 2, 0).squeeze(2).numpy()).save(path)


def _read(address: str) -> tuple[str, Synthetic]:
    parts = urlsplit(address)
    kind = parts.netloc
    if kind not in KINDS:
        hint = nearest(kind, KINDS, f"there are: {', '.join(KINDS)}")
        raise Refused(f"{address}: no generated data set is called {kind!r}{hint}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise Refused(f"{address}: {key!r} is given {keys.count(key)} times; give it once")
    return kind, Synthetic.parse(dict(pairs), where=address)


@dataclass(frozen=True)
class _Shapes:
    """Makes the pictures of one split."""

    split: str
    options: Synthetic

    def __call__(self, i: int) -> Sample:
        values = np.random.default_rng((self.options.seed, SPLITS.index(self.split), i))
        label = i % len(CLASSES)
        scene = draw_scene(values, tuple(CLASSES)[label], self.options.channels)
        image = paint(scene, self.options.size).image
        image += NOISE * values.standard_normal(image.shape, dtype=np.float32)
        levels = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        return Sample(x=torch.from_numpy(levels), y=label)


def _records(split: str, count: int, options: Synthetic) -> Records:
    names = tuple(CLASSES)
    labels = [i % len(names) for i in range(count)]
    files = [f"synthetic://classification/{split}/{names[y]}/{i:05d}" for i, y in enumerate(labels)]
    return Records(files, labels, _Shapes(split, options))


def draw_scene(values: np.random.Generator, outline: str, channels: int = 3) -> Scene:
    """A random ground with one large, lighter thing of this outline; now and then small bars."""
    things = [
        _thing(
            values, "bar", values.uniform(0.08, 0.14), values.uniform(0.1, 0.9), math.pi, channels
        )
        for _ in range(values.choice(3, p=(0.7, 0.2, 0.1)))
    ]
    radius, level = values.uniform(*RADIUS), values.uniform(*THING_LEVEL)
    things.append(_thing(values, outline, radius, level, TURN, channels))
    ground = _texture(values, values.uniform(*GROUND_LEVEL), channels)
    return Scene(ground, tuple(things))


def _thing(
    values: np.random.Generator,
    outline: str,
    radius: float,
    level: float,
    turn: float,
    channels: int,
) -> Thing:
    x, y = values.uniform(radius * 0.95, 1 - radius * 0.95, size=2).tolist()
    angle = values.uniform(-turn, turn)
    return Thing(outline, x, y, radius, angle, _texture(values, level, channels))


def _texture(values: np.random.Generator, level: float, channels: int) -> Texture:
    """A surface of about this brightness, in two related colours that differ a little in it."""
    hue = _hue(values, channels)
    other = _unit(hue + 0.5 * _hue(values, channels))
    saturation = values.uniform(0.3, 0.85)
    return Texture(
        pattern=PATTERNS[values.integers(len(PATTERNS))],
        low=_colour(level - SPREAD, hue, saturation),
        high=_colour(level + SPREAD, other, saturation),
        cycles=values.uniform(3, 8),
        angle=values.uniform(0, 2 * math.pi),
        phase=values.uniform(0, 2 * math.pi),
        seed=int(values.integers(2**32)),
    )


def _hue(values: np.random.Generator, channels: int) -> NDArray[np.float64]:
    """A random direction away from grey: it sums to nothing, and its largest part is 1."""
    return _unit(values.standard_normal(channels))


def _unit(hue: NDArray[np.float64]) -> NDArray[np.float64]:
    hue = hue - hue.mean()
    return hue / max(np.abs(hue).max(), 1e-9)


def _colour(level: float, hue: NDArray[np.float64], saturation: float) -> Colour:
    """The colour of this mean over the channels, as far from grey as stays within 0 and 1."""
    return tuple((level + saturation * min(level, 1 - level) * hue).tolist())
