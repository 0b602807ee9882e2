"""Patch AutoAugment: agents that learn beside the model, on CIFAR, ImageNet and fine-grained sets.

Source: efficientnetv2-paa specification, section B6, from the scripts and configurations of
LinShiqi047/PatchAutoAugment at bb3cc07. What stands beside it in the paper's tables is a few flags:

    --augment.patches.credit uniform                                operations at random, no agents
    --augment reflect                                               crop and flip alone
    --augment reflect --augment.cutout 16                           Cutout
    --augment reflect --augment.policy autoaugment_cifar10 --augment.cutout 16     AutoAugment
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ninefold.augment.config import Augment
from ninefold.core.objects import name_of
from ninefold.engine.config import Run
from ninefold.models.presets import preset_of
from ninefold.optim.config import AdamW, Schedule, Sgd
from ninefold.recipes.parts import choose_augment, choose_optim, finish, required, share


@dataclass(frozen=True)
class _Setting:
    """A row of the table; `lr` is for 128 images, and the cosine falls from it to 0.

    Args:
        agents: Peak rate of the agents.
    """

    epochs: int
    lr: float
    weight_decay: float
    agents: float = 1e-3


_CIFAR: dict[str, dict[str, _Setting]] = {
    "paa_cifar10": {
        "wide_resnet": _Setting(200, 0.1, 5e-4),
        "shake_shake": _Setting(600, 0.2, 1e-4),
        "pyramidnet": _Setting(600, 0.1, 1e-4, agents=1e-4),
    },
    "paa_cifar100": {
        "wide_resnet": _Setting(200, 0.1, 5e-4),
        "shake_shake": _Setting(1200, 0.1, 5e-4),
        "pyramidnet": _Setting(1200, 0.5, 1e-4, agents=1e-4),
    },
}
"""By the family of the model; others take the row of Wide-ResNets."""


def paa_cifar10(
    *,
    model: object = "wide_resnet28_10",
    data: object = "",
    optim: object = "sgd",
    augment: object = "patches",
    batch_size: int = 128,
    **changes: Any,
) -> Run:
    """CIFAR-10 from nothing, 200 to 600 epochs. Published top-1: Wide-ResNet-28-10 97.43.

    Shake-Shake 26 2x32d 96.86, 2x96d 97.74, 2x112d 97.62; PyramidNet with ShakeDrop 98.23.

    ninefold train paa_cifar10 --model shake_shake26_2x96d --data torchvision://CIFAR10?root=FOLDER

    The authors' PyramidNet is `pyramidnet110_a270`; the one of the policies that it is compared
    with is `pyramidnet272_a200_shakedrop`. Theirs are the best epochs on the test set.
    """
    run = _cifar("paa_cifar10", model, data, optim, augment, batch_size)
    return finish(run, changes)


def paa_cifar100(
    *,
    model: object = "wide_resnet28_10",
    data: object = "",
    optim: object = "sgd",
    augment: object = "patches",
    batch_size: int = 128,
    **changes: Any,
) -> Run:
    """CIFAR-100 from nothing, 200 to 1200 epochs. Published top-1: Wide-ResNet-28-10 82.74.

    Shake-Shake 26 2x96d 84.11; PyramidNet with ShakeDrop 85.80.

    ninefold train paa_cifar100 --data torchvision://CIFAR100?root=FOLDER
    """
    run = _cifar("paa_cifar100", model, data, optim, augment, batch_size)
    return finish(run, changes)


def _cifar(
    recipe: str, model: object, data: object, optim: object, augment: object, batch_size: int
) -> Run:
    name = name_of(model)
    preset = preset_of(name)
    table = _CIFAR[recipe]
    row = table.get(preset.family, table["wide_resnet"])
    address = "FOLDER with train/ and test/, or torchvision://CIFAR10?root=FOLDER"
    return Run(
        recipe=recipe,
        model=name,
        data=name_of(required(recipe, "data", data, address.replace("10?", f"{recipe[9:]}?"))),
        preprocess=preset.preprocess,
        augment=_with_rate(augment, row.agents),
        optim=choose_optim(optim, _sgd(row, share(batch_size, 128)), _ADAMW),
        schedule=Schedule(warmup=0.0),
        batch_size=batch_size,
        epochs=row.epochs,
    )


def paa_imagenet(
    *,
    model: object = "resnet50",
    data: object = "",
    optim: object = "sgd",
    augment: object = "patches_imagenet",
    batch_size: int = 256,
    **changes: Any,
) -> Run:
    """ImageNet-1k from nothing, 270 epochs, 4 x 4 patches. Published top-1: ResNet-50 77.35.

    ninefold train paa_imagenet --data FOLDER

    The authors' code for ImageNet was never released: length and rates are those of Fast
    AutoAugment's ResNet-50, with which theirs is compared; the agents start from nothing on a
    ResNet-18, which has 0.4 of the model's multiply-adds (`--augment.patches.trunk ''`: a tenth).
    """
    name = name_of(model)
    row = _Setting(270, 0.05, 1e-4)
    run = Run(
        recipe="paa_imagenet",
        model=name,
        data=name_of(
            required("paa_imagenet", "data", data, "FOLDER with train/<class>/ and val/<class>/")
        ),
        preprocess=preset_of(name).preprocess,
        augment=choose_augment(augment),
        optim=choose_optim(optim, _sgd(row, share(batch_size, 128)), _ADAMW),
        schedule=Schedule(
            kind="steps", warmup=5 / 270, drops=(90 / 270, 180 / 270, 240 / 270), drop_factor=0.1
        ),
        batch_size=batch_size,
        epochs=row.epochs,
    )
    return finish(run, changes)


_PHOTOS: dict[str, tuple[int, int, float]] = {
    "resnet18": (96, 400, 1e-3),
    "resnet34": (64, 120, 1e-4),
    "resnet50": (64, 300, 1e-3),
    "resnet101": (48, 300, 1e-3),
    "resnet152": (32, 300, 1e-3),
}
"""Batch, epochs and the agents' rate by model, from the configurations; others take ResNet-50's."""


def finetune_paa(
    *,
    model: object = "resnet50",
    data: object = "",
    weights: str | Path = "pretrained",
    optim: object = "sgd",
    augment: object = "patches_photos",
    batch_size: int = 0,
    **changes: Any,
) -> Run:
    """A trained ResNet on a fine-grained set: birds (CUB-200-2011), dogs, cars, aircraft, or yours.

    ninefold train finetune_paa --data FOLDER
    ninefold train finetune_paa --data FOLDER --image-size 448 --augment.patches.grid 14

    4 x 4 patches; agents on a ResNet-18 that is trained already; operations that fade out, and two
    of them left out; without a batch size, that of the model (64). Published for Stanford Dogs at
    224 pixels after 50 of 150 epochs: 83.64 (best 85.54). A head whose classes differ is replaced.

    Departs: the authors' learning rates alternate with 0 by an oversight, and their training images
    are normalised otherwise than those of the evaluation; here a cosine, and one normalisation.
    """
    name = name_of(model)
    preset = preset_of(name)
    batch, epochs, agents = _PHOTOS.get(name, _PHOTOS["resnet50"])
    sgd = Sgd(lr=1e-3, weight_decay=1e-4, momentum=0.9, nesterov=True)
    run = Run(
        recipe="finetune_paa",
        model=name,
        data=name_of(required("finetune_paa", "data", data, "FOLDER with one folder a class")),
        weights=str(weights),
        reset_head=True,
        head_map="" if "reset_head" in changes else "names",
        preprocess=preset.preprocess.changed(crop_fraction=0.875),
        augment=_with_rate(augment, agents),
        optim=choose_optim(optim, sgd, AdamW(lr=1e-4, weight_decay=0.05)),
        schedule=Schedule(warmup=0.0),
        batch_size=batch_size or batch,
        epochs=epochs,
    )
    return finish(run, changes)


_ADAMW = AdamW(lr=1e-3, weight_decay=0.05)


def _sgd(row: _Setting, scale: float) -> Sgd:
    return Sgd(lr=row.lr * scale, weight_decay=row.weight_decay, momentum=0.9, nesterov=True)


def _with_rate(augment: object, rate: float) -> Augment:
    """The augmentation of that name with the table's rate for its agents; yours as it is."""
    chosen = choose_augment(augment)
    if isinstance(augment, Augment) or not chosen.patches.grid:
        return chosen
    return chosen.changed(patches=chosen.patches.changed(lr=rate))
