"""From a loaded batch to the model's input: to the device, to floats, normalised, augmented.

Shapes: b samples, c channels.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.preprocess import Preprocess


class Prepare:
    """Called with a batch and the step it is for; the same for training and evaluation.

    Args:
        augment: What is done to a normalised batch of a step on the device, in training; `None`
            otherwise.
        first: What is done before that to a loaded batch of a step, whose images it moves to the
            device and leaves uint8; `None` for nothing.
    """

    def __init__(
        self,
        preprocess: Preprocess,
        device: torch.device,
        augment: Callable[[Batch, int], Batch] | None = None,
        first: Callable[[Batch, int], Batch] | None = None,
    ) -> None:
        self._device, self._augment, self._first = device, augment, first
        std = torch.tensor(preprocess.std, dtype=torch.float64)
        mean = torch.tensor(preprocess.mean, dtype=torch.float64)
        self._scale = (1 / (255 * std)).float().to(device)
        self._shift = (mean / std).float().to(device)

    def __call__(self, batch: Batch, step: int = 0) -> Batch:
        batch = (self._first(batch, step) if self._first else batch).to(self._device)
        if isinstance(batch.x, Tensor):
            x = self._normalised(batch.x)
        else:
            x = {name: self._normalised(value) for name, value in batch.x.items()}
        batch = replace(batch, x=x)
        return self._augment(batch, step) if self._augment else batch

    def _normalised(self, x: Tensor) -> Tensor:
        """Images and clips arrive as uint8 with channels second; other inputs are left alone."""
        if x.dtype != torch.uint8:
            return x
        shape = (-1,) + (1,) * (x.ndim - 2)
        return x.float().mul_(self._scale.view(shape)).sub_(self._shift.view(shape))
