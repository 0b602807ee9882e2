"""From a configuration to an optimizer."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import find
from ninefold.core.options import read_options
from ninefold.optim.config import AdamW, Asam, Custom, Gsam, Optim, RmspropTf, Sam, Sgd
from ninefold.optim.groups import parameter_groups
from ninefold.optim.rmsprop_tf import RMSpropTF
from ninefold.optim.sam import ASAM, GSAM, SAM

_FUSED = ("cpu", "cuda")
"""Devices on which torch updates all parameters in one pass: 2.8 times as fast on a CPU."""


def make_optimizer(
    model: nn.Module, optim: Optim, *, scales: Mapping[str, float] | None = None
) -> Optimizer:
    """An optimizer over the trainable parameters of `model`, in the groups of `optim.groups`.

    Args:
        scales: Factors of the learning rate by the names of parameters; 1 without.

    Raises:
        Refused: a model without trainable parameters; a custom optimizer that cannot be found, or
            does not take a keyword it was given.
    """
    groups = parameter_groups(model, optim.weight_decay, scales=scales)
    if not groups:
        raise Refused(f"optim: {type(model).__name__} has no trainable parameter; unfreeze some")
    if isinstance(optim, Sam | Asam | Gsam):
        return _climbing(groups, optim)
    return _plain(groups, optim)


def _plain(groups: list[dict[str, Any]], optim: AdamW | Sgd | RmspropTf | Custom) -> Optimizer:
    if isinstance(optim, Custom):
        return _custom(groups, optim)
    settings: dict[str, Any] = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    if isinstance(optim, RmspropTf):
        return RMSpropTF(
            groups, decay=optim.decay, momentum=optim.momentum, eps=optim.eps, **settings
        )
    if {p.device.type for group in groups for p in group["params"]} <= set(_FUSED):
        settings["fused"] = True
    if isinstance(optim, AdamW):
        return torch.optim.AdamW(groups, betas=optim.betas, eps=optim.eps, **settings)
    return torch.optim.SGD(groups, momentum=optim.momentum, nesterov=optim.nesterov, **settings)


def _climbing(groups: list[dict[str, Any]], optim: Sam | Asam | Gsam) -> SAM:
    settings: dict[str, Any] = {
        "base": partial(_plain, optim=optim.base_optim()),
        "rho": optim.rho,
        "every": optim.every,
        "shards": optim.shards,
        "local": optim.local,
        "decay_in_loss": optim.decay_in_loss,
        "same_noise": optim.same_noise,
    }
    if isinstance(optim, Asam):
        return ASAM(groups, eta=optim.eta, **settings)
    if isinstance(optim, Gsam):
        return GSAM(
            groups, rho_min=optim.rho_min, alpha=optim.alpha, lr_max=optim.lr,
            lr_min=optim.lr_min, **settings,
        )  # fmt: skip
    return SAM(groups, **settings)


def _custom(groups: list[dict[str, Any]], optim: Custom) -> Optimizer:
    factory = find(optim.name)
    if not callable(factory):
        raise Refused(
            f"{optim.name}: a {type(factory).__name__}; an optimizer class would be right"
        )
    keywords = {"lr": optim.lr, "weight_decay": optim.weight_decay}
    keywords |= read_options(optim.options, where="optim.options")
    try:
        _check_keywords(optim, factory, keywords)
        optimizer = factory(groups, **keywords)
    except (TypeError, ValueError) as error:
        raise Refused(f"{optim.name}: {' '.join(str(error).split())}") from error
    if not isinstance(optimizer, Optimizer):
        raise Refused(
            f"{optim.name}: made a {type(optimizer).__name__}; a torch.optim.Optimizer is wanted"
        )
    return optimizer


def _check_keywords(optim: Custom, factory: Callable[..., Any], keywords: dict[str, Any]) -> None:
    """Refuse the first keyword that `factory` does not take; a weight decay of 0 is left out."""
    taken = inspect.signature(factory).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in taken.values()):
        return
    if "weight_decay" not in taken and not optim.weight_decay:
        del keywords["weight_decay"]
    for name in keywords:
        if name not in taken:
            known = [other for other in list(taken)[1:] if other not in keywords]
            hint = nearest(name, known) or f"; it takes {', '.join(known) or 'none'}"
            raise TypeError(f"takes no keyword {name!r}{hint}")
