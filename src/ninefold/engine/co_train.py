"""Patch AutoAugment in a run: agents choose what is done to patches, trained against the model.

Source: Lin et al. 2021, arXiv 2103.11099, section 3; efficientnetv2-paa specification, part B.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ninefold.augment.config import Patches
from ninefold.augment.patch_agent import MAP, PatchAgent, PhotoAgent, choose
from ninefold.augment.patch_credit import a2c_loss
from ninefold.augment.patch_ops import OPERATIONS
from ninefold.augment.patches import augment_patches, draw_execution, draw_fading, patch_size
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused, nearest
from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.engine.stages import Course, batch_augment
from ninefold.engine.update import State, Update, descend
from ninefold.layers.conv import lay_out
from ninefold.models.create import create_model
from ninefold.models.load import load_weights
from ninefold.models.presets import published
from ninefold.tasks.task import Task

AGENT, AGENT_OPTIMIZER = "agent", "agent_optimizer"
"""Their names in `State.extra`, and so in checkpoints."""


def update_of(run: Run, classes: int, stop: int) -> Update:
    """The update that a run asks for: `descend`, or `co_train` where patches have operations.

    Args:
        classes: Of the data.
        stop: Steps in all.
    """
    step = partial(descend, accumulate=run.accumulate, clip_norm=run.clip_norm)
    if not run.augment.patches.grid:
        return step
    return partial(
        co_train,
        patches=run.augment.patches,
        preprocess=run.preprocess,
        after=batch_augment(Course(run, stop), classes),
        step=step,
        stop=stop,
    )


def check_patches(run: Run, task: Task, course: Course) -> None:
    """See that operations on patches go with the rest of a run.

    Raises:
        Refused: patches too small; images of other than three channels; a task or a loss of the
            user's own that tells no losses of single images; operations or a trunk that there are
            not.
    """
    patches = run.augment.patches
    if not patches.grid:
        return
    size = min(course.sizes)
    patch_size(size, size, (patches.grid, patches.grid))
    if run.preprocess.channels != 3:
        raise Refused(
            f"augment.patches: operations mix red, green and blue, and images have "
            f"{run.preprocess.channels} channels; --augment.patches.grid 0 goes without"
        )
    if patches.credit != "uniform" and (run.loss.custom or task.name not in REWARDS):
        what = f"loss {run.loss.custom}" if run.loss.custom else f"task {task.name}"
        raise Refused(
            f"augment.patches: the {what} tells no losses of single images to learn by; "
            "--augment.patches.credit uniform needs none"
        )
    _kept(patches)
    if patches.trunk and patches.credit != "uniform":
        if patches.grid > 2 * MAP:
            raise Refused(
                f"augment.patches.trunk: tells {2 * MAP} x {2 * MAP} patches apart at the most, "
                f"not {patches.grid} x {patches.grid}"
            )
        _trunk(patches, size)


REWARDS = ("classification", "multilabel")
"""Tasks whose losses come as `each`, too."""


def _kept(patches: Patches) -> list[int]:
    """The operations that are used, by their numbers."""
    for name in patches.leave_out:
        if name not in OPERATIONS:
            raise Refused(
                f"augment.patches.leave_out: no operation is called {name!r}"
                f"{nearest(name, OPERATIONS) or ';'} there are {', '.join(OPERATIONS)}"
            )
    kept = [i for i, name in enumerate(OPERATIONS) if name not in patches.leave_out]
    if len(kept) < 2:
        raise Refused(f"augment.patches.leave_out: leaves {len(kept)} operations to choose from")
    return kept


class _Trunk(nn.Module):
    """The coarsest map of a model, and nothing else of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        model: Any = self.model
        return model.features(image)[-1]


def _trunk(patches: Patches, image_size: int) -> tuple[_Trunk, int]:
    """What stands for the agents' first convolutions, and the channels of its maps.

    Raises:
        Refused: no such model, no such weights, or a model without maps.
    """
    name, source = patches.trunk, patches.trunk_weights
    model = create_model(name, image_size=image_size, num_classes=0)
    if source:
        load_weights(model, published(name) if source == "pretrained" else source)
    trunk = _Trunk(model).eval()
    with torch.no_grad():
        seen: Tensor = trunk(torch.zeros(1, 3, image_size, image_size))
    if seen.ndim != 4:
        raise Refused(f"augment.patches.trunk: {name} has no maps for agents to see; resnet18 has")
    return trunk, seen.shape[1]


