"""What the address of a generated data set may say after its question mark."""

from pydantic import Field, NonNegativeInt, PositiveInt

from ninefold.core.config import Config


class Synthetic(Config):
    """A generated data set: `synthetic://<kind>?<field>=<value>&...`."""

    size: int = Field(default=64, ge=16, le=1024)
    """Side of the square pictures, in pixels."""
    train: PositiveInt = 2000
    """Pictures to train on."""
    val: PositiveInt = 240
    """Pictures to choose the best checkpoint on."""
    test: NonNegativeInt = 500
    """Pictures to measure the final model on; 0 for none."""
    seed: NonNegativeInt = 0
    """Another seed gives other pictures of the same kind."""
    channels: int = Field(default=3, ge=1, le=64)
    """Channels of a picture; colours are random in all of them."""
