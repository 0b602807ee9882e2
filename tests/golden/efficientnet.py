"""Checks of the EfficientNets: outputs, maps of the stages, and one training step.

Source: efficientnetv2-paa specification, part D.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import ninefold
from ninefold.models.efficientnet_keys import EFFICIENTNET

from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]
OF_THE_FILE = ("family", "layout", "source")
"""What a file's configuration tells of itself and not of the model."""


def timm(golden: Golden) -> Pairs:
    """timm's models: V1's table by name, V2's in the configuration."""
    first = "v1" in golden.config.get("family", "")
    return _check(golden, "efficientnet" if first else "efficientnet_v2", _timm_maps)


def torchvision(golden: Golden) -> Pairs:
    """torchvision's models, by a table with the channels that come in."""
    return _check(golden, "efficientnet_v2", _torchvision_maps)


def _check(golden: Golden, family: str, maps: Any) -> Pairs:
    options = {k: v for k, v in golden.config.items() if k not in OF_THE_FILE}
    if family == "efficientnet" and "stages" not in options:
        options.pop("stage_cols", None)
    with torch.inference_mode(False), torch.enable_grad():
        model: Any = ninefold.create_model(family, **options).eval()
        ninefold.load_weights(model, golden.under("weights/"))
        image = golden.tensors["input"].clone().requires_grad_()
        actual: dict[str, Tensor] = {"output": model(image)}
        actual |= {f"features/{name}": value for name, value in maps(model, image).items()}
        if "train/target" in golden.tensors:
            actual |= _trained(golden, model, image)
    return {k: (v.detach(), golden.tensors[k]) for k, v in actual.items() if k in golden.tensors}


def _timm_maps(model: Any, image: Tensor) -> dict[str, Tensor]:
    maps = {"stem": model.stem(image)}
    x = maps["stem"]
    for i, stage in enumerate(model.blocks):
        x = maps[f"stage{i}"] = stage(x)
    maps["head"] = model.last(x)
    return maps


def _torchvision_maps(model: Any, image: Tensor) -> dict[str, Tensor]:
    return {str(i): value for i, value in enumerate(_timm_maps(model, image).values())}


def _trained(golden: Golden, model: Any, image: Tensor) -> dict[str, Tensor]:
    """One pass in training mode: its loss, gradients and running statistics."""
    model.train()
    output = model(image)
    loss = F.cross_entropy(output, golden.tensors["train/target"])
    loss.backward()
    assert image.grad is not None
    found = {"train/output": output, "train/loss": loss[None], "train/grad_input": image.grad}
    own = _names(golden)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            found[f"train/grad/{own[name]}"] = parameter.grad
    found |= {f"train/after/{own[name]}": value for name, value in model.named_buffers()}
    return found


def _names(golden: Golden) -> dict[str, str]:
    """The file's name of each parameter and buffer of ours."""
    weights = golden.under("weights/")
    read = EFFICIENTNET.read(weights, golden.path.name)
    assert read is not None
    theirs = {id(value): name for name, value in weights.items()}
    return {name: theirs[id(value)] for name, value in read[1].items()}
