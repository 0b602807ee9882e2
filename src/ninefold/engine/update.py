"""One optimizer step: the part of the loop that recipes exchange.

An update is a function `(fabric, state, batch) -> logs`. `descend` serves every optimizer, those
that call their closure twice (SAM) among them. A second network trained against the first (Patch
AutoAugment) is another update over the same `State`, whose `extra` holds the network and its
optimizer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ninefold.core.batch import Batch
from ninefold.tasks.task import Task


class Objective(nn.Module):
    """Model and task as one module from batch to losses.

    Whatever a loss calls of its model happens inside this one forward call, so data parallelism
    and precision apply to any task, two-stage detectors and input gradients included.
    """

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.task.loss(self.model, batch)


@dataclass
class State:
    """All that a resumed run needs; saved and restored as one object."""

    objective: nn.Module
    optimizer: Optimizer
    ema: nn.Module | None = None
    step: int = 0
    """Optimizer steps already taken."""
    best: float = float("-inf")
    """Best value of the task's leading metric on the validation part so far."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further modules and optimizers by name (an agent, a critic), saved likewise."""


@runtime_checkable
class Update(Protocol):
    """Take one optimizer step on one batch; return what is worth logging, as tensors."""

    def __call__(self, fabric: Fabric, state: State, batch: Batch) -> dict[str, Tensor]: ...


def descend(
    fabric: Fabric, state: State, batch: Batch, *, accumulate: int = 1, clip_norm: float = 0.0
) -> dict[str, Tensor]:
    """One step of any optimizer that takes a closure, on `accumulate` equal parts of the batch."""
    logs: dict[str, Tensor] = {}
    parts = batch.split(accumulate)

    def closure() -> Tensor:
        state.optimizer.zero_grad()
        total: Tensor | None = None
        for i, part in enumerate(parts):
            with fabric.no_backward_sync(state.objective, enabled=i < len(parts) - 1):
                losses = state.objective(part)
                fabric.backward(losses["loss"] / len(parts))
            _add(logs, losses, 1 / len(parts), fresh=i == 0)
        if clip_norm:
            logs["grad_norm"] = fabric.clip_gradients(
                state.objective, state.optimizer, max_norm=clip_norm, error_if_nonfinite=False
            )
        total = logs["loss"]
        return total

    state.optimizer.step(closure)
    return logs


def _add(logs: dict[str, Tensor], losses: dict[str, Tensor], share: float, *, fresh: bool) -> None:
    for name, value in losses.items():
        part = value.detach() * share
        logs[name] = part if fresh else logs[name] + part


def finite(logs: dict[str, Tensor]) -> Tensor:
    """Whether loss and gradient norm are finite, as a tensor: nothing waits for the device."""
    watched: Iterable[Tensor] = (logs[name] for name in ("loss", "grad_norm") if name in logs)
    return torch.stack([torch.isfinite(value).all() for value in watched]).all()
