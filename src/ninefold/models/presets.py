"""Presets: named models with their options, how they want their images, and what is known of them.

Free of torch, so that commands list models and recipes read their settings at once.
Source: hierarchical-transformers specification, sections 1.1 (variants), 1.11 (parameters, FLOPs,
accuracy) and 1.12 (test crops).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import is_reference
from ninefold.core.preprocess import Preprocess

Status = Literal["exact", "published", "inferred", "ours", "guest", "own"]

SWIN = "Liu et al. 2021, arXiv 2103.14030"


@dataclass(frozen=True)
class Preset:
    """One named model.

    Args:
        family: Its family, or where a guest or a user's own model comes from.
        options: Arguments of the family beside image size, channels, classes and drop path.
        preprocess: How it wants its images; the image size also decides what is built.
        status: `exact`: equal to a reference that was run; `published`: equal to the paper's
            description; `inferred`; `ours`; `guest` (timm's) and `own` (the user's).
        paper: Authors, year and where to read it.
        parameters: With 1000 classes (10 for an atto model).
        gmacs: Multiply-adds of one image at the preset's size, in thousand millions, as torch's
            FlopCounterMode counts them.
        accuracy: Top-1 on ImageNet-1k that the paper's authors give for `weights`; 0 for none.
        weights: Address of published weights; nothing where there are none.
        weights_opened: Whether such a file has ever been opened here, or only its layout tested.
        licence: Of those weights.
        drop_path: Stochastic depth when trained on ImageNet-1k from nothing, where that was done.
        num_classes: Of the weights.
    """

    family: str
    options: dict[str, Any]
    preprocess: Preprocess
    status: Status
    paper: str = ""
    parameters: int = 0
    gmacs: float = 0.0
    accuracy: float = 0.0
    weights: str = ""
    weights_opened: bool = False
    licence: str = ""
    drop_path: float = 0.0
    num_classes: int = 1000


@dataclass(frozen=True)
class Family:
    """Models of one class.

    Args:
        home: The class as `module:Name`.
        aliases: The reference's own argument names beside ours.
    """

    home: str
    aliases: Mapping[str, str]


FAMILIES: dict[str, Family] = {
    "swin": Family(
        "ninefold.models.swin:Swin",
        {
            "img_size": "image_size",
            "pretrain_img_size": "image_size",
            "in_chans": "in_channels",
            "drop_path_rate": "drop_path",
        },
    ),
}


def _swin(embed_dim: int, depth: int, window: int) -> dict[str, Any]:
    heads = embed_dim // 32
    return {
        "embed_dim": embed_dim,
        "depths": (2, 2, depth, 2),
        "num_heads": (heads, 2 * heads, 4 * heads, 8 * heads),
        "window_size": window,
        "full_tables": True,
    }


AT_224 = Preprocess(image_size=224, crop_fraction=0.875)
AT_384 = Preprocess(image_size=384, crop_fraction=1.0, squash=True)
HUB = "hf://timm/swin_{}/model.safetensors"

PRESETS: dict[str, Preset] = {
    "swin_atto": Preset(
        family="swin",
        options={
            "embed_dim": 32,
            "depths": (2, 2, 2),
            "num_heads": (2, 4, 8),
            "window_size": 4,
            "full_tables": True,
            "init_std": 0.0,
        },
        preprocess=Preprocess(image_size=64, crop_fraction=1.0),
        status="ours",
        paper=SWIN,
        parameters=568_198,
        gmacs=0.02123,
        num_classes=10,
    ),
    "swin_tiny": Preset(
        family="swin",
        options=_swin(96, 6, 7),
        preprocess=AT_224,
        status="exact",
        paper=SWIN,
        parameters=28_288_354,
        gmacs=4.491,
        accuracy=0.812,
        weights=HUB.format("tiny_patch4_window7_224.ms_in1k"),
        licence="MIT",
        drop_path=0.2,
    ),
    "swin_small": Preset(
        family="swin",
        options=_swin(96, 18, 7),
        preprocess=AT_224,
        status="exact",
        paper=SWIN,
        parameters=49_606_258,
        gmacs=8.741,
        accuracy=0.832,
        weights=HUB.format("small_patch4_window7_224.ms_in1k"),
        licence="MIT",
        drop_path=0.3,
    ),
    "swin_base": Preset(
        family="swin",
        options=_swin(128, 18, 7),
        preprocess=AT_224,
        status="exact",
        paper=SWIN,
        parameters=87_768_224,
        gmacs=15.431,
        accuracy=0.852,
        weights=HUB.format("base_patch4_window7_224.ms_in22k_ft_in1k"),
        licence="MIT",
        drop_path=0.5,
    ),
    "swin_large": Preset(
        family="swin",
        options=_swin(192, 18, 7),
        preprocess=AT_224,
        status="exact",
        paper=SWIN,
        parameters=196_532_476,
        gmacs=34.476,
        accuracy=0.863,
        weights=HUB.format("large_patch4_window7_224.ms_in22k_ft_in1k"),
        licence="MIT",
        drop_path=0.2,
    ),
    "swin_base_384": Preset(
        family="swin",
        options=_swin(128, 18, 12),
        preprocess=AT_384,
        status="exact",
        paper=SWIN,
        parameters=87_903_584,
        gmacs=47.083,
        accuracy=0.864,
        weights=HUB.format("base_patch4_window12_384.ms_in22k_ft_in1k"),
        licence="MIT",
        drop_path=0.5,
    ),
    "swin_large_384": Preset(
        family="swin",
        options=_swin(192, 18, 12),
        preprocess=AT_384,
        status="exact",
        paper=SWIN,
        parameters=196_735_516,
        gmacs=103.919,
        accuracy=0.873,
        weights=HUB.format("large_patch4_window12_384.ms_in22k_ft_in1k"),
        licence="MIT",
        drop_path=0.2,
    ),
}
"""Accuracies are the authors' (README of microsoft/Swin-Transformer): tiny and small trained on
ImageNet-1k alone, the others first on ImageNet-22k. Large models have no drop path for training on
ImageNet-1k from nothing; theirs is that of ImageNet-22k and of fine-tuning."""


def list_models(pattern: str = "*") -> list[str]:
    """Names of the presets that match a shell pattern, sorted."""
    return sorted(name for name in PRESETS if fnmatchcase(name, pattern))


def preset_of(name: str) -> Preset:
    """What is known of any model that `create_model` makes: preset, family, guest or own.

    Raises:
        Refused: no model has that name; the nearest one is told.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name.startswith("timm/"):
        return _guest(name)
    if is_reference(name) or name in FAMILIES:
        return Preset(family=name, options={}, preprocess=Preprocess(), status="own")
    raise unknown_model(name)


def unknown_model(name: str) -> Refused:
    """The error for a name that is neither a preset nor a family."""
    hint = nearest(name, [*PRESETS, *FAMILIES]) or ";"
    return Refused(
        f"no model is called {name!r}{hint} `ninefold models` lists all {len(PRESETS)}, and there "
        "are timm/NAME and your own as package.module:Name"
    )


def _guest(name: str) -> Preset:
    """What timm knows of its model: image size, crop and normalisation of its weights."""
    from ninefold.models.guest import guest_settings

    settings = guest_settings(name.removeprefix("timm/"))
    return Preset(
        family="timm",
        options={},
        preprocess=Preprocess.parse(settings["preprocess"], where=name),
        status="guest",
        weights=settings["weights"],
        licence=settings["licence"],
        num_classes=settings["num_classes"],
    )
