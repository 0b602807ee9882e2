"""What happens to a sample at evaluation, prediction and serving.

Shapes: c channels, h rows, w columns, s the side of the square.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from ninefold.core.batch import Sample
from ninefold.core.preprocess import Preprocess
from ninefold.data.decode import decode
from ninefold.layers.image import evaluation_view


@dataclass(frozen=True)
class EvaluationTransform:
    """The sample transform of everything but training: no randomness, the generator is unused."""

    preprocess: Preprocess

    def __call__(self, sample: Sample, generator: torch.Generator, image_size: int) -> Sample:
        """The sample with its image as a square, uint8."""
        return replace(sample, x=self.view(sample.x, image_size))

    def view(self, image: UInt8[Tensor, "c h w"], image_size: int) -> UInt8[Tensor, "d s s"]:
        """The square of an upright image, with the model's number of channels."""
        if image.shape[0] != self.preprocess.channels:
            image = decode(image, channels=self.preprocess.channels)
        return evaluation_view(image, self.preprocess, image_size).contiguous()
