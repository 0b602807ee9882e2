"""Ninefold: nine papers' vision models, recipes and uncertainty methods, as one library.

Names are imported when they are first used, so `import ninefold` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ninefold import recipes as recipes
    from ninefold.core.errors import Failed as Failed
    from ninefold.core.errors import Refused as Refused
    from ninefold.data.check import check_data as check_data
    from ninefold.engine.config import Run as Run
    from ninefold.engine.opened import open_run as open_run
    from ninefold.engine.train import train as train
    from ninefold.models.create import create_model as create_model
    from ninefold.models.create import list_models as list_models
    from ninefold.models.load import load_weights as load_weights

__version__ = "0.1.0"

_HOMES = {
    "list_models": "ninefold.models.create",
    "create_model": "ninefold.models.create",
    "load_weights": "ninefold.models.load",
    "train": "ninefold.engine.train",
    "open_run": "ninefold.engine.opened",
    "check_data": "ninefold.data.check",
    "Run": "ninefold.engine.config",
    "Refused": "ninefold.core.errors",
    "Failed": "ninefold.core.errors",
}


def __getattr__(name: str) -> Any:
    if name == "recipes":
        return import_module("ninefold.recipes")
    if name not in _HOMES:
        raise AttributeError(f"module 'ninefold' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "recipes", "__version__"])
