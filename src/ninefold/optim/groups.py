"""Which parameters decay.

Source: Swin-Transformer `optimizer.py`; timm's and big_vision's rules are the same but for names.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

POSITION_TABLES = ("absolute_pos_embed", "relative_position_bias_table")
"""Ends of the names of parameters that hold a value a position, and never decay."""


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters in two groups, the first with weight decay, the second without.

    Vectors and scalars (biases, norms), position tables, and whatever a module of the model lists
    by `no_weight_decay()` (names of its parameters) do not decay. Each group has an `lr_scale` of
    1, by which the loop multiplies its learning rate. An empty group is left out.
    """
    exempt = set(_exempt(model))
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            free = (
                parameter.ndim <= 1 or name in exempt or name.endswith((".bias", *POSITION_TABLES))
            )
            (others if free else decayed).append(parameter)
    groups = [(decayed, weight_decay), (others, 0.0)]
    return [
        {"params": parameters, "weight_decay": decay, "lr_scale": 1.0}
        for parameters, decay in groups
        if parameters
    ]


def _exempt(model: nn.Module) -> Iterator[str]:
    """Full names of what `no_weight_decay()` of the model, or of a model inside it, lists."""
    for path, module in model.named_modules():
        listed = getattr(module, "no_weight_decay", None)
        if callable(listed):
            names: Any = listed()
            for name in names:
                yield f"{path}.{name}" if path else str(name)
