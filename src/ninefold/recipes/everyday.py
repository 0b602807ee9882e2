"""Recipes of no paper: a first result, and training on one's own photos from given weights."""

from pathlib import Path
from typing import Any

from ninefold.core.objects import name_of
from ninefold.engine.config import Run
from ninefold.models.presets import preset_of
from ninefold.optim.config import AdamW, Schedule, Sgd
from ninefold.recipes.parts import choose_augment, choose_optim, finish, required, share
from ninefold.tasks.config import Loss


def quickstart(
    *,
    model: object = "swin_atto",
    data: object = "synthetic://classification?size=48&train=8000",
    optim: object = "adamw",
    augment: object = "light",
    batch_size: int = 64,
    **changes: Any,
) -> Run:
    """A small model from nothing: generated shapes, or small photos, in about a minute on a laptop.

    ninefold train                                  (generated data; no file, no network)
    ninefold train quickstart --data FOLDER
    """
    name = name_of(model)
    preset = preset_of(name)
    scale = share(batch_size, 64)
    run = Run(
        recipe="quickstart",
        model=name,
        data=name_of(data),
        drop_path=min(0.1, preset.drop_path),
        preprocess=preset.preprocess,
        fit_image_size=name.endswith("_atto"),
        augment=choose_augment(augment),
        loss=Loss(label_smoothing=0.05),
        optim=choose_optim(
            optim,
            AdamW(lr=3e-3 * scale, weight_decay=0.05),
            Sgd(lr=0.05 * scale, nesterov=True),
        ),
        schedule=Schedule(warmup=0.1, final=0.01),
        batch_size=batch_size,
        steps=550,
        clip_norm=1.0,
    )
    return finish(run, changes)


def swin_cifar10(
    *,
    model: object = "swin_atto",
    data: object = "",
    optim: object = "adamw",
    augment: object = "pad",
    batch_size: int = 128,
    **changes: Any,
) -> Run:
    """A small Swin Transformer on CIFAR-10, or on other photos of 32 pixels, from nothing.

    ninefold train swin_cifar10 --data FOLDER --seeds 3

    75.9 % top-1 on CIFAR-10 (JPEG), over 3 seeds, in 26 minutes of one core each (docs/small.md).
    """
    name = name_of(model)
    preset = preset_of(name)
    scale = share(batch_size, 128)
    run = Run(
        recipe="swin_cifar10",
        model=name,
        data=name_of(required("swin_cifar10", "data", data, "FOLDER with train/ and test/")),
        drop_path=min(0.1, preset.drop_path),
        preprocess=preset.preprocess,
        fit_image_size=True,
        augment=choose_augment(augment),
        loss=Loss(label_smoothing=0.05),
        optim=choose_optim(
            optim,
            AdamW(lr=3e-3 * scale, weight_decay=0.05),
            Sgd(lr=0.1 * scale, nesterov=True),
        ),
        schedule=Schedule(warmup=0.1, final=0.01),
        batch_size=batch_size,
        epochs=24,
        clip_norm=1.0,
    )
    return finish(run, changes)


def finetune(
    *,
    model: object = "swin_tiny",
    data: object = "",
    weights: str | Path = "pretrained",
    optim: object = "adamw",
    augment: object = "light",
    batch_size: int = 64,
    **changes: Any,
) -> Run:
    """A trained model on one's own images: small rate, gentle augmentation, a new head.

    ninefold train finetune --data FOLDER --weights FILE

    A head whose classes differ from the data's is replaced, and the run says so.
    """
    name = name_of(model)
    preset = preset_of(name)
    scale = share(batch_size, 64)
    run = Run(
        recipe="finetune",
        model=name,
        data=name_of(required("finetune", "data", data, "FOLDER with one folder a class")),
        weights=str(weights),
        reset_head=True,
        head_map="" if "reset_head" in changes else "names",
        drop_path=min(0.1, preset.drop_path),
        preprocess=preset.preprocess,
        augment=choose_augment(augment),
        loss=Loss(label_smoothing=0.1),
        optim=choose_optim(
            optim,
            AdamW(lr=1e-4 * scale, weight_decay=0.05),
            Sgd(lr=0.01 * scale, weight_decay=1e-4, nesterov=True),
        ),
        schedule=Schedule(warmup=0.1, final=0.01),
        batch_size=batch_size,
        epochs=20,
        clip_norm=5.0,
    )
    return finish(run, changes)
