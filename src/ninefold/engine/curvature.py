"""How sharp the minimum is that a model has come to: the Hessian of its loss on given images."""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.core.results import Result
from ninefold.engine.evaluate import versions
from ninefold.engine.failure import memory_told
from ninefold.explain.hessian import Spectrum, hessian_product, largest_eigenvalues
from ninefold.models.depth import parts_of
from ninefold.tasks.task import Task

WHOLE = "whole"


def curvature(
    model: nn.Module,
    task: Task,
    batches: Sequence[Batch],
    *,
    parts: Mapping[str, Sequence[str]],
    count: int = 1,
    steps: int = 50,
    tolerance: float = 1e-3,
) -> dict[str, Spectrum]:
    """The largest eigenvalues of the Hessian of the task's mean loss over some batches.

    In evaluation mode and float32: no dropout, normalisations by their running statistics; decay
    of weights is no part of the loss.

    Args:
        batches: As the model takes them, on its device.
        parts: By the name of a part, its parameters: the diagonal block of the Hessian that is
            theirs alone.
        count: Eigenvalues of each part.
        steps: Products with the Hessian at the most; each takes about as long as two training
            steps over the images. The vectors take `steps` times the memory of the weights.
        tolerance: Relative error at which it ends.

    Raises:
        Failed: the loss is not finite, or there is no memory.
    """
    total = sum(len(batch) for batch in batches)
    known = dict(model.named_parameters())
    device = next(iter(known.values())).device

    def losses() -> Iterator[tuple[Tensor, float]]:
        for batch in batches:
            yield task.loss(model, batch)["loss"], len(batch) / total

    training = [module for module in model.modules() if module.training]
    model.eval()
    found: dict[str, Spectrum] = {}
    advice = "fewer images at a time, or one part of the model after the other"
    try:
        with memory_told(device, step=lambda: "curvature", advice=advice):
            with torch.no_grad():
                loss = sum(float(value) * weight for value, weight in losses())
            if not loss < float("inf"):
                raise Failed(f"curvature: the loss is {loss:g}; it has no Hessian")
            for name, names in parts.items():
                chosen = [known[one] for one in names]
                assert all(isinstance(p, nn.Parameter) for p in chosen)
                start = torch.randn(
                    sum(p.numel() for p in chosen), generator=torch.Generator().manual_seed(0)
                ).to(device)
                found[name] = largest_eigenvalues(
                    hessian_product(losses, chosen), start,
                    count=count, steps=steps, tolerance=tolerance,
                )  # fmt: skip
    finally:
        for module in training:
            module.training = True
    return found


def parts_to_look_at(model: nn.Module, *, blocks: bool, where: str) -> dict[str, list[str]]:
    """The whole model, and where asked its embedding, blocks, head, attention and perceptrons.

    Raises:
        Refused: the model does not tell its blocks.
    """
    whole = {WHOLE: [name for name, _ in model.named_parameters()]}
    return {**whole, **parts_of(model, where=where)} if blocks else whole


def curvature_result(
    found: Mapping[str, Spectrum], *, split: str, step: int, images: int, conditions: dict[str, Any]
) -> Result:
    """What was found as a line for `results.jsonl`; its split says that it is no accuracy."""
    first = found[WHOLE]
    told: dict[str, Any] = {
        "images": images,
        **conditions,
        "eigenvalues": {name: list(spectrum.values) for name, spectrum in found.items()},
        "error": first.errors[0],
        "products": first.products,
        **versions(),
    }
    metrics = {"hessian_max": first.values[0]}
    return Result(f"curvature:{split}", step, metrics, told, {"parts": dict(found)})
