"""What happens after a step, in this order: is all finite, log, validate, save.

Each looks at the step first and does nothing most of the time. None waits for a GPU between its
intervals.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.core.results import Result
from ninefold.engine import checkpoint
from ninefold.engine.failure import peak_memory
from ninefold.engine.progress import Observer
from ninefold.engine.signals import SAVE, Signals
from ninefold.engine.update import NotFinite, State, finite


class Abandoned(Exception):
    """A validation was given up because a signal asks for a save; it is made up for later."""


class FiniteWatch:
    """Raises `NotFinite`: on a CPU at the step itself, on a GPU one step later, without waiting."""

    def __init__(self, device: torch.device) -> None:
        self._late = device.type == "cuda"
        self._pending: tuple[Tensor, torch.cuda.Event | None, NotFinite] | None = None

    def __call__(self, state: State, batch: Batch, logs: dict[str, Tensor]) -> None:
        error = NotFinite(logs, batch, state.step - 1)
        flag, event = finite(logs), None
        if self._late:
            # The answer travels to page-locked memory behind this step's work.
            flag = torch.empty((), dtype=torch.bool, pin_memory=True).copy_(flag, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            self.settle()
        self._pending = flag, event, error
        if not self._late:
            self.settle()

    def settle(self) -> None:
        """Look at what is still open; to be called before weights are judged or saved."""
        if self._pending is not None:
            flag, event, error = self._pending
            self._pending = None
            if event is not None:
                event.synchronize()
            if not bool(flag):
                raise error


class Logger:
    """Means since the last line, summed on the device and over ranks only when one is due."""

    def __init__(
        self, fabric: Fabric, observer: Observer, *, every: int, epoch: float, batch_size: int
    ) -> None:
        self._fabric, self._observer = fabric, observer
        self._every, self._epoch, self._batch_size = every, epoch, batch_size
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._since = time.perf_counter()

    def __call__(self, state: State, batch: Batch, logs: dict[str, Tensor]) -> None:
        self._observer.stepped(state.step)
        for name, value in logs.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if state.step % self._every == 0:
            self.flush(state)

    def flush(self, state: State) -> None:
        """Write the line of the steps since the last one."""
        if not self._count:
            return
        sums = torch.stack([value.float() for value in self._sums.values()])
        if self._fabric.world_size > 1:
            sums = self._fabric.all_reduce(sums, reduce_op="mean")
            assert isinstance(sums, Tensor)
        means = (sums / self._count).tolist()
        now = time.perf_counter()
        record: dict[str, Any] = {"step": state.step, "epoch": round(state.step / self._epoch, 4)}
        record |= dict(zip(self._sums, means, strict=True))
        record["lr"] = max(group["lr"] for group in state.optimizer.param_groups)
        record["images_per_second"] = self._count * self._batch_size / (now - self._since)
        record["memory"] = peak_memory(self._fabric.device)
        self._sums, self._count, self._since = {}, 0, now
        self._observer.logged(record)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Time that is no training: validations and saves."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start


class Validator:
    """Evaluates the validation part, and keeps the weights when they are the best so far.

    Args:
        validate: Evaluates the current weights (their average, where there is one).
        keep: Writes them as the run's model.
        metric: What decides; larger is better.
    """

    def __init__(
        self,
        *,
        every: int,
        stop: int,
        metric: str,
        validate: Callable[[State], Result],
        keep: Callable[[State], None],
        watch: FiniteWatch,
        logger: Logger,
        observer: Observer,
    ) -> None:
        self._every, self._stop, self._metric = every, stop, metric
        self._validate, self._keep = validate, keep
        self._watch, self._logger, self._observer = watch, logger, observer

    def due(self, step: int) -> bool:
        return step % self._every == 0 or step == self._stop

    def __call__(self, state: State, batch: Batch, logs: dict[str, Tensor]) -> None:
        if not self.due(state.step):
            return
        self._watch.settle()
        self._logger.flush(state)
        with self._logger.paused():
            try:
                self.judge(state)
            except Abandoned:
                return

    def judge(self, state: State) -> None:
        """Evaluate now."""
        result = self._validate(state)
        value = result.metrics[self._metric]
        best = value > state.best and result.metrics.get("loss", 0.0) < float("inf")
        if best:
            state.best = value
            self._keep(state)
        self._observer.evaluated(result, best)


class Saver:
    """Saves by interval, at the end, and when a signal asks; ends the run when one says so."""

    def __init__(
        self,
        *,
        fabric: Fabric,
        folder: Path,
        every: int,
        stop: int,
        keep: int,
        record: dict[str, Any],
        signals: Signals,
        watch: FiniteWatch,
        logger: Logger,
        observer: Observer,
    ) -> None:
        self._fabric, self._folder, self._record = fabric, folder, record
        self._every, self._stop, self._keep = every, stop, keep
        self._signals, self._watch = signals, watch
        self._logger, self._observer = logger, observer

    def __call__(self, state: State, batch: Batch, logs: dict[str, Tensor]) -> None:
        asked = self._signals.agreed(state.step, self._fabric.device)
        last = state.step == self._stop
        if not (asked or last or state.step % self._every == 0):
            return
        self._watch.settle()
        with self._logger.paused():
            path = self.save(state, needed=last or asked > SAVE)
        if asked > SAVE:
            raise self._signals.stopped_at(
                f"stopped at step {state.step} of {self._stop} and saved as {path}; go on with "
                "--resume",
                asked,
            )

    def save(self, state: State, *, needed: bool) -> Path | None:
        """Save now. Where the disk says no, a run goes on with a warning unless it is `needed`."""
        path = None
        if self._fabric.global_rank == 0:
            try:
                path = checkpoint.save(self._folder, state, self._record, keep=self._keep)
            except Failed as error:
                if needed:
                    raise
                checkpoint.log.error("%s; training goes on", error)
            else:
                self._observer.saved(path)
        self._fabric.barrier()
        return path
