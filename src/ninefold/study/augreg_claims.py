"""AugReg at the scale of a laptop: augmentation, data and transfer of a small ViT on CIFAR-10.

The axis of the paper at four of its seven places, by its official operations, with two departures
that images of 32 pixels ask for: distances shrink with the image (100 pixels would leave nothing of
it), and contrast is about the mean grey. Crops are CIFAR's.

A pilot of two runs, with a seed that is not measured and by the validation part alone, set the
laptop's rate and sizes: at the recipe's 0.001, 600 steps on 1,000 images left even the run without
augmentation underfitted (31.7 % on validation, 24.7 % with `light2`).
"""

import math
from dataclasses import dataclass

from ninefold.augment.config import Augment
from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.optim.config import AdamW, Schedule
from ninefold.recipes.augreg import augreg_in1k
from ninefold.recipes.parts import AUGREG
from ninefold.report.measured import Scale
from ninefold.study.plan import Best, Comparison, Plan, Trained, cifar10
from ninefold.study.transfer import SEEN, SMOKE, UNSEEN

AXIS = ("light2", "medium2", "strong2")
"""What is tried beside `none`; the scale for a GPU tries all."""


@dataclass(frozen=True)
class _Size:
    """What is run at one scale.

    Args:
        options: Of the model.
        pixels: Side of the images.
        batch_size: Images a step.
        steps: From scratch and in pre-training.
        tuning: Steps of fine-tuning.
        small: Images a class of the smaller training set; the larger one has ten times as many.
        few: Images a class after transfer.
        seeds: Of each arm.
        axis: What is tried beside `none`.
        lr: From scratch and in pre-training; a third of it in fine-tuning.
    """

    options: tuple[str, ...]
    pixels: int
    batch_size: int
    steps: int
    tuning: int
    small: int
    few: tuple[int, int]
    seeds: int
    axis: tuple[str, ...] = AXIS
    lr: float = 3e-3


_SIZES: dict[Scale, _Size] = {
    "smoke": _Size(("patch_size=8", "dim=16", "depth=1", "num_heads=1", "mlp_dim=32"), 16, 8, 3, 2,
                   1, (2, 4), 2, ("light2", "strong2")),
    "laptop": _Size(("patch_size=8", "dim=96", "depth=4", "num_heads=3"), 32, 64, 420, 140, 50,
                    (20, 100), 3),
    "gpu": _Size(("patch_size=4", "dim=192", "depth=12", "num_heads=3", "mlp_dim=768"), 32, 512,
                 20_000, 2_500, 450, (20, 100), 5, tuple(AUGREG)[1:], 1e-3),
}  # fmt: skip


def augreg_axis(scale: Scale, data: str) -> Plan:
    """From scratch: the best place on the axis but `none`, by validation, against `none`.

    At two sizes of the training set, with the same steps: so the smaller one is seen ten times as
    often.
    """
    size, address, told = _opened(scale, data)
    pairs = [
        Comparison(_best(size, f"{address}per_class={count}"),
                   _scratch(size, f"{address}per_class={count}", "none"),
                   f"{count} images a class")
        for count in (size.small, 10 * size.small)
    ]  # fmt: skip
    return Plan(tuple(pairs), size.seeds, told)


def augreg_tenfold(scale: Scale, data: str) -> Plan:
    """Ten times the data without augmentation, against the best place on the axis with a tenth.

    The runs are those of `augreg_axis`.
    """
    size, address, told = _opened(scale, data)
    more = _scratch(size, f"{address}per_class={10 * size.small}", "none")
    pair = Comparison(more, _best(size, f"{address}per_class={size.small}"))
    return Plan((pair,), size.seeds, told)


