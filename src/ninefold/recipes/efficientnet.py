"""EfficientNetV2: progressive learning on ImageNet, as the paper has it and as the released code.

Source: efficientnetv2-paa specification, sections A7 (stages) and A8 (the rest), from the paper
(Tan & Le 2021, arXiv 2104.00298, sections 4.2 and 5, Table 6) and google/automl.
Departs: Mixup and CutMix draw one weight a batch, and where both are on, half of the batches get
each; the released code draws one an image and gives each to half of a batch. AutoAugment is the
policy of its paper, by torchvision; the released code's `v0` is another one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ninefold.augment.config import Augment
from ninefold.core.objects import name_of
from ninefold.engine.config import Run, Stages
from ninefold.models.presets import preset_of
from ninefold.optim.config import Optim, RmspropTf, Schedule
from ninefold.recipes.parts import choose_augment, choose_optim, finish, required, share
from ninefold.tasks.config import Loss

IMAGENET = "FOLDER with train/<class>/ and val/<class>/"
EPOCHS = 350
BASES = ("b0", "b1", "b2", "b3")


@dataclass(frozen=True)
class _Growth:
    """A column of the table: first and last values of the four stages."""

    image_size: tuple[int, int]
    magnitude: tuple[float, float] | None
    mixup: tuple[float, float]
    dropout: tuple[float, float] | None


_PAPER = {
    "s": _Growth((128, 300), (5, 15), (0.0, 0.0), (0.1, 0.3)),
    "m": _Growth((128, 380), (5, 20), (0.0, 0.2), (0.1, 0.4)),
    "l": _Growth((128, 380), (5, 25), (0.0, 0.5), (0.1, 0.5)),
}
"""Table 6; of L one transcription has Mixup up to 0.4."""

_CODE = {
    "s": _Growth((171, 300), (5, 10), (0.0, 0.0), None),
    "m": _Growth((192, 384), (5, 15), (0.0, 0.2), None),
    "l": _Growth((192, 384), (5, 20), (0.0, 0.5), None),
    "xl": _Growth((192, 384), (5, 20), (0.0, 0.5), None),
    "b0": _Growth((144, 192), None, (0.0, 0.0), None),
    "b1": _Growth((144, 192), None, (0.0, 0.0), None),
    "b2": _Growth((148, 208), None, (0.0, 0.0), None),
    "b3": _Growth((156, 240), None, (0.0, 0.0), None),
}
"""The first stage is a quarter of the way from 128 pixels; CutMix goes with Mixup, and dropout is
the model's in all stages. B0 to B3 have AutoAugment in place of RandAugment."""


def efficientnet_v2_in1k(
    *,
    model: object = "efficientnet_v2_s",
    data: object = "",
    image_size: int = 0,
    optim: object = "rmsprop_tf",
    augment: object = "efficientnet_v2",
    batch_size: int = 4096,
    **changes: Any,
) -> Run:
    """ImageNet-1k from nothing, 350 epochs in four stages, by the paper's table.

    Published top-1: S 83.9, M 85.1, L 85.7.

    ninefold train efficientnet_v2_in1k --model efficientnet_v2_s --data FOLDER

    B0 to B3 have AutoAugment and no stages, as in the paper. Any other model has the column of S,
    with sizes in proportion to its own; it trains at multiples of 32 pixels, or of its patch.
    """
    name = "efficientnet_v2_in1k"
    run = _run(name, _PAPER, model, data, optim, augment, batch_size, image_size)
    return finish(run, changes)


def efficientnet_v2_in1k_code(
    *,
    model: object = "efficientnet_v2_s",
    data: object = "",
    image_size: int = 0,
    optim: object = "rmsprop_tf",
    augment: object = "efficientnet_v2",
    batch_size: int = 4096,
    **changes: Any,
) -> Run:
    """As `efficientnet_v2_in1k`, with sizes and magnitudes of the released code.

    ninefold train efficientnet_v2_in1k_code --model efficientnet_v2_m --data FOLDER
    """
    name = "efficientnet_v2_in1k_code"
    run = _run(name, _CODE, model, data, optim, augment, batch_size, image_size)
    return finish(run, changes)


def efficientnet_v2_in21k(
    *,
    model: object = "efficientnet_v2_m",
    data: object = "",
    optim: object = "rmsprop_tf",
    augment: object = "inception",
    batch_size: int = 4096,
    **changes: Any,
) -> Run:
    """ImageNet-21k from nothing, 60 epochs at 224 pixels, without stages and regularisation.

    ninefold train efficientnet_v2_in21k --model efficientnet_v2_m --data FOLDER

    The schedule is the paper's cosine; the rest is that of the released code.
    """
    name = name_of(model)
    run = Run(
        recipe="efficientnet_v2_in21k",
        model=name,
        model_options=_without_dropout(name),
        data=name_of(required("efficientnet_v2_in21k", "data", data, "FOLDER of ImageNet-21k")),
        preprocess=preset_of(name).preprocess.changed(image_size=224),
        augment=choose_augment(augment),
        loss=Loss(),
        optim=_rmsprop(optim, 0.008 * share(batch_size, 256)),
        schedule=Schedule(kind="cosine", warmup=1 / 60, start=0.0),
        batch_size=batch_size,
        epochs=60,
        ema=0.9999,
        ema_rule="tensorflow",
    )
    return finish(run, changes)


_TUNING: dict[str, Any] = {
    "reset_head": True,
    "drop_path": 0.2,
    "loss": Loss(label_smoothing=0.1),
    "ema": 0.9996,
    "ema_rule": "tensorflow",
}
"""What both fine-tunings have."""


