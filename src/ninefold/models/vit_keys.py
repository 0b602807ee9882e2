"""Weights of ViT, DeiT and hybrids as others name them: flax, timm, torchvision, transformers.

Source: vit-augreg-sam specification, section 5; DeiT's, timm's, torchvision's and transformers' own
state dicts.
Shapes: d channels, n tokens.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt
from typing import Any

from torch import Tensor, cat, nn, zeros

from ninefold.layers.position import resize_positions
from ninefold.models.flax_keys import from_flax, from_scan, to_flax
from ninefold.models.layout import (
    NEVER,
    Keys,
    Layout,
    Tensors,
    prefix_before,
    refuse,
    require,
    substitute,
)

_FLAX = substitute(
    (r"^Transformer\.encoderblock_(\d+)\.", r"blocks.\1."),
    (r"\.LayerNorm_0\.", ".norm1."),
    (r"\.LayerNorm_[12]\.", ".norm2."),
    (r"\.MlpBlock_[03]\.Dense_0\.", ".mlp.fc1."),
    (r"\.MlpBlock_[03]\.Dense_1\.", ".mlp.fc2."),
    (r"\.MultiHeadDotProductAttention_[01]\.out\.", ".attn.proj."),
    (r"\.MultiHeadDotProductAttention_[01]\.query\.", ".attn.q."),
    (r"\.MultiHeadDotProductAttention_[01]\.key\.", ".attn.k."),
    (r"\.MultiHeadDotProductAttention_[01]\.value\.", ".attn.v."),
    (r"^Transformer\.encoder_norm\.", "norm."),
    (r"^(?:Transformer\.)?(?:posembed_input\.)?pos_embedding$", "pos_embed"),
    (r"^cls$", "cls_token"),
    (r"^embedding\.", "patch_embed.proj."),
    (r"^pre_logits\.", "pre_logits.0."),
    (r"^(conv_root|gn_root|block\d+)\.", r"backbone.\1."),
)


def _from_vit_flax(tensors: Tensors) -> Tensors:
    """Queries, keys and values stand apart, `(d, heads, d / heads)` each; here they are one."""
    tensors = from_scan(tensors, "Transformer/encoderblock", "Transformer/encoderblock_{}")
    flat: Tensors = {}
    for key, value in tensors.items():
        inner = "/MultiHeadDotProductAttention_" in key
        if inner and key.endswith("/out/kernel"):
            value = value.flatten(0, 1)
        elif inner and key.endswith("/kernel"):
            value = value.flatten(1)
        flat[key] = value
    renamed = _joined(_FLAX(from_flax(flat)))
    table, token = renamed.get("pos_embed"), renamed.get("cls_token")
    if table is not None and token is not None and isqrt(table.shape[1]) ** 2 == table.shape[1]:
        # big_vision adds positions to patches alone, and the token after that.
        renamed["pos_embed"] = cat([zeros(1, 1, table.shape[2]), table], dim=1)
    return renamed


def _joined(tensors: Tensors) -> Tensors:
    """`attn.{q,k,v}` as the thirds of `attn.qkv`."""
    for key in [k for k in tensors if re.search(r"\.attn\.q\.\w+$", k)]:
        parts = [key.replace(".q.", f".{letter}.") for letter in "qkv"]
        if all(part in tensors for part in parts):
            tensors[key.replace(".q.", ".qkv.")] = cat([tensors.pop(part) for part in parts])
    return tensors


_TO_FLAX = substitute(  # as the released files have it; today's flax counts otherwise, and reads it
    (r"^blocks\.(\d+)\.", r"Transformer.encoderblock_\1."),
    (r"\.norm1\.", ".LayerNorm_0."),
    (r"\.norm2\.", ".LayerNorm_2."),
    (r"\.mlp\.fc1\.", ".MlpBlock_3.Dense_0."),
    (r"\.mlp\.fc2\.", ".MlpBlock_3.Dense_1."),
    (r"\.attn\.proj\.", ".MultiHeadDotProductAttention_1.out."),
    (r"\.attn\.(query|key|value)\.", r".MultiHeadDotProductAttention_1.\1."),
    (r"^norm\.", "Transformer.encoder_norm."),
    (r"^pos_embed$", "Transformer.posembed_input.pos_embedding"),
    (r"^cls_token$", "cls"),
    (r"^patch_embed\.proj\.", "embedding."),
    (r"^pre_logits\.0\.", "pre_logits."),
    (r"^backbone\.", ""),
)


def _to_vit_flax(tensors: Tensors, num_heads: int) -> Tensors:
    """Queries, keys and values apart, with an axis of heads; names from before linen."""
    refuse(tensors, r"^dist_token$|^head\.(cls|dist)\.", "flax's ViT")
    written = to_flax(_TO_FLAX(_apart(tensors)))
    for key, value in written.items():
        if re.search(r"_1/(query|key|value)/\w+$", key):
            written[key] = value.unflatten(-1, (num_heads, -1))
        elif key.endswith("_1/out/kernel"):
            written[key] = value.unflatten(0, (num_heads, -1))
    return written


def _apart(tensors: Tensors) -> Tensors:
    """The thirds of `attn.qkv` as `attn.query`, `attn.key` and `attn.value`."""
    found: Tensors = {}
    for key, value in tensors.items():
        stem, qkv, kind = key.partition(".qkv.")
        if qkv:
            for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{stem}.{name}.{kind}"] = third
        else:
            found[key] = value
    return found


_HF = substitute(
    (r"^(?:vit|deit)\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(?:encoder\.layers?|layers)\.(\d+)\.", r"blocks.\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(?:attention\.query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
    (r"^pooler\.dense\.", "pre_logits.0."),
    (r"^classifier\.", "head."),
    (r"^cls_classifier\.", "head.cls."),
    (r"^distillation_classifier\.", "head.dist."),
)


def _from_transformers(tensors: Tensors) -> Tensors:
    return _joined(_HF(tensors))


def _is_transformers(tensors: Tensors) -> str | None:
    """Heads stand outside `vit.` and `deit.`."""
    key = "embeddings.patch_embeddings.projection.weight"
    return "" if any(prefix + key in tensors for prefix in ("", "vit.", "deit.")) else None


def _is_transformers_4(tensors: Tensors) -> str | None:
    """Names of version 4, under which version 5 still writes its files."""
    older = any(".attention.attention." in key for key in tensors)
    return _is_transformers(tensors) if older else None


_SHARED_BACK = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^dist_token$", "embeddings.distillation_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^norm\.", "layernorm."),
    (r"^pre_logits\.0\.", "pooler.dense."),
)
_TO_5 = substitute(
    *_SHARED_BACK,
    (r"^blocks\.", "layers."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
)
_TO_4 = substitute(
    *_SHARED_BACK,
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.(query|key|value)\.", r".attention.attention.\1."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
)
_HEADS = substitute(
    (r"^head\.cls\.", "cls_classifier."),
    (r"^head\.dist\.", "distillation_classifier."),
    (r"^head\.", "classifier."),
)


def _to_transformers(names: Callable[[Tensors], Tensors], tensors: Tensors) -> Tensors:
    """A model with a head stands behind `vit.` or, with distillation, `deit.`; features do not."""
    where = "transformers' ViT"
    heads = {k: v for k, v in tensors.items() if k.startswith("head.")}
    refuse(tensors, r"^backbone\." + (r"|^pre_logits\." if heads else ""), where)
    for key in ("cls_token", "pos_embed"):
        require(tensors, key, where)
    inner = names(_apart({k: v for k, v in tensors.items() if k not in heads}))
    prefix = ("deit." if "dist_token" in tensors else "vit.") if heads else ""
    return {f"{prefix}{k}": v for k, v in inner.items()} | _HEADS(heads)


_TORCHVISION = substitute(
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"^encoder\.ln\.", "norm."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm2."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    (r"^heads\.pre_logits\.", "pre_logits.0."),
    (r"^heads\.head\.", "head."),
)


_TO_TORCHVISION = substitute(
    (r"^cls_token$", "class_token"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"^norm\.", "encoder.ln."),
    (r"\.norm1\.", ".ln_1."),
    (r"\.norm2\.", ".ln_2."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
    (r"^pre_logits\.0\.", "heads.pre_logits."),
    (r"^head\.", "heads.head."),
)


def _to_torchvision(tensors: Tensors) -> Tensors:
    where = "torchvision's ViT"
    refuse(tensors, r"^backbone\.|^dist_token$|^head\.(cls|dist)\.", where)
    for key in ("cls_token", "pos_embed", "blocks.0.attn.qkv.bias"):
        require(tensors, key, where)
    return _TO_TORCHVISION(tensors)


def _from_timm(tensors: Tensors) -> Tensors:
    """timm's and DeiT's names are ours, but for the second head and old representation layers.

    `fc_norm` is none of ours: it normalises the mean of the tokens, `norm` the tokens.
    """
    rules = [(r"^pre_logits\.fc\.", "pre_logits.0.")]
    if "head_dist.weight" in tensors:
        rules += [(r"^head\.", "head.cls."), (r"^head_dist\.", "head.dist.")]
    rules += [
        (r"^patch_embed\.backbone\.stem\.conv\.", "backbone.conv_root."),
        (r"^patch_embed\.backbone\.stem\.norm\.", "backbone.gn_root."),
        (r"^patch_embed\.backbone\.conv\.", "backbone.conv_root."),
        (r"^patch_embed\.backbone\.norm\.", "backbone.gn_root."),
        (r"\.downsample\.conv\.", ".conv_proj."),
        (r"\.downsample\.norm\.", ".gn_proj."),
    ]
    renamed = substitute(*rules)(tensors)
    return {_timm_unit(key): value for key, value in renamed.items()}


def _timm_unit(key: str) -> str:
    """Stages and units of a hybrid's ResNet, which timm counts from 0."""

    def unit(match: re.Match[str]) -> str:
        return f"backbone.block{int(match[1]) + 1}.unit{int(match[2]) + 1}."

    key = re.sub(r"^patch_embed\.backbone\.stages\.(\d+)\.blocks\.(\d+)\.", unit, key)
    return re.sub(r"^(backbone\.block.*)\.norm(\d)\.", r"\1.gn\2.", key)


