"""Presets of Swin and of Focal.

Source: hierarchical-transformers specification, sections 1.1 and 3.1 (variants), 1.11 (parameters,
FLOPs, accuracy) and 1.12 (test crops).
"""

from typing import Any

from ninefold.core.preprocess import Preprocess
from ninefold.models.preset import Preset

SWIN = "Liu et al. 2021, arXiv 2103.14030"
FOCAL = "Yang et al. 2021, arXiv 2107.00641"


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

SWIN_PRESETS: dict[str, Preset] = {
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


def _focal(embed_dim: int, depth: int) -> dict[str, Any]:
    heads = embed_dim // 32
    return {
        "embed_dim": embed_dim,
        "depths": (2, 2, depth, 2),
        "num_heads": (heads, 2 * heads, 4 * heads, 8 * heads),
    }


FOCAL_PRESETS: dict[str, Preset] = {
    "focal_atto": Preset(
        family="focal",
        options={
            "embed_dim": 32,
            "depths": (2, 2, 2),
            "num_heads": (2, 4, 8),
            "window_size": 4,
            "focal_levels": (2, 2, 2),
            "focal_windows": (3, 3, 1),
            "expand_sizes": (2, 2, 2),
        },
        preprocess=Preprocess(image_size=64, crop_fraction=1.0),
        status="ours",
        paper=FOCAL,
        parameters=578_012,
        gmacs=0.02427,
        num_classes=10,
    ),
    "focal_tiny": Preset(
        family="focal",
        options=_focal(96, 6),
        preprocess=AT_224,
        status="exact",
        paper=FOCAL,
        parameters=28_880_380,
        gmacs=4.953,
        accuracy=0.822,
        authors_file="focal-tiny-is224-ws7.pth",
        licence="MIT",
        drop_path=0.2,
    ),
    "focal_small": Preset(
        family="focal",
        options=_focal(96, 18),
        preprocess=AT_224,
        status="exact",
        paper=FOCAL,
        parameters=51_141_940,
        gmacs=9.480,
        accuracy=0.836,
        authors_file="focal-small-is224-ws7.pth",
        licence="MIT",
        drop_path=0.3,
    ),
    "focal_base": Preset(
        family="focal",
        options=_focal(128, 18),
        preprocess=AT_224,
        status="exact",
        paper=FOCAL,
        parameters=89_815_400,
        gmacs=16.436,
        accuracy=0.84,
        authors_file="focal-base-is224-ws7.pth",
        licence="MIT",
        drop_path=0.5,
    ),
    "focal_large": Preset(
        family="focal",
        options=_focal(192, 18),
        preprocess=AT_224,
        status="inferred",
        paper=FOCAL,
        parameters=199_602_640,
        gmacs=35.9,
        drop_path=0.5,
    ),
}
"""The authors' files stand on a file server of theirs and not on the hub: give one as `weights`
(names, licence and accuracies as in the README of microsoft/Focal-Transformer). L
stands in tables of detection and segmentation alone; its width is inferred from them."""
