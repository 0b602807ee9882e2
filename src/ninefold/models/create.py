"""Models by name: presets, families, guests and the user's own."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import find, is_reference
from ninefold.models.presets import (
    FAMILIES,
    PRESETS,
    list_models,
    preset_of,
    published,
    unknown_model,
)

__all__ = ["create_model", "list_models", "preset_of"]

OFFERED = ("image_size", "in_channels", "num_classes", "drop_path")
"""Overrides that every caller may give; a user's own model gets those that it takes."""


def create_model(
    name: object, *, weights: str | Path | Mapping[str, Tensor] | None = None, **overrides: Any
) -> nn.Module:
    """A model in training mode.

    Args:
        name: A preset (`swin_tiny`); a family with its whole configuration (`swin`); `timm/NAME`;
            `package.module:Name`; or a class, function or module object.
        weights: What `load_weights` reads; `pretrained` for the preset's published ones.
        overrides: Options by their names here or in the reference's code. Everything takes
            `image_size`, `in_channels`, `num_classes` (0 for pooled features) and `drop_path`.

    Raises:
        Refused: no such model, no such option, or values that do not fit together.
    """
    model = _build(name, overrides)
    if weights:
        from ninefold.models.load import load_weights

        pretrained = isinstance(weights, str) and weights == "pretrained"
        load_weights(model, published(str(name)) if pretrained else weights)
    return model


def _build(name: object, overrides: dict[str, Any]) -> nn.Module:
    if isinstance(name, nn.Module):
        return name
    if not isinstance(name, str):
        return _own(name, repr(name), overrides)
    if is_reference(name):
        return _own(find(name), name, overrides)
    if name.startswith("timm/"):
        from ninefold.models.guest import Guest

        return Guest(name.removeprefix("timm/"), **overrides)
    if name in PRESETS:
        preset = PRESETS[name]
        family, options = FAMILIES[preset.family], _renamed(name, preset.family, overrides)
        defaults = {
            "image_size": preset.preprocess.image_size,
            "num_classes": preset.num_classes,
            "drop_path": preset.drop_path,
        }
        values = {**defaults, **family.defaults, **preset.options, **options}
        return find(family.home)(**values)
    if name in FAMILIES:
        family = FAMILIES[name]
        return find(family.home)(**{**family.defaults, **_renamed(name, name, overrides)})
    raise unknown_model(name)


def _renamed(name: str, family: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options under our names; an unknown one, or one given under two names, is refused."""
    known = inspect.signature(find(FAMILIES[family].home)).parameters
    aliases = FAMILIES[family].aliases
    renamed: dict[str, Any] = {}
    for given, value in options.items():
        option = aliases.get(given, given)
        if option not in known:
            hint = nearest(given, [*known, *aliases], ", ".join(known))
            raise Refused(f"{name}: no option is called {given!r}{hint}")
        if option in renamed:
            raise Refused(f"{name}: {option!r} is given twice, once as {given!r}; once is enough")
        renamed[option] = value
    return renamed


def _own(part: object, name: str, overrides: dict[str, Any]) -> nn.Module:
    """A user's class or function, called with what it takes of the overrides."""
    if isinstance(part, nn.Module):
        return part
    if not callable(part):
        raise Refused(f"{name}: a {type(part).__name__} makes no model; a class or a function does")
    build: Callable[..., object] = part
    known = inspect.signature(build).parameters
    if all(p.kind is not p.VAR_KEYWORD for p in known.values()):
        for option in overrides:
            if option not in known and option not in OFFERED:
                raise Refused(f"{name}: takes no {option!r}{nearest(option, known)}")
        overrides = {option: value for option, value in overrides.items() if option in known}
    model = build(**overrides)
    if not isinstance(model, nn.Module):
        raise Refused(f"{name}: gave a {type(model).__name__}; a torch.nn.Module is needed")
    return model
