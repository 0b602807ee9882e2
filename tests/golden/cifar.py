"""Checks of the networks for CIFAR, and of the noise in their branches.

Source: efficientnetv2-paa specification, parts C and D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import ninefold
from ninefold.layers.shake import ShakeDrop, ShakeShake, shake_drop, shake_shake

from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]
OF_THE_FILE = ("kind", "note")
"""What a configuration tells of the file and not of the model."""


def wide_resnet(golden: Golden) -> Pairs:
    """fast-autoaugment's form."""
    return _check(golden, "wide_resnet", form="fast_autoaugment", norm_momentum=0.9)


def wide_resnet_paa(golden: Golden) -> Pairs:
    """The original form."""
    return _check(golden, "wide_resnet")


def shake_shake_net(golden: Golden) -> Pairs:
    """Maps and output."""
    return _check(golden, "shake_shake")


def pyramidnet(golden: Golden) -> Pairs:
    """Maps and output."""
    return _check(golden, "pyramidnet")


def _check(golden: Golden, family: str, **options: Any) -> Pairs:
    options |= {k: v for k, v in golden.config.items() if k not in OF_THE_FILE}
    with torch.inference_mode(False), torch.enable_grad():
        model: Any = ninefold.create_model(family, **options).eval()
        ninefold.load_weights(model, golden.under("weights/"))
        image = golden.tensors["input"].clone().requires_grad_()
        maps = model.features(image)
        actual: dict[str, Tensor] = {"output": model(image)}
        stages = ("layer", "block")
        for i, value in enumerate(maps, 1):
            actual |= {f"features/{stage}{i}": value.mean(dim=(2, 3)) for stage in stages}
        if "train/target" in golden.tensors:
            actual |= _trained(golden, model, image)
    return {k: (v.detach(), golden.tensors[k]) for k, v in actual.items() if k in golden.tensors}


def _trained(golden: Golden, model: Any, image: Tensor) -> dict[str, Tensor]:
    """One pass in training mode: its loss, gradients and running statistics."""
    model.train()
    output = model(image)
    loss = F.cross_entropy(output, golden.tensors["train/target"])
    loss.backward()
    assert image.grad is not None
    found = {"train/output": output, "train/loss": loss[None], "train/grad_input": image.grad}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        found[f"train/grad/{name}"] = parameter.grad
    return found | {f"train/after/{name}": value for name, value in model.named_buffers()}


def shake_ops(golden: Golden) -> Pairs:
    """Outputs in training and evaluation, and gradients, with the file's draws."""
    tensors = golden.tensors
    pairs: Pairs = {}

    def compare(name: str, value: Tensor) -> None:
        pairs[name] = value.detach(), tensors[name]

    with torch.inference_mode(False), torch.enable_grad():
        one, two = (tensors[f"shakeshake/x{i}"].clone().requires_grad_() for i in (1, 2))
        out = shake_shake(one, two, tensors["shakeshake/alpha"], tensors["shakeshake/beta"])
        first, second = torch.autograd.grad(out, (one, two), tensors["shakeshake/grad_output"])
        compare("shakeshake/output_train", out)
        compare("shakeshake/grad_x1", first)
        compare("shakeshake/grad_x2", second)
        compare("shakeshake/output_eval", ShakeShake().eval()(one, two))
        for gate in (0, 1):
            at = f"shakedrop/gate{gate}"
            x = tensors[f"{at}/x"].clone().requires_grad_()
            kept = torch.full((len(x),), bool(gate))
            out = shake_drop(x, tensors[f"{at}/alpha"], tensors[f"{at}/beta"], kept)
            (gradient,) = torch.autograd.grad(out, x, tensors[f"{at}/grad_output"])
            compare(f"{at}/output_train", out)
            compare(f"{at}/grad_x", gradient)
        x = tensors["shakedrop/gate0/x"]
        same = torch.equal(x, tensors["shakedrop/gate1/x"])
        rate = float(tensors["shakedrop/p_drop"])
        candidates = [ShakeDrop(rate).eval()(tensors[f"shakedrop/gate{g}/x"]) for g in (0, 1)]
        expected = tensors["shakedrop/output_eval"]
        nearest = min(candidates, key=lambda value: float((value - expected).abs().max()))
        compare("shakedrop/output_eval", candidates[0] if same else nearest)
    return pairs
