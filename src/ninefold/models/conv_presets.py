"""Presets of the ResNets and EfficientNets.

Source: vit-augreg-sam specification, sections 1.4 and 3; efficientnetv2-paa specification, sections
A2 (tables) and A3 (parameters, FLOPs).
"""

from typing import Any

from ninefold.core.preprocess import Preprocess
from ninefold.models.preset import Preset
from ninefold.models.timm_results import timm_result

RESNET = "He et al. 2016, arXiv 1512.03385"
BIT = "Kolesnikov et al. 2020, arXiv 1912.11370"
EFFICIENTNET = "Tan & Le 2019, arXiv 1905.11946"
EFFICIENTNET_V2 = "Tan & Le 2021, arXiv 2104.00298"

BLOCKS: dict[str, tuple[int, ...]] = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 6, 3),
    "101": (3, 4, 23, 3),
    "152": (3, 8, 36, 3),
}
_RESNET = (
    ("18", "", 11_689_512, 1.814, 0.69758),
    ("34", "", 21_797_672, 3.664, 0.73314),
    ("50", "", 25_557_032, 4.089, 0.76130),
    ("101", "", 44_549_160, 7.801, 0.77374),
    ("152", "", 60_192_808, 11.514, 0.78312),
    ("50", "x2", 98_004_072, 16.117, 0.0),
    ("101", "x2", 173_868_136, 30.965, 0.0),
    ("152", "x2", 236_350_568, 45.814, 0.0),
    ("50", "_gn", 25_557_032, 4.089, 0.0),
    ("101", "_gn", 44_549_160, 7.801, 0.0),
    ("152", "_gn", 60_192_808, 11.514, 0.0),
    ("50", "_bit", 25_549_352, 4.089, 0.0),
    ("101", "_bit", 44_541_480, 7.801, 0.0),
    ("152", "_bit", 60_185_128, 11.514, 0.0),
)
"""Depth, kind, parameters, GMACs, top-1 that torchvision gives for its first weights."""
_BIT_FILES = {"50": "resnetv2_50x1_bit", "101": "resnetv2_101x1_bit"}


def _resnet(depth: str, kind: str) -> dict[str, Any]:
    options: dict[str, Any] = {"blocks": BLOCKS[depth]}
    if kind == "x2":
        options["width_factor"] = 2.0
    if kind in ("_gn", "_bit"):
        options["norm"] = "group" if kind == "_gn" else "bit"
    if depth in ("18", "34"):
        options["bottleneck"] = False
    return options


def _resnet_file(depth: str, kind: str) -> str:
    if kind == "_bit" and depth in _BIT_FILES:
        return f"hf://timm/{_BIT_FILES[depth]}.goog_in21k_ft_in1k/model.safetensors"
    return "" if kind else f"hf://timm/resnet{depth}.tv_in1k/model.safetensors"


def _result(depth: str, kind: str, accuracy: float) -> dict[str, Any]:
    """BiT's files were fine-tuned and measured larger than the presets' 224 pixels."""
    if kind != "_bit":
        return {"accuracy": accuracy}
    name = f"{_BIT_FILES.get(depth)}.goog_in21k_ft_in1k"
    return timm_result(name, note=", at 448 pixels without a crop")


_MINUS_ONE_TO_ONE: dict[str, Any] = {"mean": (0.5,), "std": (0.5,)}
_BIT_INPUT = Preprocess(
    image_size=224, crop_fraction=0.875, interpolation="bilinear", **_MINUS_ONE_TO_ONE
)
_TORCHVISION_INPUT = Preprocess(image_size=224, crop_fraction=0.875, interpolation="bilinear")

RESNET_PRESETS: dict[str, Preset] = {
    "resnet_atto": Preset(
        family="resnet",
        options={"blocks": (2, 2, 2), "width_factor": 0.5, "bottleneck": False},
        preprocess=Preprocess(image_size=64, crop_fraction=1.0),
        status="ours",
        paper=RESNET,
        parameters=700_458,
        gmacs=0.03103,
        fits=(16, 4),
        num_classes=10,
    ),
    **{
        f"resnet{depth}{kind}": Preset(
            family="resnet",
            options=_resnet(depth, kind),
            preprocess=_BIT_INPUT if kind in ("_gn", "_bit") else _TORCHVISION_INPUT,
            status="published" if kind == "x2" else "exact",
            paper=BIT if kind in ("_gn", "_bit") else RESNET,
            parameters=parameters,
            gmacs=gmacs,
            weights=_resnet_file(depth, kind),
            licence={"": "BSD-3-Clause", "_bit": "Apache-2.0"}.get(kind, "")
            if _resnet_file(depth, kind)
            else "",
            **_result(depth, kind, accuracy),
        )
        for depth, kind, parameters, gmacs, accuracy in _RESNET
    },
}

