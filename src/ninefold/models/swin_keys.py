"""Swin's weights as others name them: the authors, torchvision, timm, transformers, mmdetection.

Our names are the authors'. Their detection and segmentation files hold them behind `backbone.`,
their self-supervised ones (MoBY, SimMIM) behind `encoder.`.
Shapes: c channels of a stage, h heads, n rows of a table.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor, cat, nn

from ninefold.layers.position import resize_positions
from ninefold.models.layout import Keys, Layout, Tensors, prefix_before, substitute


def _from_torchvision(tensors: Tensors) -> Tensors:
    """`features` counts the embedding, then stages and the steps between them, alternately."""

    def stage(match: re.Match[str]) -> str:
        i, inner = divmod(int(match[1]) - 1, 2)
        return f"layers.{i}.{'downsample' if inner else 'blocks'}."

    renamed = substitute(
        (r"^features\.0\.0\.", "patch_embed.proj."),
        (r"^features\.0\.2\.", "patch_embed.norm."),
        (r"\.mlp\.0\.", ".mlp.fc1."),
        (r"\.mlp\.3\.", ".mlp.fc2."),
    )(tensors)
    return {re.sub(r"^features\.(\d+)\.", stage, k): v for k, v in renamed.items()}


def _is_timm(tensors: Tensors) -> str | None:
    """timm 0.9 and newer; older files have the authors' names."""
    steps = {int(m[1]) for k in tensors if (m := re.match(r"layers\.(\d+)\.downsample\.", k))}
    return "" if "head.fc.weight" in tensors or (steps and 0 not in steps) else None


def _from_timm(tensors: Tensors) -> Tensors:
    """timm steps down at the start of the next stage instead of the end of this one."""

    def earlier(match: re.Match[str]) -> str:
        return f"layers.{int(match[1]) - 1}.downsample."

    renamed = substitute((r"^head\.fc\.", "head."))(tensors)
    return {re.sub(r"^layers\.(\d+)\.downsample\.", earlier, k): v for k, v in renamed.items()}


_TRANSFORMERS = substitute(  # names of versions 5 and, where they differ, 4
    (r"^swin\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^embeddings\.position_embeddings$", "absolute_pos_embed"),
    (r"^encoder\.layers\.", "layers."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(?:self|relative_position_bias)\.relative_position", ".attn.relative_position"),
    (r"\.attention\.(?:o_proj|output\.dense)\.", ".attn.proj."),
    (r"\.attention\.(?:q_proj|self\.query)\.(\w+)$", r".attn.qkv.\1.0"),
    (r"\.attention\.(?:k_proj|self\.key)\.(\w+)$", r".attn.qkv.\1.1"),
    (r"\.attention\.(?:v_proj|self\.value)\.(\w+)$", r".attn.qkv.\1.2"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^hidden_states_norms\.stage1\.", "norm0."),
    (r"^hidden_states_norms\.stage2\.", "norm1."),
    (r"^hidden_states_norms\.stage3\.", "norm2."),
    (r"^hidden_states_norms\.stage4\.", "norm3."),
)


def _is_transformers(tensors: Tensors) -> str | None:
    """A classifier's head stands outside `swin.`, a segmenter's parts outside `backbone.`."""
    whole = "swin.embeddings.patch_embeddings.projection.weight" in tensors
    key = "embeddings.patch_embeddings.projection.weight"
    return "" if whole else prefix_before(key, "", "backbone.")(tensors)


def _from_transformers(tensors: Tensors) -> Tensors:
    """Queries, keys and values stand apart there; here they are the thirds of one matrix."""
    renamed = _TRANSFORMERS(tensors)
    for key in [k.removesuffix(".0") for k in renamed if re.search(r"\.qkv\.\w+\.0$", k)]:
        parts = [f"{key}.{i}" for i in range(3)]
        if all(part in renamed for part in parts):
            renamed[key] = cat([renamed.pop(part) for part in parts])
    return renamed


_MM = substitute(
    (r"^patch_embed\.projection\.", "patch_embed.proj."),
    (r"^stages\.", "layers."),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)


def _from_mm(tensors: Tensors) -> Tensors:
    """mmdetection's own port unfolds each 2x2 cell channel by channel, and row by row."""
    renamed = _MM(tensors)
    for key, value in renamed.items():
        if ".downsample." in key:
            cells = value.unflatten(-1, (-1, 4)).transpose(-1, -2)[..., [0, 2, 1, 3], :]
            renamed[key] = cells.flatten(-2)
    return renamed


def _resize(key: str, value: Tensor, target: Tensor, model: nn.Module) -> Tensor | None:
    """Tables at another window, absolute positions at another image size: bicubic.

    Source: microsoft/Swin-Transformer `utils.py` (`load_pretrained`); the detection backbone holds
    absolute positions as a map.
    """
    if key.endswith("relative_position_bias_table") and value.dim() == 2:
        window: Any = model.get_submodule(key.rpartition(".")[0]).window
        sides = 2 * window[0] - 1, 2 * window[1] - 1
        side = isqrt(len(value))
        fits = side * side == len(value) > 0 and value.shape[1] == target.shape[1]
        return resize_positions(value.float(), (side, side), sides) if fits else None
    if key == "absolute_pos_embed" and value.dim() in (3, 4):
        if value.dim() == 4:
            source = value.shape[2], value.shape[3]
            value = value.flatten(2).transpose(1, 2)
        else:
            source = isqrt(value.shape[1]), isqrt(value.shape[1])
        grid: Any = model.grid
        fits = source[0] * source[1] == value.shape[1] > 0 and value.shape[0] == 1
        fits = fits and value.shape[2] == target.shape[2]
        return resize_positions(value[0].float(), source, tuple(grid))[None] if fits else None
    return None


def _options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels of the image, positions, and the maps of a backbone or the outputs of a head."""
    options: dict[str, Any] = {}
    absolute = "absolute_pos_embed" in tensors
    relative = any(key.endswith("relative_position_bias_table") for key in tensors)
    if absolute or not relative:
        options["pos"] = "abs+rel" if absolute and relative else "abs" if absolute else "none"
    embedding = tensors.get("patch_embed.proj.weight")
    if embedding is not None and embedding.dim() == 4 and embedding.shape[1] != 3:
        options["in_channels"] = embedding.shape[1]
    maps = sorted(int(m[1]) for k in tensors if (m := re.fullmatch(r"norm(\d)\.weight", k)))
    if maps:
        options["out_indices"] = maps
    else:
        options["num_classes"] = len(tensors["head.weight"]) if "head.weight" in tensors else 0
    return options


SWIN = Keys(
    family="swin",
    layouts=(
        Layout("torchvision", prefix_before("features.0.0.weight", ""), _from_torchvision),
        Layout("transformers", _is_transformers, _from_transformers),
        Layout(
            "mmdetection",
            prefix_before("patch_embed.projection.weight", "", "backbone."),
            _from_mm,
        ),
        Layout("timm", _is_timm, _from_timm),
        Layout(
            "official",
            prefix_before("patch_embed.proj.weight", "", "backbone.", "encoder."),
            dict,
        ),
    ),
    computed=re.compile(r"\.(relative_position_index|attn_mask)$"),
    spare=re.compile(r"^(norm\d?\.|head\.|mask_token$)"),
    fresh=re.compile(r"^norm\d\."),
    resize=_resize,
    options=_options,
)
