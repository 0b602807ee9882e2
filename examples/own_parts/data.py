"""A data set: a callable that is told a split and gives images with class ids, or None."""

import random

from PIL import Image


def picture(label: int, level: float, *, seed: int) -> Image.Image:
    """Stripes along the rows (0) or the columns (1), on noise, 32 pixels square."""
    values = random.Random(seed)
    image = Image.new("RGB", (32, 32))
    shift = values.randrange(8)
    for x in range(32):
        for y in range(32):
            stripe = ((x if label else y) + shift) // 4 % 2
            bright = 255 * level * stripe + 80 * values.random()
            image.putpixel((x, y), (int(bright), int(bright), 60))
    return image


class Stripes:
    """A map-style set, as torch has them."""

    classes = ("level", "upright")

    def __init__(self, count: int, first: int) -> None:
        self.targets = [i % 2 for i in range(count)]
        self._first = first

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        return picture(self.targets[i], 0.5, seed=self._first + i), self.targets[i]


def stripes(split: str) -> Stripes:
    counts = {"train": 96, "val": 32, "test": 32}
    return Stripes(counts[split], first=1000 * list(counts).index(split))
