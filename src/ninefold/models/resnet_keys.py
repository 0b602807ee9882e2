"""Weights of the ResNets as others name them: torchvision, timm, big_vision, BiT's release.

Source: vit-augreg-sam specification, sections 3 and 5.5; torchvision's own state dict.
"""

import re
from collections.abc import Callable

from torch import Tensor

from ninefold.models.flax_keys import from_flax, to_flax
from ninefold.models.layout import (
    NEVER,
    Keys,
    Layout,
    Tensors,
    head_options,
    prefix_before,
    refuse,
    require,
    substitute,
)

_BIG_VISION = substitute(
    (r"^root_block\.", ""),
    (r"\.unit0*(\d+)\.", r".unit\1."),
    (r"^norm-pre-head\.", "norm."),
    (r"^(conv_root|gn_root|block\d+)\.", r"body.\1."),
)
_BIT = substitute(
    (r"^resnet\.", ""),
    (r"\.standardized_conv2d(?:_\d+)?\.", "."),
    (r"^root_block\.", "body.conv_root."),
    (r"^block(\d+)\.unit0*(\d+)\.", r"body.block\1.unit\2."),
    (r"\.a\.proj\.", ".conv_proj."),
    (r"\.a\.group_norm\.", ".gn1."),
    (r"\.b\.group_norm\.", ".gn2."),
    (r"\.c\.group_norm\.", ".gn3."),
    (r"\.a\.weight$", ".conv1.weight"),
    (r"\.b\.weight$", ".conv2.weight"),
    (r"\.c\.weight$", ".conv3.weight"),
    (r"^group_norm\.", "norm."),
    (r"^head\.conv2d\.", "head."),
)
_TORCHVISION = substitute((r"^(conv1|bn1|layer\d+)\.", r"body.\1."), (r"^fc\.", "head."))


def _from_big_vision(tensors: Tensors) -> Tensors:
    return _BIG_VISION(from_flax(tensors))


def _from_bit(tensors: Tensors) -> Tensors:
    renamed = _BIT(from_flax(tensors))
    if "head.weight" in renamed:
        renamed["head.weight"] = renamed["head.weight"].flatten(1)
    return renamed


def _is_torchvision(tensors: Tensors) -> str | None:
    return prefix_before("layer1.0.conv1.weight", "", "backbone.")(tensors)


_BACK = substitute((r"^body\.", ""), (r"^head\.", "fc."))


def _to_torchvision(tensors: Tensors) -> Tensors:
    refuse(tensors, r"^body\.conv_root\.", "torchvision's ResNet")
    return _BACK(tensors)


def _unit(key: str) -> str:
    """Units have two digits in BiT's files."""
    return re.sub(r"\.unit(\d+)\.", lambda m: f".unit{int(m[1]):02d}.", key)


def _to_big_vision_v1(tensors: Tensors) -> Tensors:
    require(tensors, "body.gn_root.weight", "big_vision's ResNet v1")
    return to_flax(substitute((r"^body\.", ""))(tensors))


def _to_big_vision_v2(tensors: Tensors) -> Tensors:
    where = "big_vision's ResNet v2"
    require(tensors, "body.conv_root.weight", where)
    refuse(tensors, r"\.gn_(root|proj)\.", where)
    names = substitute(
        (r"^body\.conv_root\.", "root_block.conv_root."), (r"^body\.", ""),
        (r"^norm\.", "norm-pre-head."),
    )(tensors)  # fmt: skip
    return to_flax({_unit(key): value for key, value in names.items()})


_TO_BIT = substitute(
    (r"^body\.conv_root\.", "root_block.standardized_conv2d."),
    (r"^body\.", ""),
    (r"\.conv_proj\.", ".a.proj.standardized_conv2d."),
    (r"\.conv(\d)\.", lambda m: f".{'abc'[int(m[1]) - 1]}.standardized_conv2d."),
    (r"\.gn(\d)\.", lambda m: f".{'abc'[int(m[1]) - 1]}.group_norm."),
    (r"^norm\.", "group_norm."),
    (r"^head\.", "head.conv2d."),
)


