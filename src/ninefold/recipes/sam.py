"""ViT, Mixer and ResNet from nothing with SAM, without strong augmentation.

Source: Chen, Hsieh and Gong 2022, arXiv 2106.01548, by the vit-augreg-sam specification, section 7.
All constants are recalled there and were not read again in the paper, but for the radius of
ViT-B/16, which its first author confirmed, and for AdamW's rate, decay, length and clipping, which
the authors' sibling configuration of GSAM has too. Least sure: the cosine of the ViTs.
"""

from dataclasses import dataclass
from typing import Any

from ninefold.core.errors import Refused
from ninefold.core.objects import name_of
from ninefold.engine.config import Run
from ninefold.models.presets import preset_of
from ninefold.optim.config import AdamW, Optim, Schedule, Sgd
from ninefold.recipes.parts import choose_augment, choose_optim, finish, required, share

IMAGES, BATCH = 1_281_167, 4096


@dataclass(frozen=True)
class _Setting:
    """One column of the table.

    Args:
        warmup: Steps of 4,096 images.
        lr: Peak for 4,096 images.
        options: Of the model.
    """

    epochs: int
    warmup: int
    lr: float
    decay: str
    weight_decay: float
    options: tuple[str, ...] = ()
    drop_path: float = 0.0


_RESNET = _Setting(90, 5_000, 0.1 * BATCH / 256, "cosine", 1e-3)
_VIT = _Setting(300, 10_000, 3e-3, "cosine", 0.3, options=("drop_rate=0.1",))
_MIXER = _Setting(300, 10_000, 3e-3, "linear", 0.3, drop_path=0.1)
_FAMILIES = {"resnet": _RESNET, "vit": _VIT, "mixer": _MIXER}

RADII = {
    **{"resnet50": 0.02, "resnet101": 0.05, "resnet152": 0.02},
    **{"resnet50x2": 0.05, "resnet101x2": 0.05, "resnet152x2": 0.05},
    **{"vit_s32": 0.05, "vit_s16": 0.1, "vit_s14": 0.1, "vit_s8": 0.15},
    **{"vit_b32": 0.15, "vit_b16": 0.2},
    **{"mixer_s32": 0.1, "mixer_s16": 0.15, "mixer_s8": 0.2},
    **{"mixer_b32": 0.35, "mixer_b16": 0.6, "mixer_b8": 0.6},
}
"""rho by model, for climbs by 64 images each (or 32: the number of devices does not tell)."""


def sam_in1k(
    *,
    model: object = "vit_b16",
    data: object = "",
    optim: object = "sam",
    augment: object = "inception",
    batch_size: int = BATCH,
    **changes: Any,
) -> Run:
    """ImageNet-1k from nothing with SAM: ViTs and Mixers 300 epochs, ResNets 90.

    Top-1 (recalled): ViT-S/16 78.1, B/16 79.9; Mixer-B/16 77.4; ResNet-50 76.7, -152 79.3.

    ninefold train sam_in1k --model vit_b16 --data FOLDER --optim.shards 64
    ninefold train sam_in1k --model resnet50 --data FOLDER --optim sgd      (the baseline)

    The radii belong to 64 devices of 64 images that climb each by its own gradient: with fewer,
    `--optim.shards` cuts each one's share into as many parts, or a larger `--optim.rho` makes up
    for it. The paper's strong augmentation is `augreg_medium2` (recalled); it asks for a smaller
    radius, 0.05 for ViT-B/16.
    """
    name = name_of(model)
    preset = preset_of(name)
    if preset.family not in _FAMILIES:
        raise Refused(
            f"sam_in1k: has no constants for {name}, a model of the family {preset.family}; the "
            f"paper trains {', '.join(_FAMILIES)}, and `--optim sam` works in every recipe"
        )
    setting = _FAMILIES[preset.family]
    run = Run(
        recipe="sam_in1k",
        model=name,
        model_options=setting.options,
        data=name_of(required("sam_in1k", "data", data, "FOLDER with train/ and val/ of classes")),
        drop_path=setting.drop_path,
        preprocess=preset.preprocess,
        augment=choose_augment(augment),
        optim=_optimizer(optim, name, setting, setting.lr * share(batch_size, BATCH)),
        schedule=Schedule(
            kind="linear" if setting.decay == "linear" else "cosine",
            warmup=setting.warmup / (setting.epochs * IMAGES / BATCH),
            start=0.0,
        ),
        batch_size=batch_size,
        epochs=setting.epochs,
        clip_norm=1.0,
    )
    return finish(run, changes)


def _optimizer(optim: object, model: str, setting: _Setting, lr: float) -> Optim:
    """SGD trains the ResNets and AdamW the others, on which SAM and its variants stand, too.

    The other one, asked for by name, has its own defaults and none of the table's numbers.
    """
    build = Sgd if setting is _RESNET else AdamW
    chosen = choose_optim(optim, build(lr=lr, weight_decay=setting.weight_decay))
    return chosen.changed(rho=RADII[model]) if optim == "sam" and model in RADII else chosen
