"""What a training shows on stderr: a bar on a terminal, a line an evaluation elsewhere."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ninefold.app import printing
from ninefold.core.results import Result
from ninefold.engine.progress import Plan


class Progress:
    """An `engine.progress.Observer`; as a context it leaves the terminal as it found it."""

    def __init__(self) -> None:
        self.folder = Path()
        """The run's."""
        self.classes = 0
        """How many there are."""
        self.results: list[Result] = []
        """The last results of each split, once the training is finished."""
        self._console = Console(stderr=True)
        self._bar = self._new_bar()
        self._steps_per_epoch = 1.0

    def _new_bar(self) -> Bar:
        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = bar.add_task("", total=None, told="")
        return bar

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def started(self, plan: Plan) -> None:
        self.folder, self._steps_per_epoch = plan.folder, plan.steps_per_epoch
        self.classes = len(plan.classes)
        print(plan.folder, flush=True)
        images = ", ".join(f"{count:,} {split}" for split, count in plan.images.items())
        for note in plan.notes:
            self._say(note)
        self._say(
            f"{plan.model}: {printing.short(plan.parameters)} parameters, {len(plan.classes)} "
            f"classes; images: {images}; steps {plan.first:,} to {plan.stop:,} of "
            f"{plan.batch_size} images on {plan.device} ({plan.precision})"
        )
        self._bar = self._new_bar()
        self._bar.update(
            self._task, description=plan.folder.name, total=plan.stop, completed=plan.first
        )
        if self._console.is_terminal:
            self._bar.start()

    def stepped(self, step: int) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, completed=step)

    def logged(self, record: dict[str, Any]) -> None:
        self._bar.update(self._task, told=_told(record))

    def evaluated(self, result: Result, best: bool) -> None:
        epoch = result.step / self._steps_per_epoch
        mark = "  (best so far)" if best and result.split == "val" else ""
        mark = "  (the best weights)" if result.split == "test" else mark
        told = printing.in_brief(printing.telling(result.metrics, self.classes))
        metrics = printing.metrics(told)
        self._say(f"epoch {epoch:.1f}  {result.split}  {metrics}{mark}")

    def saved(self, path: Path) -> None:
        pass

    def finished(self, results: list[Result]) -> None:
        self.results = results
        self._stop()

    def _stop(self) -> None:
        if self._bar.live.is_started:  # a bar that never began would leave an empty line
            self._bar.stop()

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr)


def _told(record: dict[str, Any]) -> str:
    parts = [f"loss {record['loss']:.3f}"]
    if "top1" in record:
        parts.append(f"accuracy {100 * record['top1']:.1f} %")
    parts.append(f"{record['images_per_second']:,.0f} images/s")
    if record.get("memory"):
        parts.append(f"{record['memory'] / 2**30:.1f} GiB")
    return "  ".join(parts)
