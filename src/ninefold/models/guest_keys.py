"""A guest's weights: in timm's own files its classifier is one of many names, and has no prefix."""

import re

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

    return Keys(
        family="timm",
        layouts=(Layout("timm", find, rename),),
        computed=re.compile(r"\.(relative_position_index|attn_mask)$"),
        spare=re.compile(r"^head\."),
        fresh=re.compile(r"(?!)"),
        resize=lambda key, value, target, model: None,
        options=lambda tensors: {},
    )


def _classifier(guest: Guest) -> str:
    settings = getattr(guest.model, "pretrained_cfg", {})
    name = settings.get("classifier", "head")
    return name if isinstance(name, str) else name[0]
