"""`ninefold embed`: features of images to a file, and probes of them."""

import logging
import time
from argparse import Namespace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ninefold.app import printing
from ninefold.app.use import open_given
from ninefold.core.errors import Refused, nearest
from ninefold.core.results import Result, append_line
from ninefold.engine.embed import Embeddings, check_place, open_embedded, refuse_featureless
from ninefold.engine.figures import draw_features
from ninefold.engine.folder import FIGURES, RESULTS
from ninefold.engine.opened import Opened
from ninefold.engine.probe import PROBES, check_probed, probe

log = logging.getLogger(__name__)

FILE = "features.safetensors"


def embed(given: Namespace) -> int:
    """Write the features and a picture of them; a table of the probes, and a line each in a run."""
    if given.batch_size < 1:
        raise Refused(f"--batch-size {given.batch_size}: one at the least")
    kinds = list(dict.fromkeys(given.probe))
    for kind in kinds:
        if kind not in PROBES:
            hint = nearest(kind, PROBES) or f"; there are {', '.join(PROBES)}"
            raise Refused(f"--probe {kind}: no such probe{hint}")
    run = Path(given.run) if Path(given.run).is_dir() else None
    out = Path(given.out) if given.out else (run or Path()) / FILE
    check_place(out)
    opened = open_given(given)
    refuse_featureless(opened.model)
    data = open_embedded(given.path, channels=opened.preprocess.channels)
    for note in data.notes:
        log.info("%s", note)
    if kinds:
        check_probed(data.splits, data.task)
        if "test" not in data.splits:
            log.info("no test part: probes are measured on val, which chose them; that flatters")
    embeddings = _embedded(opened, given)
    embeddings.save(out)
    picture = run / FIGURES / "features.png" if run and not given.out else out.with_suffix(".png")
    draw_features(embeddings, picture)
    results = [_probed(kind, embeddings, opened, run) for kind in kinds]
    if results:
        print(_table(results, len(embeddings.classes)))
    n, d = embeddings.features.shape
    print(f"{out}: {n:,} images, {d} features each; picture: {picture}")
    return 0


def _embedded(opened: Opened, given: Namespace) -> Embeddings:
    """With a bar on a terminal, and a line at the end."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    start = time.perf_counter()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        shown = bar.add_task("images", total=None)
        embeddings = opened.embed(
            given.path,
            batch_size=given.batch_size,
            workers=given.workers,
            progress=lambda done, total: bar.update(shown, completed=done, total=total),
        )
    seconds = time.perf_counter() - start
    speed = len(embeddings) / max(seconds, 1e-9)
    log.info("%s images in %.0f s (%.0f a second)", f"{len(embeddings):,}", seconds, speed)
    return embeddings


def _probed(kind: str, embeddings: Embeddings, opened: Opened, run: Path | None) -> Result:
    start = time.perf_counter()
    result = probe(embeddings, kind, device=opened.device, step=opened.step).result
    log.info("probe %s: %.1f s", kind, time.perf_counter() - start)
    if run is not None:
        append_line(run / RESULTS, result.line())
    return result


def _table(results: list[Result], classes: int) -> str:
    """A row a probe: what was chosen, its metric on the validation part, all on the last part."""
    names = list(dict.fromkeys(name for result in results for name in result.metrics))
    names = list(printing.telling(dict.fromkeys(names), classes))
    chosen = next(key for key in results[0].conditions if key.startswith("val_"))
    rows = [
        (
            result.conditions["probe"],
            ", ".join(f"{k}={result.conditions[k]:g}" for k in ("lambda", "k")
                      if k in result.conditions),
            printing.metric(chosen, result.conditions[chosen]),
            *(printing.metric(name, result.metrics[name]) if name in result.metrics else "-"
              for name in names),
        )
        for result in results
    ]  # fmt: skip
    split = results[0].split
    header = ("probe", "chosen", chosen.replace("_", " "), *(f"{split} {name}" for name in names))
    return printing.table(header, rows)