V1 = (
    (1, 0, 3, 1, 16, 1, 0.25),
    (6, 0, 3, 2, 24, 2, 0.25),
    (6, 0, 5, 2, 40, 2, 0.25),
    (6, 0, 3, 2, 80, 3, 0.25),
    (6, 0, 5, 1, 112, 3, 0.25),
    (6, 0, 5, 2, 192, 4, 0.25),
    (6, 0, 3, 1, 320, 1, 0.25),
)
"""EfficientNet-B0, stage by stage: expand, fused, kernel, stride, channels, repeats, excitation."""
V2_BASE = (
    (1, 1, 3, 1, 16, 1, 0),
    (4, 1, 3, 2, 32, 2, 0),
    (4, 1, 3, 2, 48, 2, 0),
    (4, 0, 3, 2, 96, 3, 0.25),
    (6, 0, 3, 1, 112, 5, 0.25),
    (6, 0, 3, 2, 192, 8, 0.25),
)
"""EfficientNetV2-B0, likewise."""

_CHANNELS: dict[str, tuple[int, ...]] = {
    "s": (24, 48, 64, 128, 160, 256),
    "s_draft": (24, 48, 64, 128, 160, 272),
    "m": (24, 48, 80, 160, 176, 304, 512),
    "l": (32, 64, 96, 192, 224, 384, 640),
    "xl": (32, 64, 96, 192, 256, 512, 640),
}
_REPEATS: dict[str, tuple[int, ...]] = {
    "s": (2, 4, 4, 6, 9, 15),
    "s_draft": (2, 4, 4, 6, 9, 15),
    "m": (3, 5, 5, 7, 14, 18, 5),
    "l": (4, 7, 7, 10, 19, 25, 7),
    "xl": (4, 8, 8, 16, 24, 32, 8),
}


def _v2(size: str) -> dict[str, Any]:
    """Stages 1 to 3 fused, 4 to 7 with excitation; strides of 2 but in stages 1, 5 and 7."""
    channels, repeats = _CHANNELS[size], _REPEATS[size]
    stages = tuple(
        (
            1 if not i else 4 if i < 4 else 6,
            int(i < 3),
            3,
            1 if i in (0, 4, 6) else 2,
            out,
            count,
            0 if i < 3 else 0.25,
        )
        for i, (out, count) in enumerate(zip(channels, repeats, strict=True))
    )
    return {"stages": stages, "stem": channels[0]}


_V2 = (
    ("s", 384, 0.2, 21_458_488, 8.366, 0.839, "tf_efficientnetv2_s.in1k"),
    ("s_draft", 384, 0.2, 23_940_048, 8.598, 0.0, ""),
    ("m", 480, 0.3, 54_139_356, 24.582, 0.851, "tf_efficientnetv2_m.in1k"),
    ("l", 480, 0.4, 118_515_272, 56.080, 0.857, "tf_efficientnetv2_l.in1k"),
    ("xl", 512, 0.4, 208_119_808, 93.353, 0.873, "tf_efficientnetv2_xl.in21k_ft_in1k"),
)
"""Size, pixels at evaluation, dropout, parameters, GMACs, the paper's top-1, name at the hub."""
_V2_BASES = (
    ("b0", 1.0, 1.0, 224, 0.875, 0.2, 7_139_704, 0.718, 0.787),
    ("b1", 1.0, 1.1, 240, 0.882, 0.2, 8_141_052, 1.197, 0.798),
    ("b2", 1.1, 1.2, 260, 0.890, 0.3, 10_096_086, 1.698, 0.805),
    ("b3", 1.2, 1.4, 300, 0.904, 0.3, 14_358_406, 3.011, 0.821),
)
"""Name, width, depth, pixels, crop, dropout, parameters, GMACs, the authors' top-1."""
_V1 = (
    ("b0", 1.0, 1.0, 224, 0.875, 0.2, 5_288_548, 0.386, "aa_in1k"),
    ("b1", 1.0, 1.1, 240, 0.882, 0.2, 7_794_184, 0.687, "aa_in1k"),
    ("b2", 1.1, 1.2, 260, 0.890, 0.3, 9_109_994, 0.994, "aa_in1k"),
    ("b3", 1.2, 1.4, 300, 0.904, 0.3, 12_233_232, 1.827, "aa_in1k"),
    ("b4", 1.4, 1.8, 380, 0.922, 0.4, 19_341_616, 4.394, "aa_in1k"),
    ("b5", 1.6, 2.2, 456, 0.934, 0.4, 30_389_784, 10.266, "aa_in1k"),
    ("b6", 1.8, 2.6, 528, 0.942, 0.5, 43_040_704, 19.068, "aa_in1k"),
    ("b7", 2.0, 3.1, 600, 0.949, 0.5, 66_347_960, 37.746, "aa_in1k"),
)
"""Name, width, depth, pixels, crop, dropout, parameters, GMACs, which weights of the hub."""

