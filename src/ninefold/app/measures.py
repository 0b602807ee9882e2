"""`ninefold eval --shift` and `--curvature`: measures of a model beside its plain metrics."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ninefold.app import printing
from ninefold.augment.severities import SEVERITIES, chosen_corruptions
from ninefold.core.errors import Refused
from ninefold.core.results import Result, append_line
from ninefold.engine.corrupted import by_corruption
from ninefold.engine.figures import draw_shift
from ninefold.engine.folder import RESULTS
from ninefold.engine.opened import Opened


def check_measures(given: Namespace) -> None:
    """See that the flags go together.

    Raises:
        Refused: they do not, or a corruption that there is not.
    """
    if given.shift is not None and given.curvature:
        raise Refused("--shift and --curvature are two measures; one at a time")
    if not given.curvature and (given.blocks or given.eigenvalues is not None):
        flag = "--blocks" if given.blocks else "--eigenvalues"
        raise Refused(f"{flag}: belongs to --curvature")
    if given.shift:
        chosen_corruptions(given.shift)


def corrupted(opened: Opened, data: Any, given: Namespace) -> int:
    """A table by corruption and severity; a line each in a run's results, and a picture."""
    result = opened.evaluate(
        data, split=given.split or "test", batch_size=given.batch_size,
        corrupt=given.shift or "all", images=given.images or 0,
    )  # fmt: skip
    best = opened.task.best
    rows = [
        (name, *(_percent(value) for value in values), _percent(sum(values) / len(values)))
        for name, values in by_corruption(result, best).items()
    ]
    clean = result.conditions[f"clean_{best}"]
    mean = result.metrics[best]
    blank = [""] * len(SEVERITIES)
    rows.append(("all", *blank, _percent(mean)))
    rows.append(("without", *blank, _percent(clean)))
    rows.append(("kept", *blank, _percent(result.conditions["kept"])))
    print(printing.table((f"{best}, %", *map(str, SEVERITIES), "mean"), rows))
    told = [*result.curves["shifted"], result]
    keep(Path(given.run), [one.line() for one in told], last=result.line())
    if Path(given.run).is_dir():
        draw_shift(Path(given.run), result, best)
    return 0


def curved(opened: Opened, data: Any, given: Namespace) -> int:
    """A row a part of the model, with its largest eigenvalues."""
    images = 512 if given.images is None else given.images
    result: Result = opened.curvature(
        data, split=given.split or "train", images=images, batch_size=given.batch_size,
        count=1 if given.eigenvalues is None else given.eigenvalues, blocks=given.blocks,
    )  # fmt: skip
    rows = [
        (
            name,
            "  ".join(f"{value:.4g}" for value in spectrum.values),
            f"{spectrum.errors[0]:.1g}",
            str(spectrum.products) + ("" if spectrum.converged else ", not converged"),
        )
        for name, spectrum in result.curves["parts"].items()
    ]
    print(printing.table(("part", "largest eigenvalues", "error", "products"), rows))
    keep(Path(given.run), [result.line()], last=result.line())
    return 0


def keep(run: Path, lines: Sequence[dict[str, Any]], *, last: dict[str, Any]) -> None:
    """Add lines to a run's results, which somebody else may own; without a run, print the last."""
    if not run.is_dir():
        print(json.dumps(last, ensure_ascii=False))
        return
    path = run / RESULTS
    try:
        for line in lines:
            append_line(path, line)
    except OSError as error:
        reason = (error.strerror or "").lower()
        print(f"ninefold eval: {path}: not kept there: {reason}", file=sys.stderr)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
