"""Sheets of images with captions: training batches, mistakes.

Shapes: c channels, h rows, w columns.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num
from PIL import Image

from ninefold.report.style import canvas, empty, fitted, save, styled, text

WIDTH = 800
"""Of a sheet, in pixels."""


@styled
def image_sheet(
    images: Sequence[Any], captions: Sequence[str], path: str | Path, title: str = ""
) -> None:
    """A grid of images with a caption of up to two lines under each.

    Args:
        images: uint8 `(c, h, w)` of any sizes, arrays or CPU tensors; one channel is drawn grey, of
            others than 1 and 3 the first three (or the first).
        captions: One an image; a line break starts the second line. Long ones are shortened.
    """
    assert len(images) == len(captions), (len(images), len(captions))
    if not len(images):
        figure = canvas(1.5)
        empty(figure.subplots(), f"{title}: none" if title else "no images")
        save(figure, path)
        return
    columns = min(max(math.ceil(math.sqrt(len(images) * 1.2)), 3), 8)
    cell = WIDTH // columns
    pictures = [_fitted(np.asarray(image), cell - 8) for image in images]
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    tops = [36 if title else 6]
    for row in rows:
        tops.append(tops[-1] + max(picture.height for picture in row) + 36)
    sheet = Image.new("RGB", (WIDTH, tops[-1]), "white")
    figure = canvas(tops[-1] / 100)
    figure.text(0.01, 1 - 10 / tops[-1], text(title, 100), va="top", fontsize=11)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(i, columns)
        centre = column * cell + cell // 2
        sheet.paste(picture, (centre - picture.width // 2, tops[row]))
        lines = [fitted(line, cell - 8, 8) for line in str(caption).split("\n")[:2]]
        height = 1 - (tops[row] + picture.height + 3) / tops[-1]
        figure.text(centre / WIDTH, height, "\n".join(lines), ha="center", va="top", fontsize=8)
    figure.figimage(np.asarray(sheet), zorder=-1, origin="upper")
    save(figure, path)


def _fitted(image: Num[np.ndarray, "c h w"], side: int) -> Image.Image:
    """The image as large as fits into a square: small ones with their pixels to be seen."""
    assert image.dtype == np.uint8, image.dtype
    pixels = np.moveaxis(image[:3], 0, 2) if len(image) >= 3 else image[0]
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").resize(size, method)
