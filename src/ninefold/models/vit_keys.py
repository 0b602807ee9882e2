"""Weights of ViT, DeiT and Mixer as others name them: flax, timm, torchvision, transformers.

Source: vit-augreg-sam specification, section 5; DeiT's, timm's, torchvision's and transformers' own
state dicts.
Shapes: d channels, n tokens.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor, cat, nn, zeros

from ninefold.layers.position import resize_positions
from ninefold.models.flax_keys import from_flax, from_scan
from ninefold.models.layout import Keys, Layout, Tensors, prefix_before, substitute

NEVER = re.compile(r"(?!)")

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


def _from_timm(tensors: Tensors) -> Tensors:
    """timm's and DeiT's names are ours, but for the second head and old representation layers."""
    rules = [(r"^pre_logits\.fc\.", "pre_logits.0."), (r"^fc_norm\.", "norm.")]
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


def _vit_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    heads = tensors.get("head.weight", tensors.get("head.cls.weight"))
    options["num_classes"] = 0 if heads is None else len(heads)
    if "pre_logits.0.weight" in tensors:
        options["representation_size"] = len(tensors["pre_logits.0.weight"])
    return options


VIT = Keys(
    family="vit",
    layouts=(
        Layout("flax", prefix_before("Transformer/encoder_norm/scale", ""), _from_vit_flax),
        Layout(
            "transformers",
            prefix_before("embeddings.patch_embeddings.projection.weight", "", "vit.", "deit."),
            _from_transformers,
        ),
        Layout("torchvision", prefix_before("encoder.ln.weight", ""), _TORCHVISION),
        Layout("timm", prefix_before("patch_embed.proj.weight", "", "backbone."), _from_timm),
    ),
    computed=NEVER,
    spare=re.compile(r"^(head\.|pre_logits\.)"),
    fresh=NEVER,
    resize=_resize,
    options=_vit_options,
)

_MIXER_FLAX = substitute(
    (r"^stem\.", "stem.proj."),
    (r"^MixerBlock_(\d+)\.", r"blocks.\1."),
    (r"\.LayerNorm_0\.", ".norm1."),
    (r"\.LayerNorm_1\.", ".norm2."),
    (r"\.token_mixing\.Dense_0\.", ".mlp_tokens.fc1."),
    (r"\.token_mixing\.Dense_1\.", ".mlp_tokens.fc2."),
    (r"\.channel_mixing\.Dense_0\.", ".mlp_channels.fc1."),
    (r"\.channel_mixing\.Dense_1\.", ".mlp_channels.fc2."),
    (r"^pre_head_layer_norm\.", "norm."),
)
_OLD_MIXER = re.compile(
    r"Mixer/encoderblock_(\d+)/(token|channel)_mixing_phase_0/(kernel|bias)([12])"
)


def _from_mixer_flax(tensors: Tensors) -> Tensors:
    """Both spellings; in the old one, kernels and biases have further axes of length 1."""
    new: Tensors = {}
    for key, value in tensors.items():
        old = _OLD_MIXER.fullmatch(key)
        if old:
            name = f"MixerBlock_{old[1]}/{old[2]}_mixing/Dense_{int(old[4]) - 1}/{old[3]}"
            new[name] = value.squeeze()
        else:
            name = re.sub(r"^Mixer/encoderblock_", "MixerBlock_", key)
            name = re.sub(r"^Mixer/encoder_norm/", "pre_head_layer_norm/", name)
            new[re.sub(r"^embedding/", "stem/", name)] = value
    return _MIXER_FLAX(from_flax(new))


def head_options(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {"num_classes": len(tensors["head.weight"]) if "head.weight" in tensors else 0}


MIXER = Keys(
    family="mixer",
    layouts=(
        Layout("flax", prefix_before("stem/kernel", ""), _from_mixer_flax),
        Layout("flax (old)", prefix_before("Mixer/encoder_norm/scale", ""), _from_mixer_flax),
        Layout("timm", prefix_before("stem.proj.weight", ""), dict, dict),
    ),
    computed=NEVER,
    spare=re.compile(r"^head\."),
    fresh=NEVER,
    resize=lambda key, value, target, model: None,
    options=head_options,
)