def _to_bit(tensors: Tensors) -> Tensors:
    """The head is a convolution there, norms have `gamma` and `beta`."""
    where = "BiT's ResNet"
    require(tensors, "body.conv_root.weight", where)
    refuse(tensors, r"\.gn_(root|proj)\.", where)
    written: Tensors = {}
    for key, value in to_flax(_convolved(tensors, _TO_BIT)).items():
        if "/group_norm/" in f"/{key}":
            key = key.replace("/scale", "/gamma").replace("/bias", "/beta")
        written[f"resnet/{key}"] = value
    return {_unit(key.replace("/", ".")).replace(".", "/"): v for key, v in written.items()}


def _convolved(tensors: Tensors, rename: Callable[[Tensors], Tensors]) -> Tensors:
    """The head as a convolution of one pixel."""
    head = "head.weight"
    return rename({k: v[..., None, None] if k == head else v for k, v in tensors.items()})


def _to_timm(tensors: Tensors) -> Tensors:
    where = "timm's BiT"
    require(tensors, "body.conv_root.weight", where)
    refuse(tensors, r"\.gn_(root|proj)\.", where)

    def unit(match: re.Match[str]) -> str:
        return f"stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}."

    return _convolved(
        tensors,
        substitute(
            (r"^body\.block(\d+)\.unit(\d+)\.", unit),
            (r"^body\.conv_root\.", "stem.conv."),
            (r"\.gn(\d)\.", r".norm\1."),
            (r"\.conv_proj\.", ".downsample.conv."),
            (r"^head\.", "head.fc."),
        ),
    )


def _from_timm(tensors: Tensors) -> Tensors:
    """timm's BiT: stages and units are counted from 0, the head is a convolution."""

    def unit(match: re.Match[str]) -> str:
        return f"body.block{int(match[1]) + 1}.unit{int(match[2]) + 1}."

    renamed: Tensors = {}
    for key, value in tensors.items():
        key = re.sub(r"^stages\.(\d+)\.blocks\.(\d+)\.", unit, key)
        key = re.sub(r"^stem\.conv\.", "body.conv_root.", key)
        key = re.sub(r"^stem\.norm\.", "body.gn_root.", key)
        key = re.sub(r"\.norm(\d)\.", r".gn\1.", key)
        key = re.sub(r"\.downsample\.conv\.", ".conv_proj.", key)
        key = re.sub(r"\.downsample\.norm\.", ".gn_proj.", key)
        key = re.sub(r"^head\.fc\.", "head.", key)
        renamed[key] = _flat(value) if key == "head.weight" else value
    return renamed


def _flat(value: Tensor) -> Tensor:
    return value.flatten(1)


RESNET = Keys(
    family="resnet",
    layouts=(
        Layout("torchvision", _is_torchvision, _TORCHVISION, _to_torchvision),
        Layout(
            "big_vision-v1",
            prefix_before("conv_root/kernel", ""),
            _from_big_vision,
            _to_big_vision_v1,
        ),
        Layout(
            "big_vision-v2",
            prefix_before("root_block/conv_root/kernel", ""),
            _from_big_vision,
            _to_big_vision_v2,
        ),
        Layout(
            "bit",
            prefix_before("resnet/root_block/standardized_conv2d/kernel", ""),
            _from_bit,
            _to_bit,
        ),
        Layout("timm", prefix_before("stem.conv.weight", ""), _from_timm, _to_timm),
    ),
    mark=re.compile(r"^body\."),
    computed=NEVER,
    spare=re.compile(r"^head\."),
    fresh=re.compile(r"\.num_batches_tracked$"),
    resize=lambda key, value, target, model: None,
    options=head_options,
)
