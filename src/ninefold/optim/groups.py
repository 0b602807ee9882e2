"""Which parameters decay.

Source: Swin-Transformer `optimizer.py`; timm's and big_vision's rules are the same but for names.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

POSITION_TABLES = ("absolute_pos_embed", "relative_position_bias_table")
"""In the names of parameters that hold a value a position, and never decay: Focal's tables for the
ring and for coarse tokens have more behind it."""


def parameter_groups(
    model: nn.Module, weight_decay: float, *, scales: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """The trainable parameters in groups of one weight decay and one `lr_scale`.

    Vectors and scalars (biases, norms), position tables, and whatever a module of the model lists
    by `no_weight_decay()` (names of its parameters) do not decay. The loop multiplies a group's
    learning rate by its `lr_scale`: that of `scales` by the parameter's name, else 1. Smaller
    scales come first, and of each the group that decays.
    """
    exempt = set(_exempt(model))
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            table = any(part in name for part in POSITION_TABLES)
            free = parameter.ndim <= 1 or name in exempt or name.endswith(".bias") or table
            scale = scales[name] if scales else 1.0
            groups.setdefault((scale, free), []).append(parameter)
    return [
        {"params": groups[key], "weight_decay": 0.0 if key[1] else weight_decay, "lr_scale": key[0]}
        for key in sorted(groups)
    ]


def _exempt(model: nn.Module) -> Iterator[str]:
    """Full names of what `no_weight_decay()` of the model, or of a model inside it, lists."""
    for path, module in model.named_modules():
        listed = getattr(module, "no_weight_decay", None)
        if callable(listed):
            names: Any = listed()
            for name in names:
                yield f"{path}.{name}" if path else str(name)
