"""Swin's weights as others name them: the authors, torchvision, timm, transformers, mmdetection.

Our names are the authors'. Their detection and segmentation files hold them behind `backbone.`,
their self-supervised ones (MoBY, SimMIM) behind `encoder.`. For each origin there is a function
from its names to ours and one back.
Shapes: c channels of a stage, h heads, n rows of a table.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt
from typing import Any

from torch import Tensor, cat, device, nn

from ninefold.core.errors import Refused
from ninefold.layers.partition import relative_index
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


def _to_torchvision(tensors: Tensors) -> Tensors:
    """With the index of every table, which torchvision keeps in its files as one row."""
    _refuse("torchvision", tensors, r"^absolute_pos_embed$|^norm\d\.")

    def step(match: re.Match[str]) -> str:
        return f"features.{2 * int(match[1]) + (1 if match[2] == 'blocks' else 2)}."

    renamed = substitute(
        (r"^patch_embed\.proj\.", "features.0.0."),
        (r"^patch_embed\.norm\.", "features.0.2."),
        (r"\.mlp\.fc1\.", ".mlp.0."),
        (r"\.mlp\.fc2\.", ".mlp.3."),
    )(tensors)
    renamed = {re.sub(r"^layers\.(\d+)\.(blocks|downsample)\.", step, k): v
               for k, v in renamed.items()}  # fmt: skip
    for key in [k for k in renamed if k.endswith("relative_position_bias_table")]:
        side = (isqrt(len(renamed[key])) + 1) // 2
        if (2 * side - 1) ** 2 != len(renamed[key]):
            raise Refused(f"{key}: {len(renamed[key])} rows are those of no square window, and a "
                          "file for torchvision needs the window")  # fmt: skip
        index = relative_index((side, side), (side, side), device("cpu"))
        renamed[key.replace("_bias_table", "_index")] = index.flatten()
    return renamed


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


def _to_timm(tensors: Tensors) -> Tensors:
    _refuse("timm", tensors, r"^absolute_pos_embed$|^norm\d\.")

    def later(match: re.Match[str]) -> str:
        return f"layers.{int(match[1]) + 1}.downsample."

    renamed = substitute((r"^head\.", "head.fc."))(tensors)
    return {re.sub(r"^layers\.(\d+)\.downsample\.", later, k): v for k, v in renamed.items()}


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


_SHARED_BACK = (
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.norm\.", "embeddings.norm."),
    (r"^absolute_pos_embed$", "embeddings.position_embeddings"),
    (r"^layers\.", "encoder.layers."),
    (r"^norm\.", "layernorm."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)
_TO_5 = substitute(
    *_SHARED_BACK,
    (r"\.attn\.relative_position", ".attention.relative_position_bias.relative_position"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
)
_TO_4 = substitute(
    *_SHARED_BACK,
    (r"\.attn\.relative_position", ".attention.self.relative_position"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.(query|key|value)\.", r".attention.self.\1."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)


def _is_transformers_4(tensors: Tensors) -> str | None:
    """Names of version 4, under which version 5 still writes its files."""
    older = any(".attention.self." in key for key in tensors)
    return _is_transformers(tensors) if older else None


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


def _to_transformers(names: Callable[[Tensors], Tensors], tensors: Tensors) -> Tensors:
    """A model with a head or with maps stands behind `swin.`, one of features alone does not."""
    _refuse("transformers", tensors)
    apart: Tensors = {}
    for key, value in tensors.items():
        stem, qkv, kind = key.partition(".qkv.")
        if qkv:
            for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                apart[f"{stem}.{name}.{kind}"] = third
        else:
            apart[key] = value
    outer = {
        re.sub(r"^norm(\d)", lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}", k): v
        for k, v in apart.items()
        if re.match(r"norm\d\.", k)
    }
    outer |= {f"classifier.{k[5:]}": v for k, v in apart.items() if k.startswith("head.")}
    inner = {k: v for k, v in apart.items() if not re.match(r"norm\d\.|head\.", k)}
    prefix = "swin." if outer else ""
    return {f"{prefix}{k}": v for k, v in names(inner).items()} | outer


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


_TO_MM = substitute(
    (r"^patch_embed\.proj\.", "patch_embed.projection."),
    (r"^layers\.", "stages."),
    (r"\.attn\.", ".attn.w_msa."),
    (r"\.mlp\.fc1\.", ".ffn.layers.0.0."),
    (r"\.mlp\.fc2\.", ".ffn.layers.1."),
)


def _to_mm(tensors: Tensors) -> Tensors:
    _refuse("mmdetection", tensors)
    renamed = _TO_MM(tensors)
    for key, value in renamed.items():
        if ".downsample." in key:
            cells = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            renamed[key] = cells.transpose(-1, -2).flatten(-2)
    return renamed


def _refuse(origin: str, tensors: Tensors, pattern: str = r"$^") -> None:
    """What only we and the authors' code can hold, or do without."""
    strange = [key for key in tensors if re.search(rf"\.attn\.features$|{pattern}", key)]
    if strange:
        raise Refused(f"{strange[0]}: {origin}'s Swin has no place for it; --to official has")
    if not any(key.endswith("relative_position_bias_table") for key in tensors):
        raise Refused(f"relative_position_bias_table: there is none, and {origin}'s Swin cannot be "
                      "without; --to official can")  # fmt: skip


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
    """Channels of the image, kind of attention and positions, and the maps of a backbone or the
    outputs of a head."""
    options: dict[str, Any] = {}
    absolute = "absolute_pos_embed" in tensors
    relative = any(key.endswith("relative_position_bias_table") for key in tensors)
    if any(key.endswith(".attn.features") for key in tensors):
        options["attention"] = "performer"
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
        Layout(
            "torchvision",
            prefix_before("features.0.0.weight", ""),
            _from_torchvision,
            _to_torchvision,
        ),
        Layout(
            "transformers-4",
            _is_transformers_4,
            _from_transformers,
            partial(_to_transformers, _TO_4),
        ),
        Layout(
            "transformers", _is_transformers, _from_transformers, partial(_to_transformers, _TO_5)
        ),
        Layout(
            "mmdetection",
            prefix_before("patch_embed.projection.weight", "", "backbone."),
            _from_mm,
            _to_mm,
        ),
        Layout("timm", _is_timm, _from_timm, _to_timm),
        Layout(
            "official",
            prefix_before("patch_embed.proj.weight", "", "backbone.", "encoder."),
            dict,
            dict,
        ),
    ),
    mark=re.compile(r"^layers\.\d+\.blocks\.\d+\.attn\."),
    computed=re.compile(r"\.(relative_position_index|attn_mask)$"),
    spare=re.compile(r"^(norm\d?\.|head\.|mask_token$)"),
    fresh=re.compile(r"^norm\d\."),
    resize=_resize,
    options=_options,
)
