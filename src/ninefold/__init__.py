"""Ninefold: nine papers' vision models, recipes and uncertainty methods, as one library.

Names are imported when they are first used, so `import ninefold` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ninefold.core.lazy import lazily

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
    from ninefold.optim.sam import ASAM as ASAM
    from ninefold.optim.sam import GSAM as GSAM
    from ninefold.optim.sam import SAM as SAM

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    return import_module("ninefold.recipes") if name == "recipes" else _load(name)


def __dir__() -> list[str]:
    return sorted([*_names(), "recipes", "__version__"])


_load, _names = lazily(
    __name__,
    {
        "list_models": "models.create",
        "create_model": "models.create",
        "load_weights": "models.load",
        "train": "engine.train",
        "open_run": "engine.opened",
        "check_data": "data.check",
        "SAM": "optim.sam",
        "ASAM": "optim.sam",
        "GSAM": "optim.sam",
        "Run": "engine.config",
        "Refused": "core.errors",
        "Failed": "core.errors",
    },
)
