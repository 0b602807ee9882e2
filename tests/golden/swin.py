"""Checks of the Swin kinds and of Focal.

Source: hierarchical-transformers specification, section 4: arguments are those of the authors'
constructors; `output/patch_embed` and `output/stage{i}` are channels-last maps, stages before
merging and before any norm; `output/stage{i}_normed_nchw` are the maps of a backbone.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

import ninefold

from .files import Golden

Pairs = dict[str, tuple[Tensor, Tensor]]


def classifier(golden: Golden) -> Pairs:
    """Logits, pooled features, the embedding and the map of each stage."""
    return _classifier(golden, "swin")


def focal(golden: Golden) -> Pairs:
    """Likewise."""
    return _classifier(golden, "focal")


def _classifier(golden: Golden, family: str) -> Pairs:
    model = _built(golden, {"img_size": 224, **golden.config["kwargs"]}, family)
    image = golden.tensors["input"]
    maps = model.features(image)
    actual = {
        "output": model(image),
        "output/features": model.pool(maps),
        "output/patch_embed": model.patch_embed(image),
    }
    for i, fmap in enumerate(maps):
        actual[f"output/stage{i}"] = fmap.permute(0, 2, 3, 1)
    return _paired(golden, actual)


def dense(golden: Golden) -> Pairs:
    """The embedding and all maps of a backbone, the last of which is `output`."""
    defaults = {"pretrain_img_size": 224, "out_indices": (0, 1, 2, 3)}
    model = _built(golden, defaults | golden.config["kwargs"])
    image = golden.tensors["input"]
    maps = model.features(image)
    names = [name for name in golden.tensors if re.fullmatch(r"output/stage\d+_normed_nchw", name)]
    if len(names) != len(maps):
        raise ValueError(f"the file has {len(names)} maps and the backbone {len(maps)}")
    actual = dict(zip(sorted(names), maps, strict=True))
    actual |= {"output": maps[-1], "output/patch_embed": model.patch_embed(image)}
    return _paired(golden, actual)


def bias_table_resize(golden: Golden) -> Pairs:
    """The table of a model for another window, after loading a file for the old one."""
    heads, key = golden.config["num_heads"], "layers.0.blocks.0.attn.relative_position_bias_table"
    options: dict[str, Any] = {"embed_dim": heads, "depths": (1,), "num_heads": (heads,)}
    old = ninefold.create_model("swin", window_size=golden.config["old_window"], **options)
    new = ninefold.create_model("swin", window_size=golden.config["new_window"], **options)
    ninefold.load_weights(new, old.state_dict() | {key: golden.tensors["input"]})
    return {"output": (new.state_dict()[key], golden.tensors["output"])}


def parameter_counts(golden: Golden) -> Pairs:
    """Parameters of every model in the list that there is a preset of."""
    pairs: Pairs = {}
    for name, entry in golden.document["models"].items():
        if name.startswith(("video_swin_", "focal_")):
            continue  # not built yet
        with torch.device("meta"):
            model = _named(name)
        count = sum(p.numel() for p in model.parameters())
        pairs[name] = torch.tensor(count), torch.tensor(entry["params"])
    return pairs


def _named(name: str) -> nn.Module:
    whole = re.fullmatch(r"swin_(\w+)_patch4_window(\d+)_(\d+) \((\d+) cls\)", name)
    if whole:
        window, size, classes = (int(text) for text in whole.groups()[1:])
        options: dict[str, Any] = {
            "window_size": window,
            "image_size": size,
            "num_classes": classes,
        }
        return ninefold.create_model(f"swin_{whole[1]}", **options)
    backbone = re.fullmatch(r"swin_(\w+) dense backbone w(\d+) out\(([\d,]+)\)", name)
    if backbone:
        stages = tuple(int(text) for text in backbone[3].split(","))
        options = {"window_size": int(backbone[2]), "out_indices": stages}
        return ninefold.create_model(f"swin_{backbone[1]}", **options)
    raise ValueError(f"no model is known for {name!r}")


def _built(golden: Golden, options: dict[str, Any], family: str = "swin") -> Any:
    model = ninefold.create_model(family, **options).eval()
    ninefold.load_weights(model, golden.under("weights/"))
    return model


def _paired(golden: Golden, actual: dict[str, Tensor]) -> Pairs:
    return {name: (actual[name], golden.tensors[name]) for name in actual if name in golden.tensors}
