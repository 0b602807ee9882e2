"""Who watches a training: the command's progress bar, the log file, TensorBoard, a sweep.

An observer gets plain records and never touches model, optimizer or random numbers. Only rank 0
has observers. One that fails is told once and dropped; it never stops a training, save by raising
`core.errors.Stopped` (a sweep that prunes): then the run is saved at the next step boundary, as
after a signal, and can go on.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ninefold.core.errors import Stopped
from ninefold.core.results import Result
from ninefold.engine.signals import Signals

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is about to happen, told once before the first step.

    Args:
        folder: The run's folder.
        model: Its name.
        parameters: Number of trainable parameters.
        images: Images in each split, by name.
        classes: Names by id.
        first: Optimizer steps already taken; above 0 where a run goes on.
        stop: Optimizer steps at the end.
        steps_per_epoch: Optimizer steps an epoch; not a whole number in general.
        batch_size: Images an optimizer step.
        device: `cpu`, `cuda: NVIDIA ...`, with the number of processes.
        precision: `32-true` or `bf16-mixed`.
        best: The metric by which the best weights are chosen.
        notes: What was decided on the way, one sentence each.
    """

    folder: Path
    model: str
    parameters: int
    images: dict[str, int]
    classes: tuple[str, ...]
    first: int
    stop: int
    steps_per_epoch: float
    batch_size: int
    device: str
    precision: str
    best: str
    notes: tuple[str, ...]


@runtime_checkable
class Observer(Protocol):
    """Called in this order: `started`; then the next four, again and again; `finished`."""

    def started(self, plan: Plan) -> None:
        """Everything is checked and built; the first step comes next."""
        ...

    def stepped(self, step: int) -> None:
        """`step` optimizer steps are done. Called every step: keep it cheap."""
        ...

    def logged(self, record: dict[str, Any]) -> None:
        """A line of `log.jsonl`: `step epoch loss lr images_per_second memory`, and what else the
        task logs; means since the last line."""
        ...

    def evaluated(self, result: Result, best: bool) -> None:
        """A split was evaluated; `best` if no validation so far was better."""
        ...

    def saved(self, path: Path) -> None:
        """A checkpoint is safe on the disk."""
        ...

    def finished(self, results: list[Result]) -> None:
        """The last results of each split; empty where the run ended early."""
        ...


class Observers:
    """Several observers as one, none of which can stop a training by failing."""

    def __init__(self, observers: Iterable[Observer], signals: Signals) -> None:
        self._observers, self._signals = list(observers), signals

    def started(self, plan: Plan) -> None:
        self._tell("started", plan)

    def stepped(self, step: int) -> None:
        self._tell("stepped", step)

    def logged(self, record: dict[str, Any]) -> None:
        self._tell("logged", record)

    def evaluated(self, result: Result, best: bool) -> None:
        self._tell("evaluated", result, best)

    def saved(self, path: Path) -> None:
        self._tell("saved", path)

    def finished(self, results: list[Result]) -> None:
        self._tell("finished", results)

    def _tell(self, event: str, *values: Any) -> None:
        for observer in tuple(self._observers):
            try:
                getattr(observer, event)(*values)
            except Stopped as stopped:
                self._signals.stop(stopped)
            except Exception as error:  # whatever a dashboard does wrong, the training goes on
                self._observers.remove(observer)
                log.warning(
                    "%s failed (%s: %s) and is no longer told; training goes on",
                    type(observer).__name__, type(error).__name__, error,
                )  # fmt: skip
