"""Stages of a training: which one a step belongs to, and what holds in it.

Source: Tan & Le 2021, arXiv 2104.00298, section 4.2 and algorithm 1: from the first to the last
stage, size and regularisation rise by equal parts. Everything is a function of the step, so a
resumed run is in the stage that the uninterrupted one was in.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from ninefold.augment.augreg import DRAWN, AugRegRandAugment
from ninefold.augment.batch import BatchAugment
from ninefold.augment.config import Augment
from ninefold.augment.randaugment import RandAugment, read_randaugment
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused
from ninefold.engine.config import Run


@dataclass(frozen=True)
class Stage:
    """What holds in one stage.

    Args:
        image_size: Side of the training images, in pixels.
        augment: The run's, with the stage's magnitude and mixing.
        dropout: Of the model's dropout layers; nothing where they stay as they are.
    """

    image_size: int
    augment: Augment
    dropout: float | None


class Course:
    """The stages of a run, of which there is at least one, over its steps.

    Args:
        run: At the image size that it is evaluated at.
        stop: Optimizer steps in all.

    Raises:
        Refused: a stage without a step, or a magnitude that RandAugment cannot take.
    """

    def __init__(self, run: Run, stop: int) -> None:
        table = run.stages
        count = max(table.count, 1)
        shares = table.shares or (1.0,) * count
        ends = [round(stop * share / sum(shares)) for share in accumulate(shares)]
        self.starts = (0, *ends[:-1])
        """The first step of each stage."""
        if any(end <= start for start, end in zip(self.starts, ends, strict=True)):
            raise Refused(
                f"stages: {count} stages leave one of them without any of the {stop} steps; fewer "
                "stages, or more steps"
            )
        sizes = _column(table.image_size, count) or [float(run.preprocess.image_size)] * count
        if len(table.image_size) == 2:
            unit = table.multiple
            sizes = [max(unit, round(size / unit) * unit) for size in sizes]
        dropout = _column(table.dropout, count) or [None] * count
        augments = _augments(run, count)
        self.stages = tuple(
            Stage(int(size), one, rate)
            for size, one, rate in zip(sizes, augments, dropout, strict=True)
        )

    def index(self, step: int) -> int:
        """The number of the step's stage, from 0."""
        return bisect_right(self.starts, step) - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image size of each stage."""
        return tuple(stage.image_size for stage in self.stages)

    def at(self, step: int) -> Stage:
        """The stage of a step."""
        return self.stages[self.index(step)]

    def told(self) -> str:
        """In a line: from which steps on, at which sizes."""
        starts, sizes = (", ".join(map(str, values)) for values in (self.starts, self.sizes))
        return f"stages from steps {starts}, at {sizes} pixels"

    def set_dropout(self, model: nn.Module, step: int) -> None:
        """Set the model's dropout layers as the step's stage says, where it says anything."""
        rate = self.at(step).dropout
        if rate is not None:
            for layer in dropouts(model):
                layer.p = rate

    def largest(self) -> int:
        """The first step with the largest images."""
        return self.starts[self.sizes.index(max(self.sizes))]


def _column(values: Sequence[float], count: int) -> list[float]:
    """One value a stage, interpolated where there are the first and the last; nothing of nothing.

    Source: section 4.2: of M stages, stage i from 0 has `first + (last - first) i / (M - 1)`.
    """
    if len(values) in (0, count):
        return list(values)
    first, last = values
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def _augments(run: Run, count: int) -> list[Augment]:
    """The run's augmentation with what its stages put in its place."""
    table, augment = run.stages, run.augment
    changes: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in ("mixup", "cutmix"):
        for change, value in zip(changes, _column(getattr(table, name), count), strict=False):
            change[name] = value
    magnitudes = _column(table.magnitude, count)
    if magnitudes and not augment.randaugment:
        raise Refused(
            "stages.magnitude: the run has no RandAugment; --augment.randaugment rand-n2 gives "
            "it one"
        )
    for change, value in zip(changes, magnitudes, strict=False):
        weakest = read_randaugment(with_magnitude(augment.randaugment, 0), run.preprocess)
        if isinstance(weakest, RandAugment) and value > weakest.limit:
            raise Refused(
                f"stages.magnitude: {value:g} is above {weakest.limit}, the limit of "
                f"{augment.randaugment!r}, which would cut it; --augment.randaugment "
                f"{augment.randaugment}-mmax{math.ceil(value)} would be right"
            )
        change["randaugment"] = with_magnitude(augment.randaugment, value)
        read_randaugment(change["randaugment"], run.preprocess)  # refused now
    return [augment.changed(**change) for change in changes]


def with_magnitude(notation: str, magnitude: float) -> str:
    """A notation of RandAugment with another `m`."""
    kept = [word for word in notation.split("-") if not re.fullmatch(r"m[\d.]+", word)]
    return "-".join([kept[0], f"m{round(magnitude, 6):g}", *kept[1:]])


def batch_augment(course: Course, num_classes: int) -> Callable[[Batch, int], Batch]:
    """What is done to a normalised batch of a step, by its stage."""
    each = [BatchAugment(stage.augment, num_classes) for stage in course.stages]

    def augment(batch: Batch, step: int) -> Batch:
        return each[course.index(step)](batch)

    return augment


def operations(course: Course, run: Run, device: torch.device) -> Callable[[Batch, int], Batch]:
    """What RandAugment does to a loaded batch of a step, by its stage, on the device: what each
    sample's own generator drew for it while it was loaded."""
    each = [read_randaugment(stage.augment.randaugment, run.preprocess) for stage in course.stages]

    def operate(batch: Batch, step: int) -> Batch:
        policy = each[course.index(step)]
        assert isinstance(policy, AugRegRandAugment)
        assert isinstance(batch.x, torch.Tensor)
        extra = dict(batch.extra)
        draws = extra.pop(DRAWN)
        images = policy.operate(batch.x.to(device, non_blocking=True), draws)
        return replace(batch, x=images, extra=extra)

    return operate


def dropouts(model: nn.Module) -> list[nn.Dropout]:
    """The layers that a stage's dropout sets."""
    return [module for module in model.modules() if isinstance(module, nn.Dropout)]


def check_stages(run: Run, model: nn.Module, course: Course) -> None:
    """See that a table of stages fits a model, as far as its images need not be shown to it.

    Raises:
        Refused: sizes that are not whole patches, or dropout of a model without such layers.
    """
    table = run.stages
    if table.dropout and not dropouts(model):
        raise Refused(f"stages.dropout: {run.model} has no dropout layers; leave the column out")
    patch = patch_of(model)
    for number, size in enumerate(course.sizes if table.image_size else (), start=1):
        if size % patch:
            low = size // patch * patch
            hint = f"; --stages.multiple {patch} rounds" if len(table.image_size) == 2 else ""
            near = f"{low} and {low + patch}" if low else f"{patch}"
            raise Refused(
                f"stages.image_size: stage {number} has {size} pixels, which are no whole patches "
                f"of {patch} for {run.model}; {near} would be{hint}"
            )


def patch_of(model: nn.Module) -> int:
    """Side of a patch in pixels, of models that cut images into such; else 1."""
    inner = getattr(model, "model", model)  # a guest's is within
    embed = getattr(inner, "patch_embed", None)
    proj = embed["proj"] if isinstance(embed, nn.ModuleDict) else getattr(embed, "proj", None)
    if not isinstance(proj, nn.Conv2d) or getattr(inner, "backbone", None) is not None:
        return 1
    return int(proj.stride[0])
