"""Metrics of a model on a split: every sample once, whatever the number of ranks."""

from collections.abc import Iterable
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
    prepare = Prepare(preprocess, device)
    metrics = task.metrics()
    count = 0
    training = [module for module in model.modules() if module.training]
    model.eval()
    advice = "try a smaller batch size"
    try:
        with torch.no_grad(), memory_told(device, step=lambda: f"{split} split", advice=advice):
            for loaded in batches:
                batch = prepare(loaded)
                metrics.update(task.outputs(model, batch), batch)
                count += len(batch) if loaded.index is None else int((loaded.index >= 0).sum())
    finally:
        for module in training:  # frozen ones stay as they were
            module.training = True
    gathered = gather((metrics, count))
    metrics = gathered[0][0]
    for other, _ in gathered[1:]:
        metrics.merge(other)
    images = sum(number for _, number in gathered)
    if not images:
        raise Failed(f"{split} split: holds no images to evaluate")
    numbers, curves = metrics.compute()
    told = {"images": images, **(conditions or {}), "device": device.type, **versions()}
    return Result(split, step, numbers, told, curves)


def versions() -> dict[str, str]:
    """Of what a number may depend on."""
    return {"ninefold": version("ninefold"), "torch": str(torch.__version__)}
