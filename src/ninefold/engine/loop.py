"""The training loop, whole: everything else is what it is given.

Batch, noise, learning rate and whatever else changes with time are functions of the step alone, so
a resumed run repeats an uninterrupted one bit for bit (tests/engine/test_resume.py).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.engine.update import State, Update

Hook = Callable[[State, Batch, dict[str, Tensor]], None]
"""Called after each step with the prepared batch and the step's logs."""


def fit(
    fabric: Fabric,
    state: State,
    *,
    seed: int,
    stop: int,
    batches: Callable[[int], Iterator[Batch]],
    prepare: Callable[[Batch, int], Batch],
    schedule: Callable[[State], None],
    update: Update,
    after_step: Sequence[Hook] = (),
) -> None:
    """Train from `state.step` to `stop`.

    Args:
        batches: Given the first step, the endless batches from there on, as loaded.
        prepare: Moves a batch to the device, normalises and augments it; gets the step too.
        schedule: Sets what depends on the step: learning rates, a stage's dropout.
        update: Takes the optimizer step.
        after_step: In this order: logging, validation, checkpoint, each by its own interval.
    """
    state.objective.train()
    source = batches(state.step)
    while state.step < stop:
        raw = next(source)
        seed_noise(seed, state.step, fabric.global_rank, fabric.device)
        batch = prepare(raw, state.step)
        schedule(state)
        logs = update(fabric, state, batch)
        state.step += 1
        if state.ema is not None:
            cast(Any, state.ema).update(state.model)
        for hook in after_step:
            hook(state, batch, logs)


def seed_noise(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Start the generators of torch, numpy and Python where this step of this rank starts them.

    `torch.manual_seed` does the same for every device there is, at a hundred times the cost.
    """
    value = _mixed(seed, step, rank)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
    np.random.seed(value & 0xFFFFFFFF)  # noqa: NPY002 - a user's own augmentation may draw from it
    random.seed(value)


def _mixed(*values: int) -> int:
    """63 bits in which every bit depends on every value. Source: the finaliser of splitmix64."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
