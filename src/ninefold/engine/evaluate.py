"""Metrics of a model on a split: every sample once, whatever the number of ranks."""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result
from ninefold.engine.device import gather
from ninefold.engine.failure import memory_told
from ninefold.engine.prepare import Prepare
from ninefold.tasks.task import Task

View = Callable[[Batch], Batch]
"""What is done to a loaded batch (uint8) before it is normalised."""


def evaluate(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    *,
    preprocess: Preprocess,
    device: torch.device,
    split: str,
    step: int = 0,
    conditions: dict[str, Any] | None = None,
) -> Result:
    """Run a model over a split, in fp32 whatever it was trained in, and count.

    Args:
        batches: As `data.evaluation_batches` gives them, this rank's share.
        conditions: What else decides the numbers; device and versions are added.

    Raises:
        Failed: there was nothing to count, or no memory.
    """
    (result,) = evaluate_views(
        model, task, batches, {split: lambda batch: batch},
        preprocess=preprocess, device=device, step=step, conditions=conditions,
    )  # fmt: skip
    return result


def evaluate_views(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    views: Mapping[str, View],
    *,
    preprocess: Preprocess,
    device: torch.device,
    step: int = 0,
    conditions: dict[str, Any] | None = None,
) -> list[Result]:
    """The same of several views of one split, whose images are loaded once.

    Args:
        views: By the name that the result has as its split.

    Raises:
        Failed: as for `evaluate`.
    """
    prepare = Prepare(preprocess, device)
    counts = {name: task.metrics() for name in views}
    count, at = 0, next(iter(views))
    training = [module for module in model.modules() if module.training]
    model.eval()
    advice = "try a smaller batch size"
    try:
        with torch.no_grad(), memory_told(device, step=lambda: f"{at} split", advice=advice):
            for loaded in batches:
                for at, view in views.items():
                    batch = prepare(view(loaded))
                    counts[at].update(task.outputs(model, batch), batch)
                count += len(loaded) if loaded.index is None else int((loaded.index >= 0).sum())
    finally:
        for module in training:  # frozen ones stay as they were
            module.training = True
    gathered = gather((counts, count))
    images = sum(number for _, number in gathered)
    if not images:
        raise Failed(f"{at} split: holds no images to evaluate")
    told = {"images": images, **(conditions or {}), "device": device.type, **versions()}
    results: list[Result] = []
    for name, metrics in gathered[0][0].items():
        for others, _ in gathered[1:]:
            metrics.merge(others[name])
        numbers, curves = metrics.compute()
        results.append(Result(name, step, numbers, dict(told), curves))
    return results


def versions() -> dict[str, str]:
    """Of what a number may depend on."""
    return {"ninefold": version("ninefold"), "torch": str(torch.__version__)}
