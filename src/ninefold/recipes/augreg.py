"""AugReg: ViTs and hybrids pre-trained on ImageNet with 28 settings, and fine-tuned by a grid.

Source: Steiner et al. 2021, arXiv 2106.10270, sections 3.3 to 3.5 and Table 4, by the
vit-augreg-sam specification, sections 5.1 and 6, which also has what google-research/big_vision
sets beyond it (loss, bias of the head, augmentation by model, validation parts).
Departs: moments are kept in float32, where the authors keep the first one in bfloat16; images are
resized with antialiasing at evaluation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import name_of
from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.models.augreg import AUGMENTS as FILES
from ninefold.models.augreg import FileName
from ninefold.models.presets import preset_of
from ninefold.optim.config import AdamW, Schedule, Sgd
from ninefold.recipes.parts import (
    AUGMENTS,
    AUGREG,
    choose_augment,
    choose_optim,
    finish,
    required,
    share,
)
from ninefold.tasks.config import Loss

BATCH, WARMUP, EPOCHS = 4096, 10_000, 300
"""Images a step, steps of warm-up, and passes of pre-training."""
IN1K_STEPS = EPOCHS * 1_268_356 / BATCH
"""Of 300 epochs of ImageNet-1k but for the hundredth that is held out; 30 epochs of ImageNet-21k
take about as many."""


@dataclass(frozen=True)
class Setting:
    """One of the 28.

    Args:
        augment: The paper's name, `none` to `strong2`.
        weight_decay: As AdamW counts it at a rate of 0.001: at the peak a step takes a thousandth
            of it from the kernels.
        dropout: Probability.
        drop_path: Probability for the last block.
    """

    augment: str
    weight_decay: float = 0.1
    dropout: float = 0.0
    drop_path: float = 0.0

    def __str__(self) -> str:
        """In the spelling of the files, but with the paper's name in front."""
        told = f"wd_{self.weight_decay}-do_{self.dropout}-sd_{self.drop_path}"
        return f"{self.augment}-{told}"


SETTINGS: dict[str, Setting] = {
    str(one): one
    for augment in AUGREG
    for weight_decay in (0.1, 0.03)
    for rate in (0.0, 0.1)
    for one in [Setting(augment, weight_decay, rate, rate)]
}
"""All 28: seven augmentations, two decays, dropout and stochastic depth both off or both on."""

_IN1K = {
    "ti16": "light1", "s32": "medium1", "s16": "medium2", "b32": "medium2", "b16": "medium2",
    "l16": "medium2",
}  # fmt: skip
_IN21K = {
    "ti16": "none", "s32": "none", "s16": "light1", "b32": "light2", "b16": "light2",
    "l16": "medium2",
}  # fmt: skip
_DROPPING = ("b32", "b16", "l16")
"""What dropout and stochastic depth help on ImageNet-1k."""


def find_setting(name: str) -> Setting:
    """A setting by the paper's name or by that of a file.

    Args:
        name: `medium1` (decay 0.1, no dropout); `medium1-wd_0.03-do_0.1-sd_0.1`; behind `aug_` as
            files spell it, with `light0` for the paper's `light1`; or a whole file's name.

    Raises:
        Refused: none of them; the nearest is told.
    """
    if name in SETTINGS:
        return SETTINGS[name]
    if name in AUGREG:
        return Setting(name)
    if name.startswith("aug_"):
        try:
            return find_setting(f"B_16-i21k-300ep-lr_0.001-{name}")
        except Refused:
            raise Refused(
                f"augreg: {name!r} is no part of a file's name; one is "
                f"aug_light1-wd_0.1-do_0.0-sd_0.0, and the augmentations are {', '.join(FILES)}"
            ) from None
    if "aug_" in name:
        file = FileName.parse(name)
        return Setting(file.augment, file.weight_decay, file.dropout, file.drop_path)
    hint = nearest(name, (*AUGREG, *SETTINGS)) or ";"
    if name in FILES:
        hint = f"; did you mean {FILES[name]!r}, which files call {name}?"
    raise Refused(
        f"augreg: no setting is called {name!r}{hint} there are {', '.join(AUGREG)}, each with "
        "-wd_0.1 or -wd_0.03 and -do_0.0-sd_0.0 or -do_0.1-sd_0.1 behind it, and files' names"
    )


