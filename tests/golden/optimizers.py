"""Checks of optimizers: weights step by step under the gradients of the file.

Source: vit-augreg-sam specification, section 13; efficientnetv2-paa specification, part D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ninefold.optim import ASAM, SAM, RMSpropTF

from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]


def rmsprop_tf(golden: Golden) -> Pairs:
    """The trajectory."""
    found: list[Tensor] = []
    rates = golden.tensors["lrs"]
    with torch.inference_mode(False):
        weight = nn.Parameter(golden.tensors["w0"].clone())
        numbers = {"decay": "rho", "momentum": "momentum", "eps": "eps"}
        options: dict[str, float] = {
            ours: float(golden.told[theirs]) for ours, theirs in numbers.items()
        }
        if "weight_decay" in golden.told:
            options["weight_decay"] = float(golden.told["weight_decay"])
        optimizer = RMSpropTF([weight], **options)
        for rate, gradient in zip(rates.tolist(), golden.tensors["grads"], strict=True):
            optimizer.param_groups[0]["lr"] = rate
            weight.grad = gradient.clone()
            optimizer.step()
            found.append(weight.detach().clone())
    return {"trajectory": (torch.stack(found), golden.tensors["trajectory"])}


def sam_trajectory(golden: Golden) -> Pairs:
    """Weights after each step, losses and norms by every rule of the file."""
    rules = {name.split("/")[0] for name in golden.tensors if "/step1/" in name}
    pairs: Pairs = {}
    with torch.inference_mode(False), torch.enable_grad():
        for rule in sorted(rules):
            pairs |= _Trajectory(golden, rule).pairs()
    return pairs


class _Trajectory:
    """One rule; losses are without the decay in each.

    `google` has the decay in the loss, `_wd0` none; `asam` climbs in units of the weights, `sgd`
    not at all; `msharpN` has N shards, of every Nth row; `_clip` clips before the step.
    """

    def __init__(self, golden: Golden, rule: str) -> None:
        self.golden, self.rule, self.config = golden, rule, golden.config
        self.weights = {
            name: nn.Parameter(value.double()) for name, value in golden.under("weights/").items()
        }
        self.x, self.y = golden.tensors["input"].double(), golden.tensors["labels"]
        self.norms: list[float] = []
        self.decay = 0.0 if rule.endswith("_wd0") else float(self.config["weight_decay"])
        self.optimizer = self._optimizer()

    def _optimizer(self) -> SAM:
        config, rule = self.config, self.rule
        shards = int(rule.removeprefix("msharp")) if rule.startswith("msharp") else 1
        options: dict[str, Any] = {
            "base": torch.optim.SGD,
            "lr": config["lr"],
            "momentum": config["momentum"],
            "dampening": config.get("dampening", 0),
            "nesterov": config.get("nesterov", False),
            "weight_decay": self.decay,
            "shards": shards,
            "decay_in_loss": rule.startswith("google"),
        }
        parameters = list(self.weights.values())
        if rule.startswith("asam"):
            return ASAM(parameters, rho=config["rho_asam"], **options)
        rho = 0.0 if rule.startswith("sgd") else config["rho"]
        return SAM(parameters, rho=rho, **options)

    def pairs(self) -> Pairs:
        pairs: Pairs = {}
        losses: list[Tensor] = []
        self.optimizer.base.register_step_pre_hook(lambda *_: self._clip())
        for step in range(1, int(self.config["steps"]) + 1):
            losses.append(self.optimizer.step(self._closure).detach())
            for name, weight in self.weights.items():
                key = f"{self.rule}/step{step}/{name}"
                pairs[key] = weight.detach().clone(), self.golden.tensors[key]
        key = f"{self.rule}/loss"
        pairs[key] = torch.stack(losses), self.golden.tensors[key]
        key = f"{self.rule}/first_grad_norm"
        expected = self.golden.tensors[key]
        pairs[key] = torch.tensor(self.norms, dtype=torch.float64).view_as(expected), expected
        return pairs

    def _closure(self) -> Tensor:
        sam = self.optimizer
        x, y = self.x[sam.shard :: sam.shards], self.y[sam.shard :: sam.shards]
        weights = self.weights
        hidden = torch.tanh(F.linear(x, weights["fc1.weight"], weights["fc1.bias"]))
        loss = F.cross_entropy(F.linear(hidden, weights["fc2.weight"], weights["fc2.bias"]), y)
        loss.backward()
        if sam.climbing:
            self.norms.append(self._norm())
        return loss

    def _norm(self) -> float:
        """Of the gradient that the climb goes by; of `|w| g` where units are the weights."""
        parts: list[Tensor] = []
        for weight in self.weights.values():
            assert weight.grad is not None
            gradient = weight.grad + (self.decay * weight if self.optimizer.decay_in_loss else 0)
            scaled = weight.abs() * gradient if self.optimizer.adaptive else gradient
            parts.append(scaled.detach().flatten())
        return float(torch.cat(parts).norm())

    def _clip(self) -> None:
        """By the norm alone; torch's function adds 1e-6 to it."""
        if self.rule.endswith("_clip"):
            limit = float(self.config[f"clip_{self.rule}"])
            gradients = [w.grad for w in self.weights.values() if w.grad is not None]
            norm = float(torch.nn.utils.get_total_norm(gradients))
            for gradient in gradients:
                gradient.mul_(min(1.0, limit / norm))
