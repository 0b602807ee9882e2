"""An augmentation, a loss and an optimizer."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ninefold.core.batch import Batch


def noise(batch: Batch) -> Batch:
    """Gaussian noise on normalised images; the run's seed decides it."""
    assert isinstance(batch.x, Tensor)
    return replace(batch, x=batch.x + 0.1 * torch.randn_like(batch.x))


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy that cares less for what is already right (Lin et al. 2017, eq. 5, gamma 2)."""
    loss = F.cross_entropy(logits, target, reduction="none")
    return ((1 - torch.exp(-loss)) ** 2 * loss).mean()


class Signs(torch.optim.Optimizer):
    """A step of `lr` along the sign of a running mean of gradients (Chen et al. 2023, Lion)."""

    def __init__(self, params: Iterable, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def step(self, closure: Callable[[], Tensor]) -> Tensor:
        with torch.enable_grad():
            loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.sub_(torch.sign(0.9 * mean + 0.1 * p.grad), alpha=group["lr"])
                    mean.lerp_(p.grad, 0.01)
        return loss
