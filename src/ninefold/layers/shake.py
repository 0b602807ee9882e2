"""Branches whose forward pass is scaled by one number and whose backward pass by another.

Source: Gastaldi 2017, arXiv 1705.07485 (Shake-Shake, the form drawn anew for every sample in both
passes); Yamada et al. 2019, arXiv 1802.02375, equation 4 (ShakeDrop); with the numbers of
kakaobrain/fast-autoaugment.
Shapes: b samples, then anything.

Departs: no autograd function of its own. What only the forward pass has is added without a
gradient, so any precision, compiler and higher derivative goes through; values are equal up to
rounding.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def shake_shake(
    x1: Float[Tensor, "b *rest"],
    x2: Float[Tensor, "b *rest"],
    alpha: Float[Tensor, " b"],
    beta: Float[Tensor, " b"],
) -> Float[Tensor, "b *rest"]:
    """`alpha x1 + (1 - alpha) x2` a sample; gradients are those of `beta x1 + (1 - beta) x2`."""
    a, b = _like(alpha, x1), _like(beta, x1)
    return b * x1 + (1 - b) * x2 + ((a - b) * (x1 - x2)).detach()


def shake_drop(
    x: Float[Tensor, "b *rest"],
    alpha: Float[Tensor, " b"],
    beta: Float[Tensor, " b"],
    kept: Bool[Tensor, " b"],
) -> Float[Tensor, "b *rest"]:
    """`alpha x` with the gradient of `beta x` for samples that are not kept, x for the others."""
    a = _like(torch.where(kept, 1.0, alpha), x)
    b = _like(torch.where(kept, 1.0, beta), x)
    return b * x + ((a - b) * x).detach()


class ShakeShake(nn.Module):
    """Two branches into one: mixed at random in training, their mean in evaluation."""

    def forward(
        self, x1: Float[Tensor, "b *rest"], x2: Float[Tensor, "b *rest"]
    ) -> Float[Tensor, "b *rest"]:
        if not self.training:
            return 0.5 * (x1 + x2)
        alpha, beta = torch.rand(2, len(x1), device=x1.device)
        return shake_shake(x1, x2, alpha, beta)


class ShakeDrop(nn.Module):
    """Disturb a branch instead of dropping it.

    In training the branch passes with probability `1 - rate`, else it is scaled by a number between
    -1 and 1 a sample, and its gradient by another between 0 and 1; in evaluation it is scaled by
    `1 - rate`, the mean of all that.

    Args:
        rate: Probability of disturbing it.
        per_sample: Whether each sample is dealt with by itself, or the batch as one, as published.
    """

    def __init__(self, rate: float, *, per_sample: bool = False) -> None:
        super().__init__()
        self.rate, self.per_sample = rate, per_sample

    def forward(self, x: Float[Tensor, "b *rest"]) -> Float[Tensor, "b *rest"]:
        if not self.training:
            return (1 - self.rate) * x
        alpha, beta = torch.rand(2, len(x), device=x.device)
        drawn = torch.rand(len(x) if self.per_sample else 1, device=x.device)
        return shake_drop(x, 2 * alpha - 1, beta, (drawn >= self.rate).expand(len(x)))

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}, per_sample={self.per_sample}"


def _like(value: Tensor, x: Tensor) -> Tensor:
    return value.to(x.dtype).view(-1, *(1,) * (x.dim() - 1))
