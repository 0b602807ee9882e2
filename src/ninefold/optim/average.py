"""A moving average of a model's weights.

Source: Polyak averaging with exponential weights; the start is corrected as in Adam (Kingma and Ba
2015, arXiv 1412.6980, section 3).
"""

from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """The exponentially weighted mean of all weights that `update` has seen.

    After n updates the weights of update t count with `decay ** (n - t)`, over the sum of these
    shares: so the weights before the first update never count, and a short training is not an
    average of noise. Buffers (statistics of BatchNorm, counts) are those of the last update.

    Args:
        model: Copied; `module` is the copy, in evaluation mode and without gradients.
        decay: Share of the average that an update keeps, in the long run.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count the weights of `model`, which must be built as the one that was copied."""
        self.updates += 1
        share = (1.0 - self.decay) / (1.0 - self.decay**self.updates)
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        torch._foreach_lerp_(averaged, current, share)  # pyright: ignore[reportPrivateImportUsage]
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(theirs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the averaged model."""
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> Self:
        """Nothing: an average is never trained."""
        return self

    def get_extra_state(self) -> Tensor:
        """The number of updates, as part of the `state_dict`."""
        return torch.tensor(self.updates)

    def set_extra_state(self, state: Tensor) -> None:
        self.updates = int(state)
