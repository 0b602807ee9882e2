"""The painter of the generated sets: a scene, drawn at random or by hand, becomes a picture.

A scene is plain values in units of the picture's side, so the same one can be painted at any size,
and moved or recoloured between the frames of a clip. Painting is exact and has no randomness but
the scene's own.

Shapes: c channels, h rows, w columns (h = w), n things.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from ninefold.data.shapes import OUTLINES, Field

Colour = tuple[float, ...]
Pattern = Literal["plain", "gradient", "grating", "checks", "noise"]
PATTERNS: tuple[Pattern, ...] = ("plain", "gradient", "grating", "checks", "noise")


@dataclass(frozen=True)
class Texture:
    """Two colours and how they share a surface.

    Args:
        low: One value a channel, from 0 to 1.
        high: Likewise.
        cycles: Waves or squares across the picture's side.
        angle: Direction, in radians.
        phase: Where a grating starts, in radians.
        seed: Decides the noise.
    """

    pattern: Pattern
    low: Colour
    high: Colour
    cycles: float = 1.0
    angle: float = 0.0
    phase: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Thing:
    """One object: an outline from `OUTLINES`, its place and its surface.

    Args:
        x: Centre, as a share of the picture's side.
        y: Likewise.
        radius: Likewise.
        angle: Turn, clockwise, in radians.
    """

    outline: str
    x: float
    y: float
    radius: float
    angle: float
    texture: Texture


@dataclass(frozen=True)
class Scene:
    """A ground and the things on it; later ones cover earlier ones."""

    ground: Texture
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class Painted:
    """A picture and what is to be seen in it.

    Args:
        image: Values from 0 to 1.
        masks: The visible part of each thing.
        boxes: Corners `(x0, y0, x1, y1)` in pixels around the visible part; zeros where none is.
    """

    image: Float32[np.ndarray, "c h w"]
    masks: Bool[np.ndarray, "n h w"]
    boxes: Float32[np.ndarray, "n 4"]


def paint(scene: Scene, size: int) -> Painted:
    """Paint a square picture of `size` pixels with antialiased edges."""
    x, y = _grid(size)
    image = _surface(scene.ground, x, y)
    masks = np.zeros((len(scene.things), size, size), dtype=bool)
    for number, thing in enumerate(scene.things):
        cover = np.clip(0.5 - _distance(thing, x, y) * (thing.radius * size), 0, 1)
        image += cover * (_surface(thing.texture, x, y) - image)
        masks[:number] &= cover < 0.5
        masks[number] = cover >= 0.5
    boxes = np.array([_box(mask) for mask in masks], dtype=np.float32).reshape(-1, 4)
    return Painted(image, masks, boxes)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[Field, Field]:
    """Coordinates of the pixels' centres, from 0 to 1."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / np.float32(size)
    x, y = np.meshgrid(line, line)
    return x, y


def _distance(thing: Thing, x: Field, y: Field) -> Field:
    cosine = math.cos(thing.angle) / thing.radius
    sine = math.sin(thing.angle) / thing.radius
    x, y = x - thing.x, y - thing.y
    return OUTLINES[thing.outline](x * cosine + y * sine, y * cosine - x * sine)


def _surface(texture: Texture, x: Field, y: Field) -> Float32[np.ndarray, "c h w"]:
    low = np.asarray(texture.low, dtype=np.float32)[:, None, None]
    high = np.asarray(texture.high, dtype=np.float32)[:, None, None]
    return low + (high - low) * _blend(texture, x, y)


def _blend(texture: Texture, x: Field, y: Field) -> Field:
    """The share of the second colour at each pixel, from 0 to 1."""
    if texture.pattern == "plain":
        return np.zeros_like(x)
    if texture.pattern == "noise":
        return _noise(len(x), max(2, round(texture.cycles)), texture.seed)
    cosine, sine = math.cos(texture.angle), math.sin(texture.angle)
    along = (x - 0.5) * cosine + (y - 0.5) * sine
    if texture.pattern == "gradient":
        return np.clip(along / math.sqrt(2) + 0.5, 0, 1)
    turn = 2 * math.pi * texture.cycles
    wave = np.sin(along * turn + texture.phase)
    if texture.pattern == "checks":
        wave *= np.sin(((y - 0.5) * cosine - (x - 0.5) * sine) * turn)
        wave *= 8  # squares with soft edges: a hard edge would alias
    return np.clip(wave, -1, 1) / 2 + 0.5


def _noise(size: int, cells: int, seed: int) -> Field:
    """Two octaves of smoothly interpolated random values."""
    values = np.random.default_rng(seed)
    total = np.zeros((size, size), dtype=np.float32)
    for knots, weight in ((cells + 1, 0.6), (2 * cells + 1, 0.4)):
        weights = _interpolation(size, knots)
        total += weight * (weights @ values.random((knots, knots), dtype=np.float32) @ weights.T)
    return total


@lru_cache(maxsize=64)
def _interpolation(size: int, knots: int) -> Float32[np.ndarray, "h knots"]:
    """Weights of evenly spaced knots at each pixel of a line, eased to hide the lattice."""
    place = (np.arange(size) + 0.5) / size * (knots - 1)
    left = np.floor(place).astype(int)
    share = place - left
    share = share * share * (3 - 2 * share)
    weights = np.zeros((size, knots), dtype=np.float32)
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    return weights


def _box(mask: Bool[np.ndarray, "h w"]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
