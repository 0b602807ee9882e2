"""What Patch AutoAugment adds to the time of a training step, and where that goes.

Source: Lin et al. 2021, arXiv 2103.11099, Table 2; efficientnetv2-paa specification, section B8.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ninefold.augment.config import Augment, Patches
from ninefold.augment.patch_agent import PatchAgent, choose
from ninefold.augment.patch_credit import a2c_loss
from ninefold.augment.patch_ops import OPERATIONS, draw, operate
from ninefold.augment.patches import augment_patches, draw_execution
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused
from ninefold.engine.build import build, set_up
from ninefold.engine.co_train import update_of
from ninefold.engine.config import Run
from ninefold.engine.device import launch
from ninefold.layers.conv import lay_out
from ninefold.recipes.paa import paa_cifar10
from ninefold.report.measured import Scale, Table
from ninefold.study.plan import Comparison, Plan, Timed
from ninefold.study.steps import random_images
from ninefold.study.timing import interleave, matrix_probe, samples_of

PARTS = (
    "agents: choice",
    "operations",
    "operations, one patch after another",
    "agents: step",
)
"""Pieces of the work, measured by themselves; the third is not part of a step of ours."""
FEW = "synthetic://classification?size=32&train=24&val=12&test=12"
"""What the runs are built for; their steps see random images."""


def patch_cost(scale: Scale, data: str) -> Plan:
    """Seconds of a training step with Patch AutoAugment, and of a plain one."""
    if data:
        raise Refused(f"reproduce: --data {data} has no use; this measures time on random images")
    small = scale == "smoke"
    settings = (("wide_resnet_atto", 16),) if small else (
        ("wide_resnet40_2", 128), ("wide_resnet28_10", 128 if scale == "gpu" else 16),
    )  # fmt: skip
    pairs: list[Comparison] = []
    for model, batch_size in settings:
        options = {"model": model, "batch_size": batch_size, "rounds": 1 if small else 3}
        here = "ninefold.study.patch_cost:step_cost"
        mine, plain = (Timed(here, options, kind) for kind in ("patches", "plain"))
        told = f"{model}, batch {batch_size}"
        pairs.append(Comparison(mine, plain, told, tables=_account))
    return Plan(tuple(pairs), 2 if small else 3, "random images of 32 pixels")


def step_cost(*, model: str, batch_size: int, rounds: int, seed: int) -> dict[str, float]:
    """The medians of `step_samples`.

    Args:
        rounds: Samples of each.
        seed: Which of them begins.
    """
    samples, device = step_samples(model, batch_size)
    names = list(samples)
    first = seed % len(names)
    order = {name: samples[name] for name in names[first:] + names[:first]}
    taken = interleave(order, matrix_probe(device), rounds)
    return {name: statistics.median(values) for name, values in taken.seconds.items()}


def step_samples(
    model: str, batch_size: int
) -> tuple[dict[str, Callable[[], float]], torch.device]:
    """What takes a sample, in seconds, of a step that is `plain`, one with `patches`, one with
    `uniform` patches, and of `PARTS`; and the device that training would use.

    Images are random. Loading and normalising are not in it: they are the same for all.
    """
    fabric, _, _ = launch("auto")
    device = fabric.device
    pixels = random_images(batch_size, 3, 32).mul_(40).add_(128).round_().clamp_(0, 255) / 255
    works: dict[str, Callable[[], object]] = {}
    at_random = Augment(crop="reflect", patches=Patches(grid=2, credit="uniform"))
    arms: dict[str, object] = {"plain": "reflect", "patches": "patches", "uniform": at_random}
    labels = torch.arange(batch_size, device=device) % 10
    x = pixels
    for name, augment in arms.items():
        run = paa_cifar10(model=model, data=FEW, batch_size=batch_size, augment=augment, steps=9)
        state = set_up(run, build(run, 1), fabric)
        state.objective.train()
        x = _normalised(pixels, run).to(device)
        works[name] = partial(_step, update_of(run, 12, 9), fabric, state, x, labels)
    works |= _parts_alone(x, pixels.to(device))
    for work in works.values():
        work()
    return samples_of(works, device), device


def _normalised(pixels: Tensor, run: Run) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (run.preprocess.mean, run.preprocess.std))
    return (pixels - mean) / std


def _step(update: Any, fabric: Any, state: Any, x: Tensor, labels: Tensor) -> object:
    return update(fabric, state, Batch(x.clone(), labels, labels))


def _parts_alone(x: Tensor, pixels: Tensor) -> dict[str, Callable[[], object]]:
    agent = PatchAgent().to(x.device).train()
    lay_out(agent)
    optimizer = torch.optim.SGD(agent.parameters(), lr=1e-6, momentum=0.9, nesterov=True)
    form = (len(x), 2, 2)
    operations = torch.randint(len(OPERATIONS), form, device=x.device)
    executed = draw_execution(operations)
    reward = torch.rand(len(x), device=x.device)

    def learn() -> None:
        scores, value = agent(x)
        told = a2c_loss(scores, choose(scores.detach()), value, reward, executed=executed)
        optimizer.zero_grad()
        told["loss"].backward()
        optimizer.step()

    def chosen() -> Tensor:
        with torch.no_grad():
            return choose(agent(x)[0])

    works = (
        chosen,
        partial(augment_patches, pixels, operations, executed),
        partial(one_by_one, pixels, operations, executed),
        learn,
    )
    return dict(zip(PARTS, works, strict=True))


@torch.no_grad()
def one_by_one(pixels: Tensor, operations: Tensor, executed: Tensor) -> Tensor:
    """The same as `augment_patches`, in the official program's order of work: each patch is asked
    for its operation, cut out and written back by itself; operations work on stacks."""
    out, side = pixels.clone(), pixels.shape[-1] // operations.shape[-1]
    stacks: dict[int, list[tuple[Any, ...]]] = {}
    for i, j, k in torch.cartesian_prod(*map(torch.arange, operations.shape)).tolist():
        if executed[i, j, k].item():
            rows, columns = (slice(at * side, (at + 1) * side) for at in (j, k))
            place = (i, slice(None), rows, columns)
            stacks.setdefault(int(operations[i, j, k].item()), []).append(place)
    for number, places in stacks.items():
        stack = torch.stack([pixels[place] for place in places])
        draws = draw(len(stack), side, side, device=stack.device)
        changed = operate(OPERATIONS[number], stack, draws)
        for place, patch in zip(places, changed, strict=True):
            out[place] = patch
    return out


def _account(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    def mean(name: str) -> float:
        return sum(one[name] for one in readings) / len(readings)

    names = ("plain", "patches", "uniform", *PARTS)
    rows = tuple((name, 1000 * mean(name), mean(name) / mean("plain")) for name in names)
    title = "Milliseconds of a step, and of its pieces by themselves (means)"
    return (Table(title=title, columns=("", "ms", "of a plain step"), rows=rows),)
