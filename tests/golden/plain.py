"""Checks of ViT, hybrids, Mixer and the GroupNorm ResNets.

Source: vit-augreg-sam specification, section 13: inputs are channels-last and in [-1, 1]; a ViT may
be run at another size than its positions were made for.
"""

from typing import Any

import ninefold

from .files import Golden

Pairs = dict[str, tuple[Any, Any]]


def vit(golden: Golden) -> Pairs:
    """Output, and the positions of a model that is made for the size it runs at."""
    config = dict(golden.config)
    run_size = config.pop("run_image_size")
    family = "vit" if config["resnet"] is None else "vit_r"
    pairs = _output(golden, family, config)
    resized = golden.tensors.get("resized_pos_embedding")
    if resized is not None:
        other = ninefold.create_model(family, **{**config, "image_size": run_size})
        ninefold.load_weights(other, golden.under("weights/"))
        pairs["resized_pos_embedding"] = other.state_dict()["pos_embed"], resized
    return pairs


def mixer(golden: Golden) -> Pairs:
    """Output."""
    return _output(golden, "mixer", golden.config)


def resnet_gn_v1(golden: Golden) -> Pairs:
    """Output."""
    return _output(golden, "resnet", {**golden.config, "norm": "group"})


def resnet_bit_v2(golden: Golden) -> Pairs:
    """Output."""
    return _output(golden, "resnet", {**golden.config, "norm": "bit"})


def _output(golden: Golden, family: str, options: dict[str, Any]) -> Pairs:
    model = ninefold.create_model(family, **options).eval()
    ninefold.load_weights(model, golden.under("weights/"))
    image = golden.tensors["input"].permute(0, 3, 1, 2)
    return {"output": (model(image), golden.tensors["output"])}
