"""A moving average of a model's weights.

Source: Polyak averaging with exponential weights; the start is corrected as in Adam (Kingma and Ba
2015, arXiv 1412.6980, section 3).
"""
# pyright: reportPrivateImportUsage=false
# The `torch._foreach_` functions, which torch's own optimizers call, have no public names.

from copy import deepcopy
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """The exponentially weighted mean of all weights that `update` has seen.

    After n updates the weights of update t count with `decay ** (n - t)`, over the sum of these
    shares: so the weights before the first update never count, and a short training is not an
    average of noise. Buffers (statistics of BatchNorm, counts) are those of the last update.

    By the rule of TensorFlow's `ExponentialMovingAverage` with `num_updates`, with which
    EfficientNets were trained, the average starts at the first weights instead, update n keeps
    `min(decay, (1 + n) / (10 + n))` of it, and running statistics are averaged likewise.

    Args:
        model: Copied; `module` is the copy, in evaluation mode and without gradients.
        decay: Share of the average that an update keeps, in the long run.
        rule: `corrected` or `tensorflow`.
    """

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        *,
        rule: Literal["corrected", "tensorflow"] = "corrected",
    ) -> None:
        super().__init__()
        self.rule = rule
        self.module = deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Count the weights of `model`, which must be built as the one that was copied."""
        self.updates += 1
        averaged: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        for mine, theirs in zip(self.module.buffers(), model.buffers(), strict=True):
            if self.rule == "tensorflow" and mine.is_floating_point():
                averaged.append(mine)
                current.append(theirs)
            else:
                mine.copy_(theirs)
        torch._foreach_lerp_(averaged, current, self.share)

    @property
    def share(self) -> float:
        """Share of the average that the weights of the last update have."""
        n = self.updates
        if self.rule == "tensorflow":
            return 1.0 - min(self.decay, (1 + n) / (10 + n))
        return (1.0 - self.decay) / (1.0 - self.decay**n)

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
