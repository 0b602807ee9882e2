"""Models: one file a family, presets by name, and weights from anywhere."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ninefold.models.create import create_model as create_model
    from ninefold.models.load import load_weights as load_weights
    from ninefold.models.presets import PRESETS as PRESETS
    from ninefold.models.presets import list_models as list_models
    from ninefold.models.presets import preset_of as preset_of

_HOMES = {
    "create_model": "create",
    "load_weights": "load",
    "PRESETS": "presets",
    "list_models": "presets",
    "preset_of": "presets",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ninefold.models' has no attribute {name!r}")
    return getattr(import_module(f"ninefold.models.{_HOMES[name]}"), name)
