"""One optimizer step: the part of the loop that recipes exchange.

An update is a function `(fabric, state, batch) -> logs`. `descend` serves every optimizer, those
that call their closure twice (SAM) among them. A second network trained against the first (Patch
AutoAugment, `engine.co_train`) is another update over the same `State`, whose `extra` holds the
network and its optimizer.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, Self, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from ninefold.core.batch import Batch
from ninefold.layers.norm import keep_statistics
from ninefold.optim.average import Ema
from ninefold.optim.sam import SAM
from ninefold.tasks.task import Task


class NotFinite(Exception):
    """A loss or gradient norm is not finite; `engine.failure` finds out where it began."""

    def __init__(self, logs: dict[str, Tensor], batch: Batch, step: int) -> None:
        super().__init__(f"step {step}")
        self.logs, self.batch, self.step = logs, batch, step


class Objective(nn.Module):
    """Model and task as one module from batch to losses.

    Whatever a loss calls of its model happens inside this one forward call, so data parallelism
    and precision apply to any task, two-stage detectors and input gradients included.

    Args:
        frozen: Modules of the model that stay in evaluation mode while the others train.
    """

    def __init__(self, model: nn.Module, task: Task, frozen: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.model, self.task = model, task
        self._frozen = tuple(frozen)  # a tuple, so that no name of a weight changes

    def train(self, mode: bool = True) -> Self:
        """As always, but for what is frozen."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.task.loss(self.model, batch)


@dataclass
class State:
    """All that a resumed run needs; saved and restored as one object."""

    objective: nn.Module
    optimizer: Optimizer
    ema: Ema | None = None
    step: int = 0
    """Optimizer steps already taken."""
    best: float = float("-inf")
    """Best value of the task's leading metric on the validation part so far."""
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Further modules and optimizers by name (an agent, a critic), saved likewise."""

    @property
    def model(self) -> nn.Module:
        """The network itself, without task, precision and data parallelism around it."""
        objective: Any = self.objective
        return getattr(objective, "module", objective).model


@runtime_checkable
class Update(Protocol):
    """Take one optimizer step on one batch; return what is worth logging, as tensors."""

    def __call__(self, fabric: Fabric, state: State, batch: Batch) -> dict[str, Tensor]: ...


def descend(
    fabric: Fabric, state: State, batch: Batch, *, accumulate: int = 1, clip_norm: float = 0.0
) -> dict[str, Tensor]:
    """One step of any optimizer that takes a closure, on `accumulate` equal parts of the batch.

    SAM's closure is told by the optimizer where it is: gradients to climb by are neither clipped
    nor, where they are local, averaged over ranks; uphill, running statistics stay. With GSAM both
    gradients of a rank stay its own until it has taken them apart.

    Returns:
        Losses and `grad_norm` (before clipping) of the closure's first call; with SAM `climb`, by
        how much the loss is higher uphill (0 in a step that does not climb).

    Raises:
        NotFinite: on a CPU, before the optimizer has touched a weight, and with SAM everywhere;
            elsewhere the caller looks at the logs, since asking here would wait for the device.
    """
    logs: dict[str, Tensor] = {}
    untyped: Any = fabric  # its type of a wrapped module is private
    sam = state.optimizer if isinstance(state.optimizer, SAM) else None
    shards = sam.shards if sam else 1
    parts = batch.split(accumulate * shards)
    uphill: dict[str, Tensor] = {}

    def closure() -> Any:
        state.optimizer.zero_grad()
        first = sam.shard * accumulate if sam else 0
        climbed = sam is not None and sam.climbed
        apart = sam is not None and ((sam.climbing and sam.local) or (sam.climbed and sam.apart))
        found: dict[str, Tensor] = {}
        with keep_statistics(state.model) if climbed else nullcontext():
            for i, part in enumerate(parts[first : first + accumulate]):
                alone = apart or i < accumulate - 1
                with untyped.no_backward_sync(state.objective, enabled=alone):
                    losses = state.objective(part)
                    fabric.backward(losses["loss"] / accumulate)
                _add(found, losses, 1 / accumulate)
        if not climbed:  # there SAM takes the norm itself
            found["grad_norm"] = _clip(fabric, state, 0.0 if sam else clip_norm)
        if fabric.device.type == "cpu" and not finite(found):
            raise NotFinite(found, batch, state.step)
        if climbed:
            _add(uphill, {"loss": found["loss"]}, 1 / shards)
        elif sam or not logs:
            _add(logs, found, 1 / shards)
        return found["loss"]

    if sam is None:
        state.optimizer.step(closure)
        return logs

    def before_base(*_: Any) -> None:
        if clip_norm:
            torch.nn.utils.clip_grads_with_norm_(state.model.parameters(), clip_norm, sam.norm)

    skipped = sam.skipped
    inner: Any = getattr(sam, "optimizer", sam)  # Fabric's wrapper hands on what is read, not set
    inner.average = partial(_average, fabric) if fabric.world_size > 1 else None
    hook = sam.base.register_step_pre_hook(before_base)
    try:
        sam.step(closure)
    finally:
        hook.remove()
    if sam.skipped > skipped:
        raise NotFinite(logs | {"grad_norm": sam.norm}, batch, state.step)
    logs["climb"] = uphill.get("loss", logs["loss"]) - logs["loss"]
    return logs


def _average(fabric: Fabric, gradients: list[Tensor]) -> None:
    """Put the mean over ranks into gradients that no backward pass has averaged."""
    untyped: Any = fabric
    means: Any = untyped.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="mean")
    parts = means.split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def _add(sums: dict[str, Tensor], losses: dict[str, Tensor], share: float) -> None:
    """Add a part's share; of what is told of each image (`each`), put the parts together."""
    for name, value in losses.items():
        if name == "each":
            sums[name] = torch.cat([sums[name], value.detach()]) if name in sums else value.detach()
            continue
        part = value.detach() * share
        sums[name] = sums[name] + part if name in sums else part


def _clip(fabric: Fabric, state: State, clip_norm: float) -> Tensor:
    """The norm of all gradients together, which are then scaled down to `clip_norm` unless 0."""
    if not clip_norm:
        gradients = [p.grad for p in state.objective.parameters() if p.grad is not None]
        return torch.nn.utils.get_total_norm(gradients)
    norm = fabric.clip_gradients(
        state.objective, state.optimizer, max_norm=clip_norm, error_if_nonfinite=False
    )
    assert norm is not None
    return norm


def finite(logs: dict[str, Tensor]) -> Tensor:
    """Whether losses and gradient norm are finite, as a tensor: nothing waits for the device."""
    watched = [logs[name] for name in ("loss", "grad_norm", "agent_loss") if name in logs]
    return torch.isfinite(torch.stack(watched)).all()
