"""Named recipes: functions that return a complete `Run` for a model and data of one's choice."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ninefold.core.errors import Refused, nearest

if TYPE_CHECKING:
    from ninefold.recipes.augreg import augreg_in1k as augreg_in1k
    from ninefold.recipes.augreg import augreg_in21k as augreg_in21k
    from ninefold.recipes.augreg import finetune_augreg as finetune_augreg
    from ninefold.recipes.efficientnet import efficientnet_v2_in1k as efficientnet_v2_in1k
    from ninefold.recipes.efficientnet import efficientnet_v2_in1k_code as efficientnet_v2_in1k_code
    from ninefold.recipes.efficientnet import efficientnet_v2_in21k as efficientnet_v2_in21k
    from ninefold.recipes.efficientnet import finetune_efficientnet_v2 as finetune_efficientnet_v2
    from ninefold.recipes.efficientnet import (
        finetune_efficientnet_v2_in21k as finetune_efficientnet_v2_in21k,
    )
    from ninefold.recipes.everyday import finetune as finetune
    from ninefold.recipes.everyday import quickstart as quickstart
    from ninefold.recipes.everyday import swin_cifar10 as swin_cifar10
    from ninefold.recipes.paa import finetune_paa as finetune_paa
    from ninefold.recipes.paa import paa_cifar10 as paa_cifar10
    from ninefold.recipes.paa import paa_cifar100 as paa_cifar100
    from ninefold.recipes.paa import paa_imagenet as paa_imagenet
    from ninefold.recipes.sam import sam_in1k as sam_in1k
    from ninefold.recipes.swin import swin_384 as swin_384
    from ninefold.recipes.swin import swin_in1k as swin_in1k
    from ninefold.recipes.swin import swin_in22k as swin_in22k
    from ninefold.recipes.swin import swin_in22k_to_1k as swin_in22k_to_1k

RECIPES: dict[str, str] = {
    "quickstart": "ninefold.recipes.everyday",
    "finetune": "ninefold.recipes.everyday",
    "swin_cifar10": "ninefold.recipes.everyday",
    "swin_in1k": "ninefold.recipes.swin",
    "swin_in22k": "ninefold.recipes.swin",
    "swin_in22k_to_1k": "ninefold.recipes.swin",
    "swin_384": "ninefold.recipes.swin",
    "paa_cifar10": "ninefold.recipes.paa",
    "paa_cifar100": "ninefold.recipes.paa",
    "paa_imagenet": "ninefold.recipes.paa",
    "finetune_paa": "ninefold.recipes.paa",
    "augreg_in1k": "ninefold.recipes.augreg",
    "augreg_in21k": "ninefold.recipes.augreg",
    "finetune_augreg": "ninefold.recipes.augreg",
    "efficientnet_v2_in1k": "ninefold.recipes.efficientnet",
    "efficientnet_v2_in1k_code": "ninefold.recipes.efficientnet",
    "efficientnet_v2_in21k": "ninefold.recipes.efficientnet",
    "finetune_efficientnet_v2_in21k": "ninefold.recipes.efficientnet",
    "finetune_efficientnet_v2": "ninefold.recipes.efficientnet",
    "sam_in1k": "ninefold.recipes.sam",
}
"""The module of every recipe; the function has the recipe's name."""


def find_recipe(name: str) -> Callable[..., Any]:
    """The recipe of that name; `Refused` with the nearest name where there is none."""
    if name not in RECIPES:
        raise Refused(
            f"no recipe is called {name!r}{nearest(name, RECIPES) or ';'} "
            f"`ninefold recipes` lists all {len(RECIPES)}"
        )
    return getattr(import_module(RECIPES[name]), name)


def __getattr__(name: str) -> Any:
    if name not in RECIPES:
        raise AttributeError(f"no recipe is called {name!r}{nearest(name, RECIPES)}")
    return find_recipe(name)


def __dir__() -> list[str]:
    return sorted([*RECIPES, "RECIPES", "find_recipe"])
