"""Weights of MLP-Mixer as others name them: flax in two spellings, and timm, whose names are ours.

Source: vit-augreg-sam specification, section 5.4; timm's own state dict.
"""

import re

from ninefold.models.flax_keys import from_flax, to_flax
from ninefold.models.layout import (
    NEVER,
    Keys,
    Layout,
    Tensors,
    head_options,
    prefix_before,
    substitute,
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


_TO_FLAX = substitute(
    (r"^stem\.proj\.", "stem."),
    (r"^blocks\.(\d+)\.", r"MixerBlock_\1."),
    (r"\.norm1\.", ".LayerNorm_0."),
    (r"\.norm2\.", ".LayerNorm_1."),
    (r"\.mlp_tokens\.fc1\.", ".token_mixing.Dense_0."),
    (r"\.mlp_tokens\.fc2\.", ".token_mixing.Dense_1."),
    (r"\.mlp_channels\.fc1\.", ".channel_mixing.Dense_0."),
    (r"\.mlp_channels\.fc2\.", ".channel_mixing.Dense_1."),
    (r"^norm\.", "pre_head_layer_norm."),
)


def _to_flax(tensors: Tensors) -> Tensors:
    return to_flax(_TO_FLAX(tensors))


MIXER = Keys(
    family="mixer",
    layouts=(
        Layout("flax", prefix_before("stem/kernel", ""), _from_mixer_flax, _to_flax),
        Layout("flax-old", prefix_before("Mixer/encoder_norm/scale", ""), _from_mixer_flax),
        Layout("timm", prefix_before("stem.proj.weight", ""), dict, dict),
    ),
    mark=re.compile(r"^blocks\.\d+\.mlp_tokens\."),
    computed=NEVER,
    spare=re.compile(r"^head\."),
    fresh=NEVER,
    resize=lambda key, value, target, model: None,
    options=head_options,
)
