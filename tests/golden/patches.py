"""Checks of Patch AutoAugment: operations, their application to images, agents and their loss.

Source: efficientnetv2-paa specification, sections B2 to B5 and part D.
"""

import json
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ninefold.augment.patch_agent import PatchAgent
from ninefold.augment.patch_credit import a2c_loss
from ninefold.augment.patch_ops import OPERATIONS, Draws, draw, operate
from ninefold.augment.patches import augment_patches

from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]


def paa_ops(golden: Golden) -> Pairs:
    """Each operation on the file's stack, with the file's numbers."""
    assert tuple(json.loads(golden.told["op_order"])) == OPERATIONS
    pairs: Pairs = {}
    for name in OPERATIONS:
        own = golden.under(f"{name}/")
        if not own:
            continue
        x = own["input"]
        draws = _drawn(draw(len(x), *x.shape[-2:]), own)
        pairs[f"{name}/output"] = operate(name, x, draws, quirks=True), own["output"]
    return pairs


def _drawn(draws: Draws, own: dict[str, Tensor]) -> Draws:
    named = {
        "bits": "bits_factor",
        "shift": "translations",
        "brightness": "brightness_factor",
        "contrast": "contrast_factor",
        "degrees": "degrees",
        "hue": "hue_factor",
        "sharpness": "sharpness_factor",
    }
    changes: dict[str, Any] = {
        ours: own[f"params/{theirs}"] for ours, theirs in named.items() if f"params/{theirs}" in own
    }
    if "bits" in changes:
        changes["bits"] = changes["bits"].long()
    if "params/xs" in own:
        corners = [own[f"params/{name}"] for name in ("xs", "ys", "widths", "heights")]
        changes["box"] = torch.stack(corners, dim=1).long()
    if "lam" in own:
        changes["weight"] = own["lam"].squeeze()
    return replace(draws, **changes)


def paa_apply(golden: Golden) -> Pairs:
    """Whole images by the file's choices, normalised."""
    tensors = golden.tensors
    image, operations = tensors["image"], tensors["operation_map"]
    side = image.shape[-1] // operations.shape[-1] - 1
    draws = draw(operations.numel(), side, side)
    if "mixup_lam" in tensors:
        draws = replace(draws, weight=tensors["mixup_lam"].squeeze())
    found = augment_patches(image, operations, tensors["execute"].bool(), draws, quirks=True)
    mean, std = (tensors[name].view(-1, 1, 1) for name in ("norm_mean", "norm_std"))
    return {"output_normalised": ((found - mean) / std, tensors["output_normalised"])}


def paa_a2c_loss(golden: Golden) -> Pairs:
    """The official loss and its gradients, with and without the second actor."""
    pairs: Pairs = {}
    with torch.inference_mode(False), torch.enable_grad():
        for name in ("op", "op_prob"):
            if f"{name}/loss" in golden.tensors:
                pairs |= _a2c(golden, name)
    return pairs


def _a2c(golden: Golden, name: str) -> Pairs:
    tensors = golden.tensors
    scores, value, chances = (
        tensors[key].clone().requires_grad_() for key in ("logits", "value", "prob_logits")
    )
    second: dict[str, Any] = {}
    if name == "op_prob":
        second = {"chance_scores": chances, "chance_actions": tensors["prob_actions"]}
    reward = tensors["reward"].expand(len(value))
    told = a2c_loss(
        scores, tensors["operations"], value.squeeze(1), reward, credit="official", **second
    )
    told["loss"].backward()
    actual = {
        "loss": told["loss"][None],
        "logprob_mean": told["log_prob"][None],
        "entropy_mean": told["entropy"][None],
        "grad_logits": scores.grad,
        "grad_value": value.grad,
        "grad_prob_logits": chances.grad,
    }
    keys = {f"{name}/{key}": found for key, found in actual.items()}
    return {k: (v.detach(), tensors[k]) for k, v in keys.items() if v is not None and k in tensors}


def paa_actor_critic(golden: Golden) -> Pairs:
    """Probabilities and values in evaluation."""
    weights, tensors = golden.under("weights/"), golden.tensors
    probabilities = tensors["output_probs"]
    agent = PatchAgent(num_operations=probabilities.shape[1], grid=probabilities.shape[-1])
    agent.load_state_dict(weights)
    scores, value = agent.eval()(tensors["input"])
    return {
        "output_probs": (scores.softmax(dim=1), probabilities),
        "output_value": (value[:, None], tensors["output_value"]),
    }
