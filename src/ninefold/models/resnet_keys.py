"""Weights of the ResNets as others name them: torchvision, timm, big_vision, BiT's release.

Source: vit-augreg-sam specification, sections 3 and 5.5; torchvision's own state dict.
"""

import re

from torch import Tensor

from ninefold.models.flax_keys import from_flax
from ninefold.models.layout import Keys, Layout, Tensors, prefix_before, substitute
from ninefold.models.vit_keys import NEVER, head_options

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
        Layout("torchvision", _is_torchvision, _TORCHVISION),
        Layout("big_vision v1", prefix_before("conv_root/kernel", ""), _from_big_vision),
        Layout("big_vision v2", prefix_before("root_block/conv_root/kernel", ""), _from_big_vision),
        Layout(
            "BiT",
            prefix_before("resnet/root_block/standardized_conv2d/kernel", ""),
            _from_bit,
        ),
        Layout("timm", prefix_before("stem.conv.weight", ""), _from_timm),
    ),
    computed=NEVER,
    spare=re.compile(r"^head\."),
    fresh=re.compile(r"\.num_batches_tracked$"),
    resize=lambda key, value, target, model: None,
    options=head_options,
)
