"""Presets of ViT, DeiT, hybrids and Mixer.

Source: vit-augreg-sam specification, sections 1.1 to 1.4 (variants, parameters, FLOPs); DeiT's
accuracies from facebookresearch/deit. AugReg's files at the hub are timm's choice among the many of
each size, and need not be those that the paper recommends.
"""

from typing import Any

from ninefold.core.preprocess import Preprocess
from ninefold.models.preset import Preset
from ninefold.models.timm_results import timm_result

VIT = "Dosovitskiy et al. 2021, arXiv 2010.11929; Steiner et al. 2021, arXiv 2106.10270"
DEIT = "Touvron et al. 2021, arXiv 2012.12877"
MIXER = "Tolstikhin et al. 2021, arXiv 2105.01601"

SIZES: dict[str, tuple[int, int, int]] = {
    "ti": (192, 12, 3),
    "s": (384, 12, 6),
    "b": (768, 12, 12),
    "l": (1024, 24, 16),
    "h": (1280, 32, 16),
}
"""Channels, blocks and heads."""


def _vit(size: str, patch: int) -> dict[str, Any]:
    dim, depth, heads = SIZES[size]
    return {"patch_size": patch, "dim": dim, "depth": depth, "num_heads": heads, "mlp_dim": 4 * dim}


def _inception(image_size: int) -> Preprocess:
    """Values from -1 to 1; at 384 pixels timm's files were tested without a crop."""
    return Preprocess(
        image_size=image_size,
        crop_fraction=1.0 if image_size > 224 else 0.9,
        mean=(0.5,),
        std=(0.5,),
    )


def _hub(name: str) -> str:
    return f"hf://timm/{name}/model.safetensors" if name else ""


_AUGREG = "augreg_in21k_ft_in1k"
_VIT = (
    ("ti", 16, 224, 5_717_416, 1.254, f"vit_tiny_patch16_224.{_AUGREG}"),
    ("ti", 16, 384, 5_790_376, 4.682, f"vit_tiny_patch16_384.{_AUGREG}"),
    ("s", 32, 224, 22_878_952, 1.143, f"vit_small_patch32_224.{_AUGREG}"),
    ("s", 32, 384, 22_915_432, 3.443, f"vit_small_patch32_384.{_AUGREG}"),
    ("s", 16, 224, 22_050_664, 4.599, f"vit_small_patch16_224.{_AUGREG}"),
    ("s", 16, 384, 22_196_584, 15.490, f"vit_small_patch16_384.{_AUGREG}"),
    ("s", 14, 224, 22_004_584, 6.124, ""),
    ("s", 14, 384, 22_186_216, 20.577, ""),
    ("s", 8, 224, 22_055_272, 22.406, ""),
    ("s", 8, 384, 22_638_952, 98.079, ""),
    ("b", 32, 224, 88_224_232, 4.409, f"vit_base_patch32_224.{_AUGREG}"),
    ("b", 32, 384, 88_297_192, 13.044, f"vit_base_patch32_384.{_AUGREG}"),
    ("b", 16, 224, 86_567_656, 17.564, f"vit_base_patch16_224.{_AUGREG}"),
    ("b", 16, 384, 86_859_496, 55.484, f"vit_base_patch16_384.{_AUGREG}"),
    ("b", 8, 224, 86_576_872, 78.148, f"vit_base_patch8_224.{_AUGREG}"),
    ("b", 8, 384, 87_744_232, 294.04, ""),
    ("l", 32, 224, 306_535_400, 15.377, ""),
    ("l", 32, 384, 306_632_680, 45.276, "vit_large_patch32_384.orig_in21k_ft_in1k"),
    ("l", 16, 224, 304_326_632, 61.555, f"vit_large_patch16_224.{_AUGREG}"),
    ("l", 16, 384, 304_715_752, 191.066, f"vit_large_patch16_384.{_AUGREG}"),
    ("h", 14, 224, 632_045_800, 167.3, ""),
    ("h", 14, 384, 632_651_240, 503.48, ""),
)
"""Size, patch, image size, parameters, GMACs, name at the hub."""

