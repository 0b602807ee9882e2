"""Observers that keep what is logged: lines of JSON, and TensorBoard where it is installed."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

from ninefold.core.results import Result, append_line
from ninefold.engine.folder import LOG, RESULTS
from ninefold.engine.progress import Observer, Plan

log = logging.getLogger(__name__)


def sinks(folder: Path) -> list[Observer]:
    """What every run's folder gets."""
    found: list[Observer] = [LogFile(folder)]
    if importlib.util.find_spec("tensorboard") is not None:
        found.append(TensorBoard())
    return found


class LogFile:
    """`log.jsonl` with training and validation, `results.jsonl` with every result.

    A disk that is full for a while costs the lines of that while, each told, and nothing more.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def started(self, plan: Plan) -> None:
        pass

    def stepped(self, step: int) -> None:
        pass

    def logged(self, record: dict[str, Any]) -> None:
        self._write(LOG, record)

    def evaluated(self, result: Result, best: bool) -> None:
        if result.split == "val":
            self._write(LOG, {"step": result.step, "split": "val", **result.metrics, "best": best})
        self._write(RESULTS, result.line())

    def saved(self, path: Path) -> None:
        pass

    def finished(self, results: list[Result]) -> None:
        pass

    def _write(self, name: str, record: dict[str, Any]) -> None:
        try:
            append_line(self._folder / name, record)
        except OSError as error:
            log.warning("%s: a line could not be written: %s", self._folder / name, error)


class TensorBoard:
    """`tensorboard/` of the run's folder: one scalar a name, `train/...` and `val/...`."""

    def __init__(self) -> None:
        self._writer: Any = None

    def started(self, plan: Plan) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(plan.folder / "tensorboard"), purge_step=plan.first + 1)

    def stepped(self, step: int) -> None:
        pass

    def logged(self, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(f"train/{name}", value, record["step"])

    def evaluated(self, result: Result, best: bool) -> None:
        for name, value in result.metrics.items():
            self._writer.add_scalar(f"{result.split}/{name}", value, result.step)
        self._writer.flush()

    def saved(self, path: Path) -> None:
        self._writer.flush()

    def finished(self, results: list[Result]) -> None:
        if self._writer is not None:  # nothing where the run was refused before it started
            self._writer.close()