EFFICIENTNET_PRESETS: dict[str, Preset] = {
    "efficientnet_v2_atto": Preset(
        family="efficientnet_v2",
        options={"width": 0.25, "depth": 0.34},
        preprocess=Preprocess(image_size=64, crop_fraction=1.0),
        status="ours",
        paper=EFFICIENTNET_V2,
        parameters=165_386,
        gmacs=0.00268,
        fits=(32, 4),
        num_classes=10,
    ),
    **{
        f"efficientnet_v2_{size}": Preset(
            family="efficientnet_v2",
            options={
                **_v2(size),
                "dropout": dropout,
                "last_channel": 1792 if size == "s_draft" else 1280,
            },
            preprocess=Preprocess(
                image_size=side, crop_fraction=1.0, squash=True, **_MINUS_ONE_TO_ONE
            ),
            status="published" if size == "s_draft" else "exact",
            paper=EFFICIENTNET_V2,
            parameters=parameters,
            gmacs=gmacs,
            accuracy=accuracy,
            weights=f"hf://timm/{file}/model.safetensors" if file else "",
            licence="Apache-2.0" if file else "",
            drop_path=0.2,
        )
        for size, side, dropout, parameters, gmacs, accuracy, file in _V2
    },
    **{
        f"efficientnet_v2_{name}": Preset(
            family="efficientnet_v2",
            options={"width": width, "depth": depth, "dropout": dropout},
            preprocess=Preprocess(image_size=side, crop_fraction=crop),
            status="exact",
            paper=EFFICIENTNET_V2,
            parameters=parameters,
            gmacs=gmacs,
            accuracy=accuracy,
            weights=f"hf://timm/tf_efficientnetv2_{name}.in1k/model.safetensors",
            licence="Apache-2.0",
            drop_path=0.2,
        )
        for name, width, depth, side, crop, dropout, parameters, gmacs, accuracy in _V2_BASES
    },
    "efficientnet_atto": Preset(
        family="efficientnet",
        options={"width": 0.25, "depth": 0.4},
        preprocess=Preprocess(image_size=64, crop_fraction=1.0),
        status="ours",
        paper=EFFICIENTNET,
        parameters=202_032,
        gmacs=0.00251,
        fits=(32, 4),
        num_classes=10,
    ),
    **{
        f"efficientnet_{name}": Preset(
            family="efficientnet",
            options={"width": width, "depth": depth, "dropout": dropout},
            preprocess=Preprocess(image_size=side, crop_fraction=crop),
            status="exact",
            paper=EFFICIENTNET,
            parameters=parameters,
            gmacs=gmacs,
            weights=f"hf://timm/tf_efficientnet_{name}.{kind}/model.safetensors",
            licence="Apache-2.0",
            drop_path=0.2,
            **timm_result(f"tf_efficientnet_{name}.{kind}"),
        )
        for name, width, depth, side, crop, dropout, parameters, gmacs, kind in _V1
    },
}
"""The repository counts 119.5 million parameters for L, one per cent more than its own
configuration builds. The draft of S is that of the paper's first version, Table 4."""