def _to_timm(tensors: Tensors) -> Tensors:
    where = "timm's ViT"
    refuse(tensors, r"^pre_logits\.", where)
    require(tensors, "pos_embed", where)

    def unit(match: re.Match[str]) -> str:
        return f"patch_embed.backbone.stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}."

    stem = "stem." if any(".unit" in key for key in tensors) else ""
    return substitute(
        (r"^head\.cls\.", "head."),
        (r"^head\.dist\.", "head_dist."),
        (r"^backbone\.conv_root\.", f"patch_embed.backbone.{stem}conv."),
        (r"^backbone\.gn_root\.", f"patch_embed.backbone.{stem}norm."),
        (r"^backbone\.block(\d+)\.unit(\d+)\.", unit),
        (r"\.conv_proj\.", ".downsample.conv."),
        (r"\.gn_proj\.", ".downsample.norm."),
        (r"\.gn(\d)\.", r".norm\1."),
    )(tensors)


def _resize(key: str, value: Tensor, target: Tensor, model: nn.Module) -> Tensor | None:
    """Learned positions of another square grid, by the model's rule."""
    if key != "pos_embed" or value.dim() != 3 or value.shape[2] != target.shape[2]:
        return None
    vit: Any = model
    prefix = vit.num_prefix
    side = isqrt(value.shape[1] - prefix)
    if side * side + prefix != value.shape[1]:
        return None
    table = value[0].float()
    patches = resize_positions(table[prefix:], (side, side), vit.grid, vit.resize)
    return cat([table[:prefix], patches])[None]


