"""What comes first in a model and what last: for freezing its first stages, for smaller rates
near the input, for looking at one part after the other, and for how its head starts.

A model tells its order by one method, and a user's own model may have it too:

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]

Stages from the input on, the embedding or stem being the first; each a list of layers; each layer
the names of the modules and parameters that are at this depth. What no layer names (the head, the
norm before it) is last.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ninefold.core.errors import Refused
from ninefold.layers.norm import BATCH_NORMS

Stages = Sequence[Sequence[tuple[str, ...]]]

_CONTRACT = (
    "has no method layers_by_depth(); one that lists stages of layers of names, such as "
    "[[('stem',)], [('block1',), ('block2',)]], would tell what comes first"
)


def freeze(model: nn.Module, stages: int | str, *, where: str) -> list[nn.Module]:
    """Stop the first stages of a model from training: no gradients from now on.

    Args:
        stages: Stages after the embedding, which is frozen with them; `backbone` for everything
            but the model's `head`.
        where: What the model is called in errors.

    Returns:
        The modules that are frozen whole: to be kept in evaluation mode, so that their running
        statistics stay and their dropout draws nothing.

    Raises:
        Refused: the model does not tell its order, or has fewer stages, or no head.
    """
    names = _but_head(model, where) if stages == "backbone" else _first(model, int(stages), where)
    for name, parameter in model.named_parameters():
        if _owner(name, names) is not None:
            parameter.requires_grad_(False)
    whole: list[nn.Module] = []
    inside: list[str] = []
    for path, module in model.named_modules():
        if not path or any(path.startswith(f"{outer}.") for outer in inside):
            continue
        parameters = list(module.parameters())
        frozen = parameters and not any(p.requires_grad for p in parameters)
        if frozen or (not parameters and path in names):
            whole.append(module)
            inside.append(path)
    return whole


def rate_scales(model: nn.Module, decay: float, *, where: str) -> dict[str, float]:
    """The factor of the learning rate for every parameter: `decay` to the power of its distance
    from the top, 1 for the head and 0 layers below it.

    Raises:
        Refused: the model does not tell its order.

    Source: microsoft/SimMIM `optimizer.py` for Swin (the step down between stages has the rate of
    the block before it), after BEiT (Bao et al. 2021, arXiv 2106.08254) and ELECTRA.
    """
    layers = [names for stage in _stages(model, where) for names in stage]
    depth = {name: i for i, names in enumerate(layers) for name in names}
    scales: dict[str, float] = {}
    for name, _ in model.named_parameters():
        owner = _owner(name, depth)
        scales[name] = decay ** (len(layers) - depth[owner]) if owner is not None else 1.0
    return scales


KINDS = {
    "attention": ("attn",),
    "token perceptrons": ("mlp_tokens",),
    "perceptrons": ("mlp", "mlp_channels"),
}
"""Modules inside blocks, by their names, that are looked at together."""


def parts_of(model: nn.Module, *, where: str) -> dict[str, list[str]]:
    """Names of the parameters of each part: `embedding`, `block 1` and so on, `head` (with the norm
    before it); and of all blocks together `attention` and `perceptrons`, where they have such.

    Raises:
        Refused: the model does not tell its order.
    """
    layers = [names for stage in _stages(model, where) for names in stage]
    depth = {name: i for i, names in enumerate(layers) for name in names}
    called = ["embedding", *(f"block {i}" for i in range(1, len(layers)))]
    parts: dict[str, list[str]] = {part: [] for part in (*called, "head", *KINDS)}
    for name, _ in model.named_parameters():
        owner = _owner(name, depth)
        parts["head" if owner is None else called[depth[owner]]].append(name)
        for kind, modules in KINDS.items():
            if set(modules) & set(name.split(".")):
                parts[kind].append(name)
    return {part: names for part, names in parts.items() if names}


def save_memory(model: nn.Module, *, where: str) -> None:
    """Have a model recompute activations in the backward pass, by its own
    `set_grad_checkpointing(True)`, which is timm's name for it.

    BatchNorm counts such a batch once: in the second pass its running statistics stay.

    Raises:
        Refused: the model has no such method, or cannot.

    Source: Chen et al. 2016, arXiv 1604.06174.
    """
    switch: Any = getattr(model, "set_grad_checkpointing", None)
    if not callable(switch):
        raise Refused(
            f"{where}: has no method set_grad_checkpointing(enable), which would make its blocks "
            "run under torch.utils.checkpoint; leave grad_checkpoint off"
        )
    try:
        switch(True)
    except (AssertionError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Refused(f"{where}: cannot checkpoint gradients ({reason}); leave it off") from None
    for module in model.modules():
        if isinstance(module, BATCH_NORMS):
            module.register_forward_pre_hook(_hold_statistics)
            # A recomputation may end within a norm, once it has all that it has to save.
            module.register_forward_hook(_let_statistics_go, always_call=True)


def _hold_statistics(module: Any, _: Any) -> None:
    if _recomputing() and module.training and module.track_running_stats:
        module.held_momentum = module.momentum
        module.momentum = 0.0


def _let_statistics_go(module: Any, _: Any, __: Any) -> None:
    if "held_momentum" in vars(module):
        module.momentum = module.held_momentum
        del module.held_momentum
        if module.num_batches_tracked is not None:
            module.num_batches_tracked.sub_(1)


def _recomputing() -> bool:
    """Whether a backward pass is under way, which is when checkpointed blocks run again."""
    return torch._C._current_graph_task_id() != -1  # pyright: ignore[reportPrivateUsage]: no public way


def set_head_bias(model: nn.Module, bias: float, *, where: str) -> None:
    """Set all biases of a model's `head`, as of a layer that has just been made.

    Raises:
        Refused: no `head` with a bias.
    """
    head: Any = getattr(model, "head", None)
    named = head.named_parameters() if isinstance(head, nn.Module) else ()
    biases = [parameter for name, parameter in named if name.split(".")[-1] == "bias"]
    if not biases:
        raise Refused(f"{where}: has no `head` with a bias that head_bias could set; leave it at 0")
    for one in biases:
        nn.init.constant_(one, bias)


def _stages(model: nn.Module, where: str) -> Stages:
    tell: Any = getattr(model, "layers_by_depth", None)
    if not callable(tell):
        raise Refused(f"{where}: {_CONTRACT}")
    stages: Any = tell()
    known = {name for name, _ in (*model.named_modules(), *model.named_parameters())}
    strange = [n for stage in stages for layer in stage for n in layer if n not in known]
    if strange:
        raise Refused(
            f"{where}: its layers_by_depth() names {strange[0]!r}, which is no module or "
            "parameter of it"
        )
    return stages


def _first(model: nn.Module, count: int, where: str) -> set[str]:
    stages = _stages(model, where)
    if count >= len(stages):
        raise Refused(
            f"{where}: has {len(stages) - 1} stages after its embedding, freeze is {count}; "
            f"1 to {len(stages) - 1}, or backbone"
        )
    return {name for stage in stages[: count + 1] for layer in stage for name in layer}


def _but_head(model: nn.Module, where: str) -> set[str]:
    head: Any = getattr(model, "head", None)
    path = next((n for n, m in model.named_modules() if m is head), "")
    if not path or not any(True for _ in head.parameters()):
        raise Refused(f"{where}: has no `head` that could train alone; freeze a number of stages")
    return {name for name, _ in model.named_parameters() if not name.startswith(f"{path}.")}


def _owner(name: str, known: Any) -> str | None:
    """The longest of `known` that is a parameter's name or a module around it."""
    while name:
        if name in known:
            return name
        name = name.rpartition(".")[0]
    return None