def finetune_efficientnet_v2_in21k(
    *,
    model: object = "efficientnet_v2_m",
    data: object = "",
    weights: str | Path = "",
    image_size: int = 0,
    optim: object = "rmsprop_tf",
    augment: object = "",
    batch_size: int = 512,
    **changes: Any,
) -> Run:
    """From ImageNet-21k weights to ImageNet-1k, 15 epochs at the size of evaluation.

    Published top-1: S 84.9, M 86.2, L 86.8, XL 87.3.

    ninefold train finetune_efficientnet_v2_in21k --weights FILE --data FOLDER

    Departs: the square of half the image's side that is cut out gets the mean colour, and in the
    released code noise.
    """
    recipe, name = "finetune_efficientnet_v2_in21k", name_of(model)
    preprocess = preset_of(name).preprocess
    size = (image_size or preprocess.image_size) // 16 * 16
    run = Run(
        recipe=recipe,
        model=name,
        model_options=_without_dropout(name),
        data=name_of(required(recipe, "data", data, IMAGENET)),
        weights=str(required(recipe, "weights", weights, "FILE with weights of ImageNet-21k")),
        preprocess=preprocess.changed(image_size=size),
        augment=choose_augment(augment or _cutout(size)),
        optim=_rmsprop(optim, 0.0005 * share(batch_size, 256)),
        schedule=Schedule(kind="constant", warmup=1 / 15, start=0.0),
        batch_size=batch_size,
        epochs=15,
        **_TUNING,
    )
    return finish(run, changes)


def finetune_efficientnet_v2(
    *,
    model: object = "efficientnet_v2_s",
    data: object = "",
    weights: str | Path = "pretrained",
    image_size: int = 0,
    optim: object = "rmsprop_tf",
    augment: object = "",
    batch_size: int = 512,
    **changes: Any,
) -> Run:
    """ImageNet-1k weights to CIFAR, flowers or cars: 10,000 steps, without weight decay.

    Published top-1 of S: CIFAR-10 98.7, CIFAR-100 91.5, Flowers 97.9, Cars 93.8 (means of five).

    ninefold train finetune_efficientnet_v2 --data FOLDER --seeds 5
    """
    recipe, name = "finetune_efficientnet_v2", name_of(model)
    preprocess = preset_of(name).preprocess
    size = image_size or preprocess.image_size
    run = Run(
        recipe=recipe,
        model=name,
        data=name_of(required(recipe, "data", data, "FOLDER with one folder a class")),
        weights=str(weights),
        preprocess=preprocess.changed(image_size=size),
        augment=choose_augment(augment or _cutout(size)),
        optim=_rmsprop(optim, 0.001 * share(batch_size, 512), weight_decay=0.0),
        schedule=Schedule(kind="cosine", warmup=0.0),
        batch_size=batch_size,
        steps=10_000,
        **_TUNING,
    )
    return finish(run, changes)


def _run(
    recipe: str,
    table: dict[str, _Growth],
    model: object,
    data: object,
    optim: object,
    augment: object,
    batch_size: int,
    image_size: int,
) -> Run:
    name = name_of(model)
    preset, chosen = preset_of(name), choose_augment(augment)
    if _size(name) in BASES and augment == "efficientnet_v2":
        chosen = chosen.changed(randaugment="", policy="autoaugment")
    run = Run(
        recipe=recipe,
        model=name,
        data=name_of(required(recipe, "data", data, IMAGENET)),
        drop_path=preset.drop_path,
        preprocess=preset.preprocess,
        augment=chosen,
        stages=_stages(name, image_size or preset.preprocess.image_size, table, chosen),
        loss=Loss(label_smoothing=0.1),
        optim=_rmsprop(optim, 0.016 * share(batch_size, 256)),
        schedule=Schedule(
            kind="steps", warmup=5 / EPOCHS, start=0.0, period=2.4 / EPOCHS, drop_factor=0.97
        ),
        batch_size=batch_size,
        epochs=EPOCHS,
        ema=0.9999,
        ema_rule="tensorflow",
    )
    return finish(run, {"image_size": image_size} if image_size else {})


def _stages(model: str, image_size: int, table: dict[str, _Growth], augment: Augment) -> Stages:
    size = _size(model)
    if size in BASES and size not in table:
        return Stages()
    own = size in table
    growth = table[size if own else "s"]
    first, last = growth.image_size
    if own:
        pixels: dict[str, Any] = {"image_size": (first, last)}
    else:
        unit = 32 if image_size >= 128 else 4
        patch = preset_of(model).options.get("patch_size", 1)
        unit = patch if unit % patch else unit
        pixels = {"image_size": (round(first / last * image_size), image_size), "multiple": unit}
    mixing = growth.mixup if any(growth.mixup) else ()
    return Stages(
        count=4,
        magnitude=growth.magnitude if growth.magnitude and augment.randaugment else (),
        mixup=mixing,
        cutmix=mixing if growth.dropout is None else (),
        dropout=growth.dropout if own and growth.dropout else (),
        **pixels,
    )


def _size(model: str) -> str:
    """What tells an EfficientNetV2 from the others; nothing for another model."""
    family, _, size = model.rpartition("_")
    return size if family == "efficientnet_v2" else ""


def _rmsprop(optim: object, rate: float, *, weight_decay: float = 1e-5) -> Optim:
    """With the paper's numbers; another optimizer has its own, and SAM stands on this one."""
    numbers = RmspropTf(lr=rate, weight_decay=weight_decay, decay=0.9, momentum=0.9, eps=1e-3)
    return choose_optim(optim, numbers)


def _cutout(image_size: int) -> Augment:
    return Augment(crop="none", cutout=image_size // 2)


def _without_dropout(model: str) -> tuple[str, ...]:
    return ("dropout=0",) if model.startswith("efficientnet") else ()
