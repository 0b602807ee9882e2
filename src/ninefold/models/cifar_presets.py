"""Presets of the networks that CIFAR is trained with.

Source: efficientnetv2-paa specification, part C (parameters, multiply-adds) and section B6
(normalisation).
"""

from typing import Any

from ninefold.core.preprocess import Preprocess
from ninefold.models.preset import Preset

WIDE = "Zagoruyko & Komodakis 2016, arXiv 1605.07146"
SHAKE = "Gastaldi 2017, arXiv 1705.07485"
PYRAMID = "Han et al. 2017, arXiv 1610.02915"

_INPUT = Preprocess(
    image_size=32,
    crop_fraction=1.0,
    mean=(125.3 / 255, 123.0 / 255, 113.9 / 255),
    std=(63.0 / 255, 62.1 / 255, 66.7 / 255),
)
_ROWS: tuple[tuple[str, str, str, dict[str, Any], int, float], ...] = (
    ("wide_resnet_atto", "wide_resnet", WIDE, {"depth": 10, "width": 1}, 77_850, 0.0125),
    ("wide_resnet28_10", "wide_resnet", WIDE, {"depth": 28, "width": 10}, 36_479_194, 5.243),
    ("wide_resnet40_2", "wide_resnet", WIDE, {"depth": 40, "width": 2}, 2_243_546, 0.3276),
    ("shake_shake_atto", "shake_shake", SHAKE, {"depth": 8, "width": 16}, 152_490, 0.0243),
    ("shake_shake26_2x32d", "shake_shake", SHAKE, {"width": 32}, 2_989_002, 0.427),
    ("shake_shake26_2x96d", "shake_shake", SHAKE, {"width": 96}, 26_777_546, 3.777),
    ("shake_shake26_2x112d", "shake_shake", SHAKE, {"width": 112}, 36_435_402, 5.135),
    (
        "pyramidnet_atto", "pyramidnet", PYRAMID,
        {"depth": 11, "alpha": 16, "bottleneck": True}, 37_968, 0.01314,
    ),
    (
        "pyramidnet272_a200_shakedrop", "pyramidnet", PYRAMID,
        {"depth": 272, "alpha": 200, "bottleneck": True}, 26_210_842, 4.489,
    ),
    (
        "pyramidnet110_a270", "pyramidnet", PYRAMID,
        {"depth": 110, "alpha": 270, "bottleneck": False}, 28_485_477, 4.718,
    ),
)  # fmt: skip
"""Name, family, paper, options, parameters, GMACs. The specification's 5.95 GMACs are those of
Wide-ResNet-28-10 with strides on the second convolutions. Of the Shake-Shake networks' parameters
2 % never do anything, as in the reference."""

CIFAR_PRESETS: dict[str, Preset] = {
    name: Preset(
        family=family,
        options=options,
        preprocess=_INPUT,
        status="ours" if name.endswith("_atto") else "exact",
        paper=paper,
        parameters=parameters,
        gmacs=gmacs,
        num_classes=10,
    )
    for name, family, paper, options, parameters, gmacs in _ROWS
}
