"""What the files of flax models have in common: names joined by `/`, channels last, kernels.

Source: vit-augreg-sam specification, sections 5.3 to 5.5 (google-research/vision_transformer,
big_vision).
Shapes: p rows and columns of a kernel, d channels.
"""

import re

from torch import Tensor

from ninefold.models.layout import Tensors


def from_flax(tensors: Tensors) -> Tensors:
    """Names joined by `.`, `kernel` and `scale` as `weight`, axes in torch's order."""
    renamed: Tensors = {}
    for key, value in tensors.items():
        parent, _, leaf = key.replace("/", ".").rpartition(".")
        if leaf == "kernel":
            renamed[f"{parent}.weight"] = _kernel(value)
        elif leaf in ("scale", "gamma"):
            renamed[f"{parent}.weight"] = value.flatten()  # (1, 1, 1, d) in old files
        elif leaf in ("bias", "beta"):
            renamed[f"{parent}.bias"] = value.flatten()
        else:
            renamed[f"{parent}.{leaf}".lstrip(".")] = value
    return renamed


def _kernel(value: Tensor) -> Tensor:
    """Convolutions `(p, p, in, out)` and dense layers `(in, out)`; others as they are."""
    if value.dim() == 4:
        return value.permute(3, 2, 0, 1).contiguous()
    return value.t().contiguous() if value.dim() == 2 else value


def from_scan(tensors: Tensors, stacked: str, single: str) -> Tensors:
    """Files of big_vision's scanned models hold all blocks as one, with a leading axis of blocks.

    Args:
        stacked: The name of all of them, before the rest of a key.
        single: That of block `{}`.
    """
    if not any(re.match(rf"{stacked}/", key) for key in tensors):
        return tensors
    renamed: Tensors = {}
    for key, value in tensors.items():
        if key.startswith(f"{stacked}/"):
            rest = key.removeprefix(stacked)
            renamed |= {single.format(i) + rest: part for i, part in enumerate(value.unbind(0))}
        else:
            renamed[key] = value
    return renamed


def to_flax(tensors: Tensors) -> Tensors:
    """The way back from `from_flax`: `kernel` of matrices and convolutions, `scale` of norms."""
    renamed: Tensors = {}
    for key, value in tensors.items():
        parent, _, leaf = key.replace(".", "/").rpartition("/")
        if leaf == "weight":
            leaf = "scale" if value.dim() == 1 else "kernel"
        if leaf == "kernel":
            value = value.permute(2, 3, 1, 0) if value.dim() == 4 else value.t()
        renamed["/".join(filter(None, (parent, leaf)))] = value.contiguous()
    return renamed
