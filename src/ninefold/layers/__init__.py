"""Modules and pure tensor functions that two or more rooms use."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.layers.attention import attend as attend
    from ninefold.layers.attention import observe_attention as observe_attention
    from ninefold.layers.drop import DropPath as DropPath
    from ninefold.layers.drop import rising_rates as rising_rates
    from ninefold.layers.image import evaluation_view as evaluation_view
    from ninefold.layers.mlp import Mlp as Mlp
    from ninefold.layers.partition import fit_windows as fit_windows
    from ninefold.layers.patch import PatchEmbed as PatchEmbed
    from ninefold.layers.patch import PatchMerging as PatchMerging
    from ninefold.layers.performer import PerformerAttention as PerformerAttention
    from ninefold.layers.position import resize_positions as resize_positions
    from ninefold.layers.sliding import SlidingAttention as SlidingAttention
    from ninefold.layers.window import WindowAttention as WindowAttention

__getattr__, __dir__ = lazily(
    __name__,
    {
        "attend": "attention",
        "observe_attention": "attention",
        "DropPath": "drop",
        "rising_rates": "drop",
        "evaluation_view": "image",
        "Mlp": "mlp",
        "fit_windows": "partition",
        "PatchEmbed": "patch",
        "PatchMerging": "patch",
        "PerformerAttention": "performer",
        "resize_positions": "position",
        "SlidingAttention": "sliding",
        "WindowAttention": "window",
    },
)