def augreg_transfer(scale: Scale, data: str) -> Plan:
    """Fine-tuned on few photos of five classes after five others, against the best from scratch.

    Fine-tuning has a third of the steps, a third of the rate and no augmentation; from scratch
    tries the whole axis, `none` included. For each seed both have the same photos.
    """
    size, address, told = _halves(scale, data)
    start = _pretrained(size, f"{address[0]}", "none")
    pairs: list[Comparison] = []
    for count in size.few:
        few = f"{address[1]}&per_class={count}"
        levels = ("none", *size.axis)
        tried = tuple(_scratch(size, few, one, picks=True) for one in levels)
        against = Best(tried, "augment.randaugment")
        pairs.append(Comparison(_tuned(size, few, start), against, f"{count} images a class"))
    return Plan(tuple(pairs), size.seeds, told)


def augreg_more_data(scale: Scale, data: str) -> Plan:
    """Fine-tuned after all images of five classes without augmentation, or a tenth of them with.

    Both were pre-trained for as many steps; how good they were then, their runs tell.
    """
    size, address, told = _halves(scale, data)
    tenth = 4 if scale == "smoke" else 450
    more = _pretrained(size, address[0], "none")
    augmented = _pretrained(size, f"{address[0]}&per_class={tenth}", "light2")
    pairs = [
        Comparison(_tuned(size, f"{address[1]}&per_class={count}", more),
                   _tuned(size, f"{address[1]}&per_class={count}", augmented),
                   f"{count} images a class")
        for count in size.few
    ]  # fmt: skip
    return Plan(tuple(pairs), size.seeds, told)


def level(name: str) -> Augment:
    """A place on the axis, for images of 32 pixels."""
    layers, magnitude, alpha = AUGREG[name]
    notation = f"augreg-l{layers}-m{magnitude}-mean-rel" if layers else ""
    return Augment(crop="pad", randaugment=notation, mixup=alpha, mix_with="previous")


def _scratch(size: _Size, data: str, augment: str, *, picks: bool = False) -> Trained:
    return Trained(_run(size, data, augment), picks=picks)


def _best(size: _Size, data: str) -> Best:
    return Best(tuple(_scratch(size, data, one) for one in size.axis), "augment.randaugment")


def _pretrained(size: _Size, data: str, augment: str) -> Trained:
    return Trained(_run(size, data, augment))


def _tuned(size: _Size, data: str, start: Trained) -> Trained:
    run = _run(size, data, "none").changed(reset_head=True, steps=size.tuning, evaluate_every=0)
    return Trained(run.changed(optim=run.optim.changed(lr=size.lr / 3)), start=start, picks=True)


def _run(size: _Size, data: str, augment: str) -> Run:
    """AugReg's recipe, but at the rate of a small model and with the bias that ten classes ask."""
    return augreg_in1k(
        model="vit_atto",
        data=data,
        augreg=augment,
        augment=level(augment),
        optim=AdamW(lr=size.lr, weight_decay=0.1),
        model_options=size.options,
        preprocess=Preprocess(image_size=size.pixels, crop_fraction=1.0, mean=(0.5,), std=(0.5,)),
        schedule=Schedule(warmup=0.1, start=0.0),
        head_bias=round(-math.log(10), 2),
        batch_size=size.batch_size,
        steps=size.steps,
        evaluate_every=max(1, size.steps // 6),
        workers=0 if size.pixels == 16 else -1,
    )


def _opened(scale: Scale, data: str) -> tuple[_Size, str, str]:
    """Sizes, an address that takes further keys, and what the data are."""
    if scale == "smoke":
        address = data or SMOKE
        told = f"`{data}`" if data else f"generated pictures of 16 pixels (`{SMOKE}`)"
    else:
        address, told = cifar10(data)
    return _SIZES[scale], f"{address}{'&' if '?' in address else '?'}", told


def _halves(scale: Scale, data: str) -> tuple[_Size, tuple[str, str], str]:
    """The same with an address of five classes and one of five others."""
    size, address, told = _opened(scale, data)
    if scale == "smoke":
        parts = ("cross,ring,star", "arrow,disc,heart")
    else:
        parts = (",".join(SEEN), ",".join(UNSEEN))
        told += f"; pre-trained on {', '.join(SEEN)}, then {', '.join(UNSEEN)}"
    return size, (f"{address}classes={parts[0]}", f"{address}classes={parts[1]}"), told
