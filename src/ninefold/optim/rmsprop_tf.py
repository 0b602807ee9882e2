"""RMSProp as TensorFlow has it, which EfficientNets are trained with.

Source: google/automl (efficientnetv2), `tf.train.RMSPropOptimizer`; efficientnetv2-paa
specification, section A8.
"""
# pyright: reportPrivateImportUsage=false
# The `torch._foreach_` functions, which torch's own optimizers call, have no public names.

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from ninefold.core.errors import Refused


class RMSpropTF(Optimizer):
    """`s = decay s + (1 - decay) g^2; m = momentum m + lr g / sqrt(s + eps); w = w - m`.

    Three differences from `torch.optim.RMSprop`: s starts at 1, eps stands below the root, and the
    rate is inside the momentum, so that a change of it does not scale what was gathered before.

    Args:
        params: Tensors, or groups of them.
        lr: Learning rate.
        decay: Share of the running square that a step keeps (TensorFlow's `rho`).
        momentum: Share of the last update that is kept.
        eps: Added to the running square.
        weight_decay: Times the weight, added to the gradient: half the squared weights in the loss.

    Raises:
        Refused: values out of bounds.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float = 0.01,
        decay: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        if lr < 0 or eps <= 0 or weight_decay < 0 or not (0 <= decay < 1 and 0 <= momentum < 1):
            raise Refused(
                f"RMSpropTF: lr {lr:g}, decay {decay:g}, momentum {momentum:g}, eps {eps:g}, "
                f"weight_decay {weight_decay:g}; decay and momentum lie in [0, 1), eps above 0"
            )
        super().__init__(
            params,
            {
                "lr": lr,
                "decay": decay,
                "momentum": momentum,
                "eps": eps,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]: torch's stub has overloads
        """Take one step; returns what `closure` does, where there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            for p in trained:
                if not self.state[p]:
                    self.state[p]["square"] = torch.ones_like(p)
                    self.state[p]["momentum"] = torch.zeros_like(p)
            if trained:
                _update(group, trained, [self.state[p] for p in trained])
        return loss


# The functions over lists are public in all but name; torch's own optimizers are made of them.
def _update(group: dict[str, Any], weights: list[Any], states: list[dict[str, Any]]) -> None:
    gradients = [w.grad for w in weights]
    squares = [state["square"] for state in states]
    moments = [state["momentum"] for state in states]
    if group["weight_decay"]:
        gradients = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
    torch._foreach_mul_(squares, group["decay"])
    torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
    roots = torch._foreach_add(squares, group["eps"])
    torch._foreach_sqrt_(roots)
    torch._foreach_mul_(moments, group["momentum"])
    torch._foreach_addcdiv_(moments, gradients, roots, float(group["lr"]))
    torch._foreach_sub_(weights, moments)