_DEIT = (
    ("deit_tiny", "ti", 224, False, 5_717_416, 1.254, 0.722, "deit_tiny_patch16_224.fb_in1k"),
    ("deit_small", "s", 224, False, 22_050_664, 4.599, 0.799, "deit_small_patch16_224.fb_in1k"),
    ("deit_base", "b", 224, False, 86_567_656, 17.564, 0.818, "deit_base_patch16_224.fb_in1k"),
    ("deit_base_384", "b", 384, False, 86_859_496, 55.484, 0.829, "deit_base_patch16_384.fb_in1k"),
    ("deit_tiny_distilled", "ti", 224, True, 5_910_800, 1.261, 0.745,
     "deit_tiny_distilled_patch16_224.fb_in1k"),
    ("deit_small_distilled", "s", 224, True, 22_436_432, 4.624, 0.812,
     "deit_small_distilled_patch16_224.fb_in1k"),
    ("deit_base_distilled", "b", 224, True, 87_338_192, 17.657, 0.834,
     "deit_base_distilled_patch16_224.fb_in1k"),
    ("deit_base_384_distilled", "b", 384, True, 87_630_032, 55.591, 0.852,
     "deit_base_distilled_patch16_384.fb_in1k"),
)  # fmt: skip
"""Name, size, image size, distillation, parameters, GMACs, the authors' top-1, hub's name."""

_HYBRID = (
    ("r_ti16", "ti", (), 8, 224, 6_337_704, 0.434, f"vit_tiny_r_s16_p8_224.{_AUGREG}"),
    ("r_ti16", "ti", (), 8, 384, 6_355_944, 1.327, f"vit_tiny_r_s16_p8_384.{_AUGREG}"),
    ("r26_s32", "s", (2, 2, 2, 2), 1, 224, 36_431_912, 3.464, f"vit_small_r26_s32_224.{_AUGREG}"),
    ("r26_s32", "s", (2, 2, 2, 2), 1, 384, 36_468_392, 10.264, f"vit_small_r26_s32_384.{_AUGREG}"),
    ("r26_b32", "b", (2, 2, 2, 2), 1, 224, 101_383_976, 6.711, ""),
    ("r26_b32", "b", (2, 2, 2, 2), 1, 384, 101_456_936, 19.808, ""),
    ("r50_b16", "b", (3, 4, 9), 1, 224, 98_659_112, 21.535, ""),
    (
        "r50_b16",
        "b",
        (3, 4, 9),
        1,
        384,
        98_950_952,
        67.156,
        "vit_base_r50_s16_384.orig_in21k_ft_in1k",
    ),
    ("r50_l32", "l", (3, 4, 6, 3), 1, 224, 328_994_856, 19.413, f"vit_large_r50_s32_224.{_AUGREG}"),
    ("r50_l32", "l", (3, 4, 6, 3), 1, 384, 329_092_136, 57.136, f"vit_large_r50_s32_384.{_AUGREG}"),
)
"""Name, size, ResNet's units, patch, image size, parameters, GMACs, name at the hub. The stride of
"R+Ti/16" is 32: its root halves twice, and its patches are 8 x 8."""

_MIXER = (
    ("s32", 512, 8, 256, 32, 19_104_624, 1.002, ""),
    ("s16", 512, 8, 256, 16, 18_528_264, 3.777, ""),
    ("s8", 512, 8, 256, 8, 20_646_504, 14.875, ""),
    ("b32", 768, 12, 384, 32, 60_293_428, 3.238, ""),
    ("b16", 768, 12, 384, 16, 59_880_472, 12.602, "mixer_b16_224.goog_in21k_ft_in1k"),
    ("b8", 768, 12, 384, 8, 64_864_168, 50.058, ""),
    ("l32", 1024, 24, 512, 32, 206_939_264, 11.253, ""),
    ("l16", 1024, 24, 512, 16, 208_196_168, 44.548, "mixer_l16_224.goog_in21k_ft_in1k"),
)
"""Name, channels, blocks, token channels, patch, parameters, GMACs, name at the hub."""

