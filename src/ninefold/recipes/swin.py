"""Swin Transformer: training on ImageNet as the authors' released configurations do it.

Source: hierarchical-transformers specification, sections 1.1 (drop path) and 1.12 (the rest), from
the configurations of the authors' repository; where the paper's text differs, they hold.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ninefold.core.objects import name_of
from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.models.presets import preset_of
from ninefold.optim.config import AdamW, Schedule
from ninefold.recipes.parts import choose_augment, choose_optim, finish, required, share
from ninefold.tasks.config import Loss

IMAGENET = "FOLDER with train/<class>/ and val/<class>/"


@dataclass(frozen=True)
class _Setting:
    """One column of the table. `lr` is for 512 images; warm-up starts at a thousandth and the
    cosine ends at a hundredth of it in every column."""

    epochs: int
    warmup_epochs: int
    lr: float
    weight_decay: float
    drop_path: dict[str, float]


_SCRATCH = _Setting(300, 20, 5e-4, 0.05, {"tiny": 0.2, "small": 0.3, "base": 0.5})
_IN22K = _Setting(90, 5, 1.25e-4, 0.05, {"tiny": 0.1, "small": 0.2, "base": 0.2, "large": 0.2})
_IN22K_TO_1K = _Setting(30, 5, 2e-5, 1e-8, _IN22K.drop_path)
_LARGER = _Setting(30, 5, 2e-5, 1e-8, {"base": 0.5})


def swin_in1k(
    *,
    model: object = "swin_tiny",
    data: object = "",
    optim: object = "adamw",
    augment: object = "swin",
    batch_size: int = 1024,
    **changes: Any,
) -> Run:
    """ImageNet-1k from nothing, 300 epochs. Published top-1: T 81.2, S 83.2, B 83.5.

    ninefold train swin_in1k --model swin_tiny --data FOLDER
    """
    run = _run("swin_in1k", _SCRATCH, model, data, optim, augment, batch_size)
    return finish(run, changes)


def swin_in22k(
    *,
    model: object = "swin_base",
    data: object = "",
    optim: object = "adamw",
    augment: object = "swin",
    batch_size: int = 4096,
    **changes: Any,
) -> Run:
    """ImageNet-22k from nothing, 90 epochs: what `swin_in22k_to_1k` starts from.

    ninefold train swin_in22k --model swin_base --data FOLDER
    """
    run = _run("swin_in22k", _IN22K, model, data, optim, augment, batch_size)
    return finish(run, changes)


def swin_in22k_to_1k(
    *,
    model: object = "",
    data: object = "",
    weights: str | Path = "",
    image_size: int = 0,
    optim: object = "adamw",
    augment: object = "swin",
    batch_size: int = 1024,
    **changes: Any,
) -> Run:
    """From ImageNet-22k weights to ImageNet-1k, 30 epochs, at 224 or 384 pixels.

    Published top-1: T 80.9, S 83.2, B 85.2, L 86.3; at 384: B 86.4, L 87.3.

    ninefold train swin_in22k_to_1k --weights FILE --data FOLDER
    ninefold train swin_in22k_to_1k --weights FILE --data FOLDER --image-size 384

    The head starts with the rows of the 1,000 classes, as the authors' list has them.
    """
    recipe = "swin_in22k_to_1k"
    name = name_of(model) or ("swin_base_384" if image_size == 384 else "swin_base")
    run = _run(recipe, _IN22K_TO_1K, name, data, optim, augment, batch_size, image_size)
    weights = required(recipe, "weights", weights, "FILE with the weights of ImageNet-22k")
    return finish(run, {"weights": weights, "head_map": "imagenet-22k-to-1k", **changes})


def swin_384(
    *,
    model: object = "swin_base_384",
    data: object = "",
    weights: str | Path = "",
    optim: object = "adamw",
    augment: object = "swin",
    batch_size: int = 1024,
    **changes: Any,
) -> Run:
    """From 224 to 384 pixels on ImageNet-1k, 30 epochs. Published top-1: B 84.5.

    ninefold train swin_384 --weights FILE --data FOLDER
    """
    run = _run("swin_384", _LARGER, model, data, optim, augment, batch_size, 384)
    weights = required("swin_384", "weights", weights, "FILE with weights trained at 224 pixels")
    return finish(run, {"weights": weights, **changes})


def _run(
    recipe: str,
    setting: _Setting,
    model: object,
    data: object,
    optim: object,
    augment: object,
    batch_size: int,
    image_size: int = 0,
) -> Run:
    name = name_of(model)
    preprocess = preset_of(name).preprocess
    if image_size:
        preprocess = Preprocess(image_size=image_size, squash=image_size == 384)
    adamw = AdamW(
        lr=setting.lr * share(batch_size, 512),
        weight_decay=setting.weight_decay,
        betas=(0.9, 0.999),
        eps=1e-8,
    )
    return Run(
        recipe=recipe,
        model=name,
        data=name_of(required(recipe, "data", data, IMAGENET)),
        drop_path=_drop_path(name, setting),
        preprocess=preprocess,
        augment=choose_augment(augment),
        loss=Loss(label_smoothing=0.1),
        optim=choose_optim(optim, adamw),
        schedule=Schedule(
            kind="cosine",
            warmup=setting.warmup_epochs / setting.epochs,
            start=1e-3,
            final=1e-2,
        ),
        batch_size=batch_size,
        epochs=setting.epochs,
        clip_norm=5.0,
    )


def _drop_path(model: str, setting: _Setting) -> float:
    """The table's value for the model's size; none for a model that the table does not name."""
    family, _, size = model.removesuffix("_384").partition("_")
    return setting.drop_path.get(size, 0.0) if family == "swin" else 0.0