def augreg_in1k(
    *,
    model: object = "vit_s16",
    data: object = "",
    augreg: str = "",
    optim: object = "adamw",
    augment: object = "",
    batch_size: int = BATCH,
    **changes: Any,
) -> Run:
    """ViTs and hybrids on ImageNet-1k from nothing, 300 epochs, by one of AugReg's 28 settings.

    ninefold train augreg_in1k --model vit_s16 --data 'FOLDER?hold_out=0.01'
    ninefold train augreg_in1k --model vit_b16 --data FOLDER --augreg medium1-wd_0.03-do_0.1-sd_0.1

    Without `--augreg` big_vision's choice for the model. `hold_out` chooses the best weights on a
    hundredth of the training part, as the paper does, and tests them on the official validation.
    """
    name = name_of(model)
    size = name.removeprefix("vit_").removesuffix("_384")
    rate = 0.1 if size in _DROPPING else 0.0
    by_default = Setting(_IN1K.get(size, "light1"), dropout=rate, drop_path=rate)
    setting = find_setting(augreg) if augreg else by_default
    run = _pretraining("augreg_in1k", name, data, setting, optim, augment, batch_size)
    return finish(run.changed(head_bias=-6.9, schedule=_rising(changes, 300)), changes)


def augreg_in21k(
    *,
    model: object = "vit_b16",
    data: object = "",
    augreg: str = "",
    optim: object = "adamw",
    augment: object = "",
    batch_size: int = BATCH,
    **changes: Any,
) -> Run:
    """ViTs and hybrids on ImageNet-21k (21,843 classes), 300 epochs, or 30 by `--epochs 30`.

    ninefold train augreg_in21k --model vit_b16 --data 'FOLDER?hold_out=0.002'
    ninefold train augreg_in21k --model vit_s32 --data FOLDER --epochs 30 --augreg none
    """
    name = name_of(model)
    size = name.removeprefix("vit_").removesuffix("_384")
    setting = find_setting(augreg) if augreg else Setting(_IN21K.get(size, "light1"))
    run = _pretraining("augreg_in21k", name, data, setting, optim, augment, batch_size)
    return finish(run.changed(head_bias=-10.0, schedule=_rising(changes, 30)), changes)


def _pretraining(
    recipe: str,
    model: str,
    data: object,
    setting: Setting,
    optim: object,
    augment: object,
    batch_size: int,
) -> Run:
    level = augment or AUGMENTS[f"augreg_{setting.augment}"]
    adamw = AdamW(lr=1e-3 * share(batch_size, BATCH), weight_decay=setting.weight_decay)
    return Run(
        recipe=recipe,
        model=model,
        model_options=_dropping(recipe, model, setting),
        data=name_of(required(recipe, "data", data, "FOLDER with train/<class>/ and val/<class>/")),
        drop_path=setting.drop_path,
        preprocess=_pixels(preset_of(model).preprocess.image_size),
        augment=choose_augment(level),
        loss=Loss(sigmoid=True),
        optim=choose_optim(optim, adamw),
        batch_size=batch_size,
        epochs=EPOCHS,
        clip_norm=1.0,
    )


_DROPOUT = {
    **dict.fromkeys(("vit", "vit_r", "swin", "focal"), "drop_rate"),
    **dict.fromkeys(("efficientnet", "efficientnet_v2", "wide_resnet"), "dropout"),
}
"""What a family calls the probability of its dropout layers."""


def _dropping(recipe: str, model: str, setting: Setting) -> tuple[str, ...]:
    """The model's option for the setting's dropout.

    Raises:
        Refused: it has no dropout layers.
    """
    if not setting.dropout:
        return ()
    family = preset_of(model).family
    if model.startswith("timm/"):
        return (f"drop_rate={setting.dropout:g}",)
    if family not in _DROPOUT:
        raise Refused(
            f"{recipe}: {model} has no dropout, which {setting} asks for; "
            f"--augreg {setting.augment}-wd_{setting.weight_decay}-do_0.0-sd_0.0 would be right, "
            f"with --drop-path {setting.drop_path:g} for the rest of it"
        )
    return (f"{_DROPOUT[family]}={setting.dropout:g}",)


def _rising(changes: dict[str, Any], epochs: float) -> Schedule:
    """A cosine after a warm-up of 10,000 steps; of fewer in a training of fewer epochs."""
    warmup = WARMUP / IN1K_STEPS
    if changes.get("steps"):
        return Schedule(warmup=warmup, start=0.0)
    steps = round(WARMUP * min(1.0, changes.get("epochs", EPOCHS) / epochs))
    return Schedule(warmup=warmup, warmup_steps=steps, start=0.0)


def _pixels(image_size: int) -> Preprocess:
    """Values from -1 to 1; of 448 pixels the middle 384, of 256 the middle 224."""
    return Preprocess(
        image_size=image_size,
        crop_fraction=384 / 448 if image_size == 384 else 0.875,
        mean=(0.5,),
        std=(0.5,),
        interpolation="bilinear",
    )