SMALL = Preprocess(image_size=64, crop_fraction=1.0)


def _large(image_size: int) -> str:
    return "_384" if image_size == 384 else ""


VIT_PRESETS: dict[str, Preset] = {
    "vit_atto": Preset(
        family="vit",
        options={"patch_size": 8, "dim": 96, "depth": 4, "num_heads": 3, "mlp_dim": 384},
        preprocess=SMALL,
        status="ours",
        paper=VIT,
        parameters=473_386,
        gmacs=0.03318,
        fits=(8, 8),
        num_classes=10,
    ),
    **{
        f"vit_{size}{patch}{_large(side)}": Preset(
            family="vit",
            options=_vit(size, patch),
            preprocess=_inception(side),
            status="exact",
            paper=VIT,
            parameters=parameters,
            gmacs=gmacs,
            weights=_hub(name),
            licence="Apache-2.0" if name else "",
            **timm_result(name),
        )
        for size, patch, side, parameters, gmacs, name in _VIT
    },
    **{
        name: Preset(
            family="vit",
            options={
                **_vit(size, 16),
                "gelu": "exact",
                "resize": "bicubic",
                "init_std": 0.02,
                "distilled": distilled,
            },
            preprocess=Preprocess(image_size=side, crop_fraction=1.0 if side > 224 else 0.875),
            status="exact",
            paper=DEIT,
            parameters=parameters,
            gmacs=gmacs,
            accuracy=accuracy,
            weights=_hub(file),
            licence="Apache-2.0",
            drop_path=0.1,
        )
        for name, size, side, distilled, parameters, gmacs, accuracy, file in _DEIT
    },
}

HYBRID_PRESETS: dict[str, Preset] = {
    "vit_r_atto": Preset(
        family="vit_r",
        options={
            "patch_size": 2,
            "dim": 96,
            "depth": 4,
            "num_heads": 3,
            "mlp_dim": 384,
            "resnet": {"num_layers": (1,), "width_factor": 0.5},
        },
        preprocess=SMALL,
        status="ours",
        paper=VIT,
        parameters=527_946,
        gmacs=0.04468,
        fits=(8, 8),
        num_classes=10,
    ),
    **{
        f"vit_{name}{_large(side)}": Preset(
            family="vit_r",
            options={
                **_vit(size, patch),
                "resnet": {"num_layers": units, "width_factor": 1.0},
            },
            preprocess=_inception(side),
            status="exact",
            paper=VIT,
            parameters=parameters,
            gmacs=gmacs,
            weights=_hub(file),
            licence="Apache-2.0" if file else "",
            **timm_result(file),
        )
        for name, size, units, patch, side, parameters, gmacs, file in _HYBRID
    },
}

MIXER_PRESETS: dict[str, Preset] = {
    "mixer_atto": Preset(
        family="mixer",
        options={
            "patch_size": 8,
            "dim": 96,
            "depth": 4,
            "token_hidden": 48,
            "channel_hidden": 384,
        },
        preprocess=SMALL,
        status="ours",
        paper=MIXER,
        parameters=343_082,
        gmacs=0.02241,
        fits=(8, 8),
        num_classes=10,
    ),
    **{
        f"mixer_{name}": Preset(
            family="mixer",
            options={
                "patch_size": patch,
                "dim": dim,
                "depth": depth,
                "token_hidden": hidden,
                "channel_hidden": 4 * dim,
            },
            preprocess=_inception(224).changed(crop_fraction=0.875),
            status="exact",
            paper=MIXER,
            parameters=parameters,
            gmacs=gmacs,
            weights=_hub(file),
            licence="Apache-2.0" if file else "",
            drop_path=0.1,
            **timm_result(file),
        )
        for name, dim, depth, hidden, patch, parameters, gmacs, file in _MIXER
    },
}
