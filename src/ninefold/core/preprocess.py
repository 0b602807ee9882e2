"""How an image becomes a model's input at evaluation, prediction and serving."""

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
)

from ninefold.core.config import Config

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Preprocess(Config):
    """Resize, crop and normalise. Saved with every model, so that all doors treat images alike."""

    image_size: PositiveInt = 224
    """Side of the model's square input, in pixels."""
    channels: PositiveInt = 3
    """Channels of the input; images with another number are refused, but grey to RGB and back."""
    mean: tuple[NonNegativeFloat, ...] = Field(default=IMAGENET_MEAN, validate_default=True)
    """Subtracted from values in [0, 1]: one for all channels, or one a channel. Three values, as
    presets have them for red, green and blue, become their average for other channels."""
    std: tuple[PositiveFloat, ...] = Field(default=IMAGENET_STD, validate_default=True)
    """Divided by, likewise."""
    crop_fraction: float = Field(default=0.875, gt=0, le=1)
    """The shorter side is resized to `image_size / crop_fraction`, then the centre is cropped."""
    squash: bool = False
    """Resize straight to the square, without regard to aspect and without a crop."""
    interpolation: Literal["bicubic", "bilinear", "nearest"] = "bicubic"
    """Always antialiased, `nearest` excepted."""

    @field_validator("mean", "std")
    @classmethod
    def _one_a_channel(cls, values: tuple[float, ...], info: Any) -> tuple[float, ...]:
        channels: int = info.data.get("channels", len(values))
        if len(values) in (1, channels):
            return values
        if len(values) == 3:
            return (round(sum(values) / 3, 4),)
        raise ValueError(f"{len(values)} values for {channels} channels; 1 or {channels} fit")