# Fine-tuning


@dataclass(frozen=True)
class Adaptation:
    """What is tried for a data set.

    Args:
        rates: Learning rates.
        lengths: Steps, and how many of them warm up.
        hold_out: Share of the training part to choose on.
    """

    rates: tuple[float, ...]
    lengths: tuple[tuple[int, int], ...]
    hold_out: float


_SHORT, _LONG = ((500, 100), (2_500, 200)), ((2_500, 200), (10_000, 500))
_RATES = (0.001, 0.003, 0.01)
ADAPTATIONS: dict[str, Adaptation] = {
    "imagenet": Adaptation((0.01, 0.03), ((20_000, 500),), 0.01),
    "cifar": Adaptation(_RATES, _LONG, 0.02),
    "resisc45": Adaptation(_RATES, _LONG, 0.02),
    "pets": Adaptation(_RATES, _SHORT, 0.1),
    "flowers": Adaptation(_RATES, _SHORT, 0.1),
    "kitti": Adaptation(_RATES, _SHORT, 0.1),
}
"""Table 4; the validation parts are big_vision's, but those of `resisc45` and `kitti` are ours. The
released files hold a rate of 0.03 too."""


def finetune_augreg(
    *,
    model: object = "vit_s16",
    data: object = "",
    weights: str | Path = "",
    image_size: int = 384,
    optim: object = "sgd",
    augment: object = "inception",
    batch_size: int = 512,
    **changes: Any,
) -> Run:
    """AugReg's files on one's own images: plain SGD, no dropout, crop and flip alone.

    ninefold train finetune_augreg --model vit_b16 --weights FILE.npz --data 'FOLDER?hold_out=0.1'
    ninefold train finetune_augreg --weights FILE.npz --data FOLDER --steps 500 --optim.lr 0.001

    At 384 pixels; `--image-size 224` costs a third. 2,500 steps at a rate of 0.003 unless told
    otherwise; `ninefold.recipes.augreg.finetuning_grid` has all that the paper tries.
    """
    name = name_of(model)
    place = required("finetune_augreg", "data", data, "FOLDER with one folder a class")
    weights = required("finetune_augreg", "weights", weights, "FILE.npz of AugReg")
    run = Run(
        recipe="finetune_augreg",
        model=name,
        data=name_of(place),
        weights=str(weights),
        reset_head=True,
        preprocess=_pixels(image_size),
        augment=choose_augment(augment),
        optim=choose_optim(optim, Sgd(lr=0.003 * share(batch_size, 512), weight_decay=0.0)),
        schedule=_settling(changes),
        batch_size=batch_size,
        steps=2_500,
        clip_norm=1.0,
    )
    return finish(run, changes)


def _settling(changes: dict[str, Any]) -> Schedule:
    """A cosine after the table's warm-up; of other lengths that of the next shorter one, and of
    fewer than 500 steps or a number of epochs a share."""
    if changes.get("epochs"):
        return Schedule(warmup=0.08, start=0.0)
    steps = changes.get("steps") or 2_500
    known = {**dict(_SHORT), **dict(_LONG)}
    warmups = [warm for length, warm in known.items() if length <= steps]
    return Schedule(warmup=0.2, warmup_steps=max(warmups, default=0), start=0.0)


def finetuning_grid(like: str, *, data: object, **given: Any) -> tuple[Run, ...]:
    """All that the paper tries on such data, for `study.grid.best_of` to choose from.

    Args:
        like: Which of `ADAPTATIONS`: `imagenet` for a million images, `cifar` for tens of
            thousands, `pets` for thousands.
        data: As `Run.data`; the share to choose on is cut off the training part.
        given: What `finetune_augreg` takes beside it; `weights` at the least.

    Raises:
        Refused: no such data set, or what `finetune_augreg` refuses.
    """
    if like not in ADAPTATIONS:
        hint = nearest(like, ADAPTATIONS) or ";"
        raise Refused(f"augreg: no grid is for {like!r}{hint} there are {', '.join(ADAPTATIONS)}")
    table, address = ADAPTATIONS[like], name_of(data)
    if "hold_out=" not in address:
        address += f"{'&' if '?' in address else '?'}hold_out={table.hold_out:g}"
    return tuple(
        finetune_augreg(
            **{**given, "data": address, "optim": Sgd(lr=lr, weight_decay=0.0), "steps": steps}
        )
        for steps, _ in table.lengths
        for lr in table.rates
    )
