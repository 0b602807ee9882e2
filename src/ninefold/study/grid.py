"""Several runs, of which the validation part chooses one: the only one that sees the test part."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ninefold.core.errors import Refused
from ninefold.core.results import write_json
from ninefold.engine.config import Run
from ninefold.engine.opened import Opened
from ninefold.engine.progress import Observer
from ninefold.engine.train import train
from ninefold.study.kept import validated_value

log = logging.getLogger(__name__)


def best_of(
    runs: Sequence[Run],
    *,
    out: str | Path,
    metric: str = "top1",
    observers: Sequence[Observer] = (),
) -> Opened:
    """Train all, in `out/00`, `out/01` and so on, and test the one that is best on validation.

    Stopped, it goes on where it was when called again. `out/grid.json` lists what was tried.

    Args:
        runs: All on the same data, with the same seed.
        metric: The task's own: `top1`, or `map` of images with several labels.

    Returns:
        The chosen run, with its test figures in its `results.jsonl`; of equals the one with the
        lower validation loss, then the first.

    Raises:
        Refused: no runs, or runs on several data sets; what `train` refuses.
    """
    data = {run.data for run in runs}
    if len(data) != 1:
        raise Refused(f"grid: the {len(runs)} runs are on {len(data)} data sets; one is needed")
    folders = [Path(out) / f"{i:02d}" for i in range(len(runs))]
    for run, folder in zip(runs, folders, strict=True):
        train(run, out=folder, resume=True, observers=observers, test=False)
    judged = [validated_value(folder, metric) for folder in folders]
    best = judged.index(max(judged))
    rows = [
        {"folder": folder.name, "chosen": folder is folders[best], metric: value, "loss": -loss,
         "differs": _differing(run, runs)}
        for folder, run, (value, loss) in zip(folders, runs, judged, strict=True)
    ]  # fmt: skip
    write_json(Path(out) / "grid.json", {"data": data.pop(), "split": "val", "tried": rows})
    log.info("grid: %s is best on validation, %s %.4f", folders[best], metric, judged[best][0])
    return train(runs[best], out=folders[best], resume=True, observers=observers)


def _differing(run: Run, runs: Sequence[Run]) -> dict[str, object]:
    """The fields of a run that are not the same in all."""
    told = run.model_dump(mode="json")
    others = [other.model_dump(mode="json") for other in runs]
    return {key: value for key, value in told.items() if any(o[key] != value for o in others)}
