"""What every task offers to the engine: a loss, metrics and decoded predictions.

A task knows labels; a model does not. Detection calls its detector's parts inside `loss`, since
the engine runs `loss` inside one forward call of the (possibly distributed) module.
"""

from typing import Any, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from ninefold.core.batch import Batch


@runtime_checkable
class Metrics(Protocol):
    """Numbers gathered over batches; picklable, so that ranks can send theirs."""

    def update(self, output: Any, batch: Batch) -> None:
        """Count one batch; rows whose `batch.index` is -1 are fillers and do not count."""
        ...

    def merge(self, other: Self) -> None:
        """Add what another rank counted."""
        ...

    def compute(self) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics by the names of DESIGN section 5, and arrays for figures."""
        ...


@runtime_checkable
class Task(Protocol):
    """One task with its classes."""

    name: str
    classes: tuple[str, ...]
    best: str
    """The metric by which the best checkpoint is chosen; larger is better."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """`loss`, which is minimised, and whatever else is worth logging: detached scalars, under
        the same names at every step and on every rank, a batch without objects included."""
        ...

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        """What `metrics` and `predict` read, of a batch in evaluation: the one place that knows
        what a model is given beside `x` (sizes before padding) and in how many passes."""
        ...

    def metrics(self) -> Metrics:
        """A fresh count."""
        ...

    def predict(self, output: Any, batch: Batch, *, top: int) -> list[dict[str, Any]]:
        """One record a sample, with the keys of DESIGN section 2 (`label probability ...`)."""
        ...
