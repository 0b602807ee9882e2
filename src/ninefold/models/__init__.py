"""Models: one file a family, presets by name, and weights from anywhere."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.models.create import create_model as create_model
    from ninefold.models.fusion import fuse as fuse
    from ninefold.models.load import load_weights as load_weights
    from ninefold.models.presets import PRESETS as PRESETS
    from ninefold.models.presets import list_models as list_models
    from ninefold.models.presets import preset_of as preset_of

__getattr__, __dir__ = lazily(
    __name__,
    {
        "create_model": "create",
        "fuse": "fusion",
        "load_weights": "load",
        "PRESETS": "presets",
        "list_models": "presets",
        "preset_of": "presets",
    },
)
