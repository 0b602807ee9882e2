"""A guest's weights: in timm's own files its classifier is one of many names, and has no prefix."""

import re
import warnings
from typing import Any

from torch import Tensor, nn

from ninefold.models.guest import Guest
from ninefold.models.layout import Keys, Layout, Tensors


def guest_keys(guest: Guest) -> Keys:
    """Keys of files of one timm model: `model.` before its own, `head.` for its classifier."""
    known = set(guest.model.state_dict())
    classifier = _classifier(guest)

    def find(tensors: Tensors) -> str | None:
        return "" if any(key in known for key in tensors) else None

    def rename(tensors: Tensors) -> Tensors:
        return {
            f"head{k.removeprefix(classifier)}"
            if k.startswith(f"{classifier}.")
            else f"model.{k}": v
            for k, v in tensors.items()
        }

    def restore(tensors: Tensors) -> Tensors:
        return {
            f"{classifier}{k.removeprefix('head')}"
            if k.startswith("head.")
            else k.removeprefix("model."): v
            for k, v in tensors.items()
        }

    return Keys(
        family="timm",
        layouts=(Layout("timm", find, rename, restore),),
        computed=re.compile(r"\.(relative_position_index|attn_mask)$"),
        spare=re.compile(r"^head\."),
        fresh=re.compile(r"(?!)"),
        resize=_resize,
        options=lambda tensors: {},
    )


def _resize(key: str, value: Tensor, target: Tensor, model: nn.Module) -> Tensor | None:
    """Positions at another image size, tables at another window, by timm's own functions.

    Source: `checkpoint_filter_fn` of timm's `vision_transformer.py` and `swin_transformer.py`.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed
    from timm.layers.pos_embed_rel import resize_rel_pos_bias_table

    guest: Any = model
    try:
        if key.endswith(".pos_embed") and value.dim() == 3 and value.shape[-1] == target.shape[-1]:
            tokens = 0 if getattr(guest.model, "no_embed_class", False) else None
            if tokens is None:
                tokens = guest.model.num_prefix_tokens
            grid = list(guest.model.patch_embed.grid_size)
            resized = resample_abs_pos_embed(value, grid, num_prefix_tokens=tokens)
        elif key.endswith(".relative_position_bias_table") and value.shape[-1] == target.shape[-1]:
            window = guest.get_submodule(key.rpartition(".")[0]).window_size
            with warnings.catch_warnings():  # torch on timm's strides
                warnings.simplefilter("ignore", UserWarning)
                resized = resize_rel_pos_bias_table(value, window, tuple(target.shape))
        else:
            return None
    except (AttributeError, RuntimeError, AssertionError, ValueError):
        return None
    return resized if resized.shape == target.shape else None


def _classifier(guest: Guest) -> str:
    settings = getattr(guest.model, "pretrained_cfg", {})
    name = settings.get("classifier", "head")
    return name if isinstance(name, str) else name[0]
