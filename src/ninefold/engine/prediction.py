"""What a model says of one image, and the images that it is asked about."""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ninefold.core.batch import Sample
from ninefold.core.errors import Refused
from ninefold.data.decode import decode
from ninefold.data.open import open_images
from ninefold.data.records import Records


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Args:
        file: Its path; `image 0` and so on for images given as arrays.
        label: The likeliest class; several joined by `;` for multi-label models.
        probability: Of it, from 0 to 1.
        uncertainty: From 0, sure, to 1.
        top: The likeliest classes with their probabilities.
        boxes: Corners `(x0, y0, x1, y1)` in pixels of the upright image, from a detector.
        masks: COCO run lengths, likewise.
    """

    file: str
    label: str
    probability: float
    uncertainty: float
    top: list[tuple[str, float]]
    boxes: list[Any] = field(default_factory=list[Any])
    masks: list[Any] = field(default_factory=list[Any])


def images_given(images: Any, channels: int) -> Records:
    """Paths opened as such, all else held in memory."""
    several = isinstance(images, list | tuple)
    items = list(cast(Sequence[Any], images)) if several else [images]
    if not items:
        raise Refused("predict: no images were given")
    if all(isinstance(item, str | Path) for item in items):
        return open_images(items, channels=channels)
    names = [str(v) if isinstance(v, str | Path) else f"image {i}" for i, v in enumerate(items)]
    return Records(
        files=names, labels=(), load=lambda i: Sample(decode(items[i], channels=channels))
    )
