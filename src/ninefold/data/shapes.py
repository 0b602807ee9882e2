"""Outlines of the generated sets: signed distance functions of a dozen flat shapes.

An outline takes coordinates in units of the shape's radius (u to the right, v down; the shape
fills the unit circle or nearly so) and gives the distance to the edge in the same unit, negative
inside. Distances are exact beside straight and round edges, where antialiasing needs them.

Shapes: h rows, w columns.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "h w"]
Outline = Callable[[Field, Field], Field]


def _disc(u: Field, v: Field, radius: float, x: float = 0.0, y: float = 0.0) -> Field:
    return np.hypot(u - x, v - y) - radius


def disc(u: Field, v: Field) -> Field:
    return _disc(u, v, 0.9)


def ring(u: Field, v: Field) -> Field:
    return np.abs(_disc(u, v, 0.7)) - 0.24


def semicircle(u: Field, v: Field) -> Field:
    return np.maximum(_disc(u, v, 1.0, y=0.42), v - 0.42)


def crescent(u: Field, v: Field) -> Field:
    return np.maximum(_disc(u, v, 0.95), -_disc(u, v, 0.78, x=0.48))


def drop(u: Field, v: Field) -> Field:
    """A disc and the two tangents to it that meet in the tip."""
    tip, centre, radius = -1.05, 0.32, 0.62
    sine = radius / (centre - tip)
    cosine = math.sqrt(1 - sine**2)
    touch = centre - radius * sine
    cone = np.maximum(np.abs(u) * cosine - (v - tip) * sine, v - touch)
    return np.minimum(_disc(u, v, radius, y=centre), cone)


def heart(u: Field, v: Field) -> Field:
    """A square on its corner and two discs, each with a side of it as diameter."""
    half, middle = 0.58, -0.12
    u, v, shift = np.abs(u), v - middle, half / math.sqrt(2)
    lobe = _disc(u, v, half, x=shift, y=-shift)
    return np.minimum(lobe, (u + np.abs(v)) / math.sqrt(2) - half)


def triangle(u: Field, v: Field) -> Field:
    slope = np.abs(u) * (math.sqrt(3) / 2) - v / 2
    return np.maximum(slope, v) - 0.5


def square(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u), np.abs(v)) - 0.76


def hourglass(u: Field, v: Field) -> Field:
    u, v, slope = np.abs(u), np.abs(v), 0.75
    return np.maximum((u - v * slope - 0.1) / math.hypot(1, slope), v - 0.85)


def star(u: Field, v: Field) -> Field:
    """Five points: the plane folded into a tenth, where the outline is one straight edge."""
    fold, inner = math.pi / 5, 0.42
    angle = np.abs((np.arctan2(u, -v) + fold) % (2 * fold) - fold)
    radius = np.hypot(u, v)
    edge_x, edge_y = inner * math.cos(fold) - 1, inner * math.sin(fold)
    length = math.hypot(edge_x, edge_y)
    along, across = radius * np.cos(angle) - 1, radius * np.sin(angle)
    return (along * edge_y - across * edge_x) / length


def cross(u: Field, v: Field) -> Field:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(u, v) - 0.92, np.minimum(u, v) - 0.3)


def arrow(u: Field, v: Field) -> Field:
    u = np.abs(u)
    slope = math.hypot(0.95, 0.8)
    head = np.maximum((u * 0.95 - (v + 0.98) * 0.8) / slope, v + 0.03)
    shaft = np.maximum(u - 0.27, np.abs(v - 0.42) - 0.5)
    return np.minimum(head, shaft)


def bar(u: Field, v: Field) -> Field:
    return np.maximum(np.abs(u) - 1, np.abs(v) - 0.12)


CLASSES: dict[str, Outline] = {
    "arrow": arrow,
    "crescent": crescent,
    "cross": cross,
    "disc": disc,
    "drop": drop,
    "heart": heart,
    "hourglass": hourglass,
    "ring": ring,
    "semicircle": semicircle,
    "square": square,
    "star": star,
    "triangle": triangle,
}
OUTLINES: dict[str, Outline] = {**CLASSES, "bar": bar}
"""The classes and what may lie about in a picture without being one."""
