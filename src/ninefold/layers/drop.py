"""Stochastic depth.

Source: Huang et al. 2016, arXiv 1603.09382, section 3; the scaling by the probability of being kept
as in the vision transformers' code.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.linear import is_watched


class DropPath(nn.Module):
    """In training, zero a residual branch for a random share of the samples.

    Args:
        rate: Probability of dropping a sample's branch, below 1.
        scale_by_keep: Whether branches that are kept are scaled up for it.
    """

    def __init__(self, rate: float, *, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.rate, self.scale_by_keep = rate, scale_by_keep

    def forward(self, x: Float[Tensor, "b *rest"]) -> Float[Tensor, "b *rest"]:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = torch.rand(x.shape[0], *(1,) * (x.dim() - 1), device=x.device) < keep
        return x * (kept.to(x.dtype) / (keep if self.scale_by_keep else 1.0))

    def is_idle(self) -> bool:
        """Whether branches pass unchanged and unwatched, so that nobody misses the call."""
        return not (self.training and self.rate) and not is_watched(self)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def rising_rates(rate: float, depth: int) -> list[float]:
    """Rates of `depth` blocks, rising linearly from 0 to `rate` at the last."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]
