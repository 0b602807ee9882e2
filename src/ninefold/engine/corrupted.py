"""Metrics under common corruptions, graded by severity."""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ninefold.augment.corruptions import corrupt
from ninefold.augment.severities import CORRUPTIONS, SEVERITIES
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused
from ninefold.core.noise import mixed
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result
from ninefold.engine.evaluate import View, evaluate_views
from ninefold.tasks.task import Task


def evaluate_corrupted(
    model: nn.Module,
    task: Task,
    batches: Iterable[Batch],
    names: Sequence[str],
    *,
    preprocess: Preprocess,
    device: torch.device,
    split: str,
    step: int = 0,
    seed: int = 0,
    conditions: dict[str, Any] | None = None,
) -> Result:
    """Run a model over a split as it is and under each corruption in five severities.

    Images are corrupted as the model is shown them, before they are normalised. What is random in
    it is a function of (seed, corruption, severity, index of the image).

    Args:
        batches: As `data.evaluation_batches` gives them, this rank's share, uint8.
        names: Of `augment.severities.CORRUPTIONS`.
        conditions: As for `evaluate`.

    Returns:
        A result of the split `shift`: metrics are means over corruptions and severities; among its
        conditions stand `corruptions`, the leading metric without any (`clean_top1`) and the share
        of it that is kept. `curves` holds `clean` and `shifted`, results of the splits
        `shift:<name>:<severity>`, in order.

    Raises:
        Refused: inputs that are no single image.
        Failed: as for `evaluate`.
    """
    views: dict[str, View] = {split: lambda batch: batch}
    for name in names:
        for severity in SEVERITIES:
            views[f"shift:{name}:{severity}"] = _Corrupted(name, severity, seed, device)
    told = {**(conditions or {}), "of": split}
    clean, *shifted = evaluate_views(
        model, task, batches, views,
        preprocess=preprocess, device=device, step=step, conditions=told,
    )  # fmt: skip
    means = {
        metric: sum(result.metrics[metric] for result in shifted) / len(shifted)
        for metric in clean.metrics
    }
    before = clean.metrics[task.best]
    summary: dict[str, Any] = {
        **shifted[0].conditions,
        "corruptions": list(names),
        f"clean_{task.best}": before,
        "kept": means[task.best] / before if before else float("nan"),
    }
    return Result("shift", step, means, summary, {"clean": clean, "shifted": shifted})


def by_corruption(result: Result, metric: str) -> dict[str, list[float]]:
    """Of what `evaluate_corrupted` gave, one metric a severity, by the name of the corruption."""
    found: dict[str, list[float]] = {}
    for one in result.curves["shifted"]:
        found.setdefault(one.split.split(":")[1], []).append(one.metrics[metric])
    return found


class _Corrupted:
    """A batch under one corruption."""

    def __init__(self, name: str, severity: int, seed: int, device: torch.device) -> None:
        self._name, self._severity = name, severity
        # Apple's devices have no float64, with which directions of streaks are rounded.
        self._device = torch.device("cpu") if device.type == "mps" else device
        self._seed = mixed(seed, CORRUPTIONS.index(name), severity)

    def __call__(self, batch: Batch) -> Batch:
        x, index = batch.x, batch.index
        if not isinstance(x, Tensor) or x.ndim != 4 or index is None:
            raise Refused(f"{self._name}: images alone can be corrupted, one tensor a batch")
        seeds = [mixed(self._seed, place) for place in index.tolist()]
        return replace(batch, x=corrupt(x.to(self._device), self._name, self._severity, seeds))
