"""What the loss is: numbers only."""

from pydantic import Field

from ninefold.core.config import Config


class Loss(Config):
    """The loss of a classification task."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of each target that is spread evenly over all classes."""
    sigmoid: bool = False
    """Ask of each class apart whether it is there: sigmoid cross-entropy, summed over classes, also
    of images with one label (as ViTs are pre-trained)."""
    custom: str = ""
    """`package.module:Name`, called as `f(logits, target) -> scalar` (of a class, an object is made
    first, without arguments); nothing for the task's own: softmax cross-entropy, or sigmoid
    cross-entropy where an image has several labels."""