def _options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Outputs, what is classified and by which positions, and channels of the image."""
    options: dict[str, Any] = {}
    heads = tensors.get("head.weight", tensors.get("head.cls.weight"))
    options["num_classes"] = 0 if heads is None else len(heads)
    if "pre_logits.0.weight" in tensors:
        options["representation_size"] = len(tensors["pre_logits.0.weight"])
    if "cls_token" not in tensors:
        options["classifier"] = "gap"
    if "pos_embed" not in tensors:
        options["positions"] = "sincos"
    first = tensors.get("backbone.conv_root.weight", tensors.get("patch_embed.proj.weight"))
    if first is not None and first.shape[1] != 3:
        options["in_channels"] = first.shape[1]
    return options


VIT = Keys(
    family="vit",
    layouts=(
        Layout(
            "flax",
            prefix_before("Transformer/encoder_norm/scale", ""),
            _from_vit_flax,
            _to_vit_flax,
            needs=("num_heads",),
            never="deit",
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
            "torchvision", prefix_before("encoder.ln.weight", ""), _TORCHVISION, _to_torchvision
        ),
        Layout(
            "timm", prefix_before("patch_embed.proj.weight", "", "backbone."), _from_timm, _to_timm
        ),
    ),
    computed=NEVER,
    mark=re.compile(r"^blocks\.\d+\.attn\.qkv\."),
    spare=re.compile(r"^head\."),
    with_head=re.compile(r"^pre_logits\."),
    fresh=NEVER,
    resize=_resize,
    options=_options,
)
