"""What is done to training images: numbers only."""

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ninefold.core.config import Config


class Patches(Config):
    """Patch AutoAugment: an operation of its own for every patch of every image."""

    grid: NonNegativeInt = 0
    """Patches along each side of an image; 0 for none of this."""
    credit: Literal["image", "team", "official", "uniform"] = "image"
    """What the agents that choose operations learn from: each image's own loss, the mean loss of
    all (the paper's objective), or that as the official program has it; `uniform`: no agents, and
    operations drawn at random."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of the agents (SGD with Nesterov momentum); it follows the schedule."""
    entropy: NonNegativeFloat = 0.001
    """What the entropy of their choices is worth to them."""
    official: bool = False
    """As the official program: the last row and column of patches stay, and five operations are
    left out every second time."""


class Augment(Config):
    """Order: crop, flip, RandAugment (or colour jitter), on each image; then normalise, operate on
    patches, erase, Mixup or CutMix, and the user's own, on the batch."""

    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    """`random_resized`: a random part of the image (Inception crop); `pad`: pad by an eighth and
    cut (CIFAR); `none`: as in evaluation."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area that a random part covers."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width over height of that part, drawn log-uniformly."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    randaugment: str = ""
    """timm's notation, `rand-m9-mstd0.5-inc1`; nothing for none."""
    color_jitter: NonNegativeFloat = 0.0
    """Strength of brightness, contrast and saturation jitter; ignored beside `randaugment`."""
    patches: Patches = Patches()
    """Patch AutoAugment."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of the beta distribution of Mixup's weight; 0 for none."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha likewise for CutMix's area."""
    mix_probability: float = Field(default=1.0, ge=0, le=1)
    """Share of batches that are mixed at all."""
    cutmix_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the mixed batches that get CutMix where both are on."""
    erase: float = Field(default=0.0, ge=0, le=1)
    """Probability that anything of an image is erased."""
    erase_count: PositiveInt = 1
    """Rectangles erased at the most."""
    erase_mode: Literal["pixel", "constant"] = "pixel"
    """Fill with noise a pixel, or with zeros."""
    custom: str = ""
    """`package.module:Name`, called as `f(batch) -> batch` on the device, after all the others; of
    a class, an object is made first, without arguments."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        least, largest = self.crop_area
        if not 0 < least <= largest <= 1:
            raise ValueError(f"crop_area {self.crop_area} must rise within (0, 1]")
        narrow, wide = self.crop_aspect
        if not 0 < narrow <= wide:
            raise ValueError(f"crop_aspect {self.crop_aspect} must rise from above 0")
        return self
