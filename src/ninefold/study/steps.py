"""The work that is measured: one inference or one training step of a model on random images.

Shapes: b images, i image channels, s rows and columns, k classes.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.engine.update import Objective, State
from ninefold.layers.conv import lay_out
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import Optim
from ninefold.report.benched import Mode, Precision
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task


def random_images(
    batch_size: int, channels: int, image_size: int, device: torch.device | None = None
) -> Tensor:
    """`(b, i, s, s)` of a standard normal distribution, the same in each call."""
    generator = torch.Generator().manual_seed(batch_size)
    images = torch.randn(batch_size, channels, image_size, image_size, generator=generator)
    return images.to(device)


def randomise(model: nn.Module) -> None:
    """Random values for all parameters and statistics, so that none of them is without effect.

    Heads, biases and position tables are zero in many libraries at the start, and two models whose
    heads are zero agree whatever they compute.
    """
    generator = torch.Generator().manual_seed(1)

    def normal(like: Tensor, std: float, mean: float = 0.0) -> Tensor:
        return torch.randn(like.shape, generator=generator) * std + mean

    with torch.no_grad():
        for name, value in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith("running_var"):
                value.copy_(normal(value, 0.1, 1.0).abs() + 0.5)
            elif name.endswith("running_mean") or (
                isinstance(value, nn.Parameter) and value.dim() < 2 and "bias" in name
            ):
                value.copy_(normal(value, 0.1))
            elif isinstance(value, nn.Parameter) and value.dim() < 2:
                value.copy_(normal(value, 0.1, 1.0))
            elif isinstance(value, nn.Parameter):
                value.copy_(normal(value, value[0].numel() ** -0.5))


def state_of(fabric: Any, model: nn.Module, optim: Optim, num_classes: int) -> State:
    """What the training of a classifier starts from, with that optimizer on that Fabric."""
    task = make_task("classification", tuple(f"class {i}" for i in range(num_classes)), Loss())
    objective: Any = fabric.setup_module(Objective(model, task))
    optimizer: Any = fabric.setup_optimizers(make_optimizer(model, optim))
    return State(objective, optimizer)


def work_of(
    model: nn.Module, images: Tensor, *, mode: Mode, precision: Precision
) -> Callable[[], object]:
    """What is timed; the model is changed to fit: its mode, its layout, the type of its weights.

    Inference is one forward pass under `inference_mode`; a training step is forward pass, cross
    entropy, backward pass and AdamW, fused where torch has that. `bf16` is autocast; `bf16-weights`
    turns weights and images to bf16, for inference alone.

    Raises:
        Refused: bf16 weights in training; a model without `(b, k)` logits.
    """
    device = images.device
    model.train(mode == "training").to(device)
    images = images.to(memory_format=lay_out(model))
    if precision == "bf16-weights":
        if mode == "training":
            raise Refused("bench: bf16-weights is for inference; bf16 trains by autocast")
        model.to(torch.bfloat16)
        images = images.to(torch.bfloat16)

    def cast() -> contextlib.AbstractContextManager[object]:
        if precision == "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def infer() -> None:
        with torch.inference_mode(), cast():
            model(images)

    if mode == "inference":
        return infer
    with torch.inference_mode():
        logits = model.eval()(images[:1])
    model.train()
    classes = _classes(logits, type(model).__name__)
    labels = torch.arange(len(images), device=device) % classes
    fused = device.type in ("cpu", "cuda")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=fused)

    def train() -> None:
        optimizer.zero_grad()
        with cast():
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return train


def _classes(logits: object, name: str) -> int:
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] < 2:
        raise Refused(f"bench: {name} gives no (b, k) logits; --modes inference needs none")
    return logits.shape[1]
