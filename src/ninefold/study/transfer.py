"""Pre-training on five classes, then few photos of five others: does it beat starting anew?"""

from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.recipes.everyday import finetune, quickstart
from ninefold.report.measured import Scale
from ninefold.study.plan import Best, Comparison, Plan, Trained, cifar10

SEEN = ("airplane", "automobile", "bird", "cat", "deer")
UNSEEN = ("dog", "frog", "horse", "ship", "truck")
"""Halves of CIFAR-10 by the alphabet: each has two kinds of vehicles and three of animals."""

SMOKE = "synthetic://classification?size=16&train=120&val=48&test=48"


def swin_transfer(scale: Scale, data: str) -> Plan:
    """A small Swin, trained on five classes of CIFAR-10 and fine-tuned on few photos of the others.

    All runs on the unseen classes have the same steps, batches, augmentation and, for each seed,
    the same photos. The fine-tuning has one learning rate for all sizes, a third of what
    `quickstart` starts with, which was not searched for. What it is compared with
    has the best of three for each size and seed, that of the fine-tuning among them, by the
    validation part (which holds as many photos a class as the training part, where there are).
    """
    if scale == "smoke":
        parts = ("cross,ring,star", "arrow,disc,heart")
        address, sizes, seeds = data or SMOKE, (2, 4), 2
        told = f"`{data}`" if data else f"generated pictures of 16 pixels (`{SMOKE}`)"
    else:
        parts = (",".join(SEEN), ",".join(UNSEEN))
        (address, told), sizes = cifar10(data), (20, 100, 500)
        seeds = 3 if scale == "laptop" else 5
        told += f"; pre-trained on {', '.join(SEEN)}, then {', '.join(UNSEEN)}"
    join = "&" if "?" in address else "?"
    seen, unseen = (f"{address}{join}classes={names}" for names in parts)
    start = Trained(_pretraining(scale, seen))
    pairs: list[Comparison] = []
    for size in sizes:
        run = _few(scale, f"{unseen}&per_class={size}")
        fresh = run.changed(weights="", reset_head=False)
        lr = run.optim.lr
        rates = [fresh.optim.changed(lr=lr * factor) for factor in RATES]
        tried = tuple(Trained(fresh.changed(optim=one), picks=True) for one in rates)
        subject = Trained(run, start=start, picks=True)
        pairs.append(Comparison(subject, Best(tried, "optim.lr"), f"{size} images a class"))
    return Plan(tuple(pairs), seeds, told)


RATES = (1, 3, 10)
"""What from scratch tries: multiples of the learning rate of the fine-tuning."""


def _pretraining(scale: Scale, data: str) -> Run:
    run = quickstart(
        model="swin_atto", data=data, preprocess=_pixels(32), model_options=_options(scale)
    )
    if scale == "smoke":
        return run.changed(steps=4, batch_size=8, preprocess=_pixels(16), workers=0)
    return run.changed(epochs=8 if scale == "laptop" else 60, steps=0)


def _few(scale: Scale, data: str) -> Run:
    run = finetune(
        model="swin_atto",
        data=data,
        weights="",
        model_options=_options(scale),
        preprocess=_pixels(32),
        steps=300,
    )
    run = run.changed(optim=run.optim.changed(lr=1e-3))
    if scale == "smoke":
        return run.changed(steps=3, batch_size=4, preprocess=_pixels(16), workers=0)
    return run.changed(steps=300 if scale == "laptop" else 1000)


def _options(scale: Scale) -> tuple[str, ...]:
    """Maps of 8, 4 and 2 tokens a side; with a GPU of 16, 8 and 4; under windows of 4."""
    return ("patch_size=2",) if scale == "gpu" else ()


def _pixels(side: int) -> Preprocess:
    return Preprocess(image_size=side, crop_fraction=1.0)
