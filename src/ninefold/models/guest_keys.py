"""A guest's weights: in timm's own files its classifier is one of many names, and has no prefix."""

import re
import warnings
from typing import Any

from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.models.guest import Guest
from ninefold.models.layout import NEVER, Keys, Layout, Tensors, head_options


def guest_keys(guest: Guest) -> Keys:
    """Keys of files of one timm model: `model.` before its own, `head.` for its classifier."""
    known = set(guest.model.state_dict())
    classifier, *others = _classifiers(guest)
    convolved = guest.head_axes

    def find(tensors: Tensors) -> str | None:
        return "" if any(key in known for key in tensors) else None

    def rename(tensors: Tensors) -> Tensors:
        _one_head(guest, tensors, others)
        renamed: Tensors = {}
        for key, value in tensors.items():
            if key.startswith(f"{classifier}."):
                key = f"head{key.removeprefix(classifier)}"
                renamed[key] = value.flatten(1) if value.dim() == 2 + convolved else value
            else:
                renamed[f"model.{key}"] = value
        return renamed

    def restore(tensors: Tensors) -> Tensors:
        written: Tensors = {}
        for key, value in tensors.items():
            if key.startswith("head."):
                kernel = convolved and value.dim() == 2
                key = f"{classifier}{key.removeprefix('head')}"
                written[key] = value.unflatten(1, (-1,) + (1,) * convolved) if kernel else value
            else:
                written[key.removeprefix("model.")] = value
        return written

    return Keys(
        family="timm",
        layouts=(Layout("timm", find, rename, restore),),
        mark=NEVER,
        computed=re.compile(r"\.(relative_position_index|attn_mask)$"),
        spare=re.compile(r"^head\."),
        fresh=NEVER,
        resize=_resize,
        options=head_options,
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


def _classifiers(guest: Guest) -> tuple[str, ...]:
    settings = getattr(guest.model, "pretrained_cfg", {})
    name = settings.get("classifier", "head")
    return (name,) if isinstance(name, str) else tuple(name)


def _one_head(guest: Guest, tensors: Tensors, others: list[str]) -> None:
    """A guest has one linear head on what timm's pools: two on two tokens are another model."""
    second = next((k for k in tensors if any(k.startswith(f"{name}.") for name in others)), "")
    if second:
        own = "; deit_*_distilled here has both" if guest.name.startswith("deit_") else ""
        raise Refused(f"{second}: timm/{guest.name} has a second head and a guest only one; a file "
                      f"without it would do{own}")  # fmt: skip
