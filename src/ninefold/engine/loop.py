"""The training loop, whole: everything else is what it is given.

Batch, noise, learning rate and whatever else changes with time are functions of the step alone, so
a resumed run repeats an uninterrupted one bit for bit (tests/engine/test_resume.py).
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.noise import mixed, start_generators
from ninefold.engine.update import State, Update

Hook = Callable[[State, Batch, dict[str, Tensor]], None]
"""Called after each step with the prepared batch and the step's logs."""


def fit(
    fabric: Fabric,
    state: State,
    *,
    seed: int,
    stop: int,
    batches: Callable[[int], Generator[Batch]],
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
    with closing(batches(state.step)) as source:
        while state.step < stop:
            loaded = next(source)
            seed_noise(seed, state.step, fabric.global_rank, fabric.device)
            batch = prepare(loaded, state.step)
            schedule(state)
            logs = update(fabric, state, batch)
            state.step += 1
            if state.ema is not None:
                state.ema.update(state.model)
            for hook in after_step:
                hook(state, batch, logs)


def seed_noise(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Start the generators of torch, numpy and Python where this step of this rank starts them.

    `torch.manual_seed` does the same for every device there is, at a hundred times the cost.
    """
    value = mixed(seed, step, rank)
    start_generators(value)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
