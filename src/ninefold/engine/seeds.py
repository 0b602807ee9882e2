"""The same run with several seeds, summed up."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ninefold.core.results import append_line, read_lines
from ninefold.engine.config import Run
from ninefold.engine.device import gather
from ninefold.engine.folder import RESULTS
from ninefold.engine.progress import Observer
from ninefold.engine.train import result_of, train
from ninefold.report.statistics import summarise


def train_seeds(
    run: Run,
    seeds: Iterable[int],
    out: str | Path,
    *,
    device: str = "auto",
    observers: Sequence[Observer] = (),
) -> dict[str, Any]:
    """Train once a seed in `out/seed_K`, resumable, and sum up in `out/summary.json`.

    Returns:
        By split and metric, of each seed's best weights: `mean`, `spread` (standard deviation),
        `low` and `high` (95 % t interval of the mean; of a single seed infinite, null in the file)
        and `values` by seed.
    """
    found: dict[str, dict[str, dict[int, float]]] = {}
    for seed in seeds:
        folder = Path(out) / f"seed_{seed}"
        best = train(
            run.changed(seed=seed), out=folder, resume=True, device=device, observers=observers
        )
        for line in read_lines(folder / RESULTS):
            result = result_of(line)
            if "seed" not in result.conditions or result.step != best.step:
                continue  # a later `eval` or `embed`, or other weights than those that were kept
            for name, value in result.metrics.items():
                found.setdefault(result.split, {}).setdefault(name, {})[seed] = value
    summary = {
        split: {name: _summed(values) for name, values in metrics.items()}
        for split, metrics in found.items()
    }
    if not dist.is_initialized() or dist.get_rank() == 0:
        aside = Path(out) / ".summary.json.tmp"
        aside.unlink(missing_ok=True)
        append_line(aside, summary)
        aside.replace(Path(out) / "summary.json")
    return gather(summary)[0]  # what the first process wrote was all there when it was read


def _summed(values: dict[int, float]) -> dict[str, Any]:
    told = summarise(list(values.values()))
    ends = {"low": told.low, "high": told.high}
    return {"mean": told.mean, "spread": told.spread, **ends, "values": values}
