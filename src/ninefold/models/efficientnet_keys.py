"""Weights of the EfficientNets as timm and torchvision name them; timm's names are ours.

Source: efficientnetv2-paa specification, section A6; both libraries' state dicts.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ninefold.models.layout import NEVER, Keys, Layout, Tensors, prefix_before

_FUSED = {"0.0": "conv_exp", "0.1": "bn1", "1.0": "conv_pwl", "1.1": "bn2"}
_ONE = {"0.0": "conv", "0.1": "bn1"}
_WIDE = {
    "0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2.fc1": "se.conv_reduce",
    "2.fc2": "se.conv_expand", "3.0": "conv_pwl", "3.1": "bn3",
}  # fmt: skip
_PLAIN = {
    "0.0": "conv_dw", "0.1": "bn1", "1.fc1": "se.conv_reduce", "1.fc2": "se.conv_expand",
    "2.0": "conv_pw", "2.1": "bn2",
}  # fmt: skip
_KINDS = {frozenset(kind): kind for kind in (_FUSED, _ONE, _WIDE, _PLAIN)}
"""Which parts a block of torchvision has tells its kind."""
_NUMBERS = {
    frozenset(kind.values()): {name: number for number, name in kind.items()}
    for kind in (_FUSED, _ONE, _WIDE, _PLAIN)
}


def _from_torchvision(tensors: Tensors) -> Tensors:
    """`features` counts the stem, then stages, then the last convolution; blocks name no layers."""
    parts: dict[tuple[int, int], set[str]] = defaultdict(set)
    found: dict[str, re.Match[str]] = {}
    for key in tensors:
        match = re.match(r"features\.(\d+)\.(\d+)\.block\.(\d\.(?:\d|fc\d))\.", key)
        if match:
            found[key] = match
            parts[int(match[1]), int(match[2])].add(match[3])
    last = max((int(m[1]) for k in tensors if (m := re.match(r"features\.(\d+)\.", k))), default=0)
    ends = {
        "features.0.0.": "conv_stem.", "features.0.1.": "bn1.", f"features.{last}.0.": "conv_head.",
        f"features.{last}.1.": "bn2.", "classifier.1.": "classifier.",
    }  # fmt: skip
    renamed: Tensors = {}
    for key, value in tensors.items():
        match = found.get(key)
        if match:
            stage, block = int(match[1]), int(match[2])
            names = _KINDS.get(frozenset(parts[stage, block]), {})
            name = names.get(match[3], match[3])
            renamed[f"blocks.{stage - 1}.{block}.{name}.{key[match.end() :]}"] = value
        else:
            start = next((s for s in ends if key.startswith(s)), "")
            renamed[ends.get(start, "") + key.removeprefix(start)] = value
    return renamed


def _to_torchvision(tensors: Tensors) -> Tensors:
    """Blocks again by their layers' numbers, which depend on the kind of the block."""
    parts: dict[tuple[int, int], set[str]] = defaultdict(set)
    pattern = re.compile(r"blocks\.(\d+)\.(\d+)\.(se\.\w+|\w+)\.")
    found = {key: match for key in tensors if (match := pattern.match(key))}
    for match in found.values():
        parts[int(match[1]), int(match[2])].add(match[3])
    last = 2 + max((stage for stage, _ in parts), default=-1)
    ends = {
        "conv_stem.": "features.0.0.", "bn1.": "features.0.1.", "conv_head.": f"features.{last}.0.",
        "bn2.": f"features.{last}.1.", "classifier.": "classifier.1.",
    }  # fmt: skip
    renamed: Tensors = {}
    for key, value in tensors.items():
        match = found.get(key)
        if match:
            stage, block = int(match[1]), int(match[2])
            number = _NUMBERS[frozenset(parts[stage, block])][match[3]]
            name = f"features.{stage + 1}.{block}.block.{number}.{key[match.end() :]}"
        else:
            start = next((s for s in ends if key.startswith(s)), "")
            name = ends.get(start, "") + key.removeprefix(start)
        renamed[name] = value
    return renamed


def _options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    head = tensors.get("classifier.weight")
    return {"num_classes": 0 if head is None else len(head)}


EFFICIENTNET = Keys(
    family="efficientnet",
    layouts=(
        Layout(
            "torchvision",
            prefix_before("features.0.0.weight", ""),
            _from_torchvision,
            _to_torchvision,
        ),
        Layout("timm", prefix_before("conv_stem.weight", ""), dict, dict),
    ),
    mark=re.compile(r"^blocks\.\d+\.\d+\.conv"),
    computed=NEVER,
    spare=re.compile(r"^classifier\."),
    fresh=re.compile(r"\.num_batches_tracked$"),
    resize=lambda key, value, target, model: None,
    options=_options,
)