def add_agent(run: Run, state: State, fabric: Fabric) -> None:
    """Put the agents and their optimizer into the state, by the run's seed."""
    patches = run.augment.patches
    if not patches.grid or patches.credit == "uniform":
        return
    torch.manual_seed(run.seed)
    number = len(_kept(patches))
    if patches.trunk:
        trunk, channels = _trunk(patches, run.preprocess.image_size)
        agent = PhotoAgent(trunk, channels=channels, num_operations=number, grid=patches.grid)
    else:
        agent = PatchAgent(num_operations=number, grid=patches.grid, widths=patches.widths)
    lay_out(agent)
    state.extra[AGENT] = fabric.setup_module(agent).train()
    optimizer = torch.optim.SGD(
        agent.parameters(), lr=patches.lr, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    state.extra[AGENT_OPTIMIZER] = fabric.setup_optimizers(optimizer)


def co_train(
    fabric: Fabric,
    state: State,
    batch: Batch,
    *,
    patches: Patches,
    preprocess: Preprocess,
    after: Callable[[Batch, int], Batch],
    step: Update,
    stop: int,
) -> dict[str, Tensor]:
    """One step of the model on changed patches, and one of the agents that chose the changes.

    The agents see the images as they are; erasing and mixing come behind the operations. Their
    reward is the loss that the model had on each image.

    Args:
        patches: Grid and credit; `uniform` draws the operations and trains no agents.
        preprocess: Whose normalisation is undone for the operations.
        after: What else is done to the batch of a step.
        step: The model's own update.
        stop: Steps in all, by which the operations fade where they do.

    Returns:
        The model's logs, and `agent_loss`, `agent_entropy` (nats) and `agent_advantage`.
    """
    assert isinstance(batch.x, Tensor)
    agent, kept = state.extra.get(AGENT), _kept(patches)
    scores: Tensor | None = None
    value: Tensor | None = None
    if agent is None:
        form = (len(batch), patches.grid, patches.grid)
        choices = torch.randint(len(kept), form, device=batch.x.device)
    else:
        scores, value = agent(batch.x)
        assert scores is not None
        choices = choose(scores.detach())
    operations = torch.tensor(kept, device=batch.x.device)[choices]
    if patches.fade:
        executed = draw_fading(operations, state.step / stop)
    else:
        executed = draw_execution(operations, quirks=patches.quirks)
    x = _changed(batch.x, operations, executed, preprocess, quirks=patches.quirks)
    batch = replace(batch, x=x, extra={**batch.extra, "operations": operations})
    logs = step(fabric, state, after(batch, state.step))
    each = logs.pop("each", None)
    if scores is None or value is None or each is None or patches.credit == "uniform":
        return logs
    told = a2c_loss(
        scores, choices, value.float(), each.float(), credit=patches.credit,
        executed=executed, entropy_weight=patches.entropy,
    )  # fmt: skip
    optimizer = state.extra[AGENT_OPTIMIZER]
    optimizer.zero_grad()
    fabric.backward(told["loss"])
    optimizer.step()
    logs["agent_loss"] = told["loss"].detach()
    return logs | {f"agent_{name}": told[name] for name in ("entropy", "advantage")}


def _changed(
    x: Tensor, operations: Tensor, executed: Tensor, preprocess: Preprocess, *, quirks: bool
) -> Tensor:
    """Normalised images with operations on the 256 levels that they had before."""
    mean, std = (
        torch.tensor(values, device=x.device, dtype=x.dtype).view(-1, 1, 1)
        for values in (preprocess.mean, preprocess.std)
    )
    pixels = ((x * std + mean) * 255).round_().clamp_(0, 255) / 255
    changed = augment_patches(pixels, operations, executed, quirks=quirks)
    return (changed - mean) / std
