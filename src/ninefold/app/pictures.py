"""A picture of an image with what a model says of it.

Shapes: c channels, h rows, w columns.
"""

from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ninefold.engine.opened import Prediction
from ninefold.report.style import DOTS, fitted, font_file

SIDE = 384
"""Width of a picture, in pixels; a small image is enlarged to it without smoothing."""
LINE = 26
"""Height of a label's line, in pixels."""
FONT = 14
"""Height of letters, in pixels."""
INK, PAPER, BAR, FIRST_BAR = "#1b1f24", "#ffffff", "#c9d4e0", "#7fb2e5"


def save_picture(image: UInt8[Tensor, "c h w"], prediction: Prediction, path: Path) -> None:
    """Draw the image, and below it a bar for each of the likeliest labels."""
    photo = _photo(image)
    page = Image.new("RGB", (SIDE, photo.height + LINE * len(prediction.top) + 6), PAPER)
    page.paste(photo, (0, 0))
    draw = ImageDraw.Draw(page)
    font = ImageFont.truetype(font_file(), FONT)
    for row, (label, probability) in enumerate(prediction.top):
        top = photo.height + 4 + row * LINE
        right = round(SIDE * probability)
        if right:
            draw.rectangle((0, top, right, top + LINE - 4), fill=BAR if row else FIRST_BAR)
        name = fitted(label, SIDE - 84, FONT * 72 / DOTS)
        draw.text((6, top + 2), name, fill=INK, font=font)
        draw.text(
            (SIDE - 6, top + 2), f"{100 * probability:.1f} %", fill=INK, font=font, anchor="ra"
        )
    page.save(path)


def _photo(image: Tensor) -> Image.Image:
    channels = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    pixels = channels.permute(1, 2, 0).contiguous().to(torch.uint8).cpu().numpy()
    photo = Image.fromarray(pixels)
    height = max(1, round(SIDE * photo.height / photo.width))
    smooth = Image.Resampling.NEAREST if photo.width < SIDE / 2 else Image.Resampling.BICUBIC
    return photo.resize((SIDE, height), smooth)
