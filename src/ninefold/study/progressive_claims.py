"""EfficientNetV2's training: augmentation by image size, and progressive learning.

Source: Tan & Le 2021, arXiv 2104.00298, section 4 and Table 5; efficientnetv2-paa specification,
sections A7, A9 and A10 (the arms of an honest comparison).

All runs of a scale have the same small EfficientNetV2, photos, batches, optimizer and schedule, and
are judged at the same image size, the largest that any of them trains at.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from ninefold.augment.config import Augment
from ninefold.core.options import read_options
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import read_lines
from ninefold.engine.config import Run, Stages
from ninefold.engine.folder import LOG, RESULTS, RUN
from ninefold.engine.stages import Course
from ninefold.models.create import create_model
from ninefold.recipes.everyday import quickstart
from ninefold.report.measured import Scale, Table
from ninefold.study.kept import tested_value
from ninefold.study.plan import Comparison, Plan, Read, Trained, cifar10

HERE = "ninefold.study.progressive_claims"
MAGNITUDES = (5, 10, 15)
DROPOUT = (0.1, 0.3)
"""Of S in the paper's Table 6, as are the magnitudes' ends."""
FINER = (
    "stages=[[1,1,3,1,16,1,0],[4,1,3,1,32,2,0],[4,1,3,2,48,2,0],[4,0,3,2,96,3,0.25],"
    "[6,0,3,1,112,5,0.25],[6,0,3,2,192,8,0.25]]",
)
"""The table of B0 with maps twice as fine from stage 2 on, where progressive learning is measured:
of a network so small, most of the time would else be what each operation costs at any size."""
RANDOM_STAGES = 16
"""Stages of random sizes: each of the four sizes four times."""


@dataclass(frozen=True)
class _Setting:
    """What a scale trains.

    Args:
        data: Where `--data` names none, or the keys that go to it.
        sizes: Of the four stages, in pixels; the table of magnitudes has first, third and last.
        looks: Validations in a run.
    """

    model: str
    data: str
    told: str
    sizes: tuple[int, int, int, int]
    steps: int
    batch_size: int
    looks: int
    seeds: int


SMOKE = "synthetic://classification?size=16&train=96&val=48&test=48"
_SETTINGS: dict[str, _Setting] = {
    "smoke": _Setting("efficientnet_v2_atto", SMOKE, "generated pictures", (32, 36, 44, 48), 8, 8,
                      4, 2),
    "laptop": _Setting("efficientnet_v2_atto", "hold_out=0.02&per_class=500",
                       "CIFAR-10 (JPEG), 5,000 photos", (32, 44, 52, 64), 600, 32, 8, 3),
    "gpu": _Setting("efficientnet_v2_b0", "", "CIFAR-10", (64, 88, 104, 128), 6000, 512, 20, 5),
}  # fmt: skip


def regularisation_by_size(scale: Scale, data: str) -> Plan:
    """Image size times magnitude: of each size the gain of magnitude 15 over 5.

    Every run trains at one size with one magnitude, and is evaluated at that size, as in Table 5.
    There are nine, so they are shorter than those of the other claims.
    """
    setting = _SETTINGS[scale]
    address, told = _photos(setting, data)
    sizes = [setting.sizes[i] for i in (0, 2, 3)]
    runs: dict[str, Trained] = {}
    for size in sizes:
        run = _run(setting, address, evaluated_at=size).changed(steps=setting.steps * 3 // 4)
        for magnitude in MAGNITUDES:
            table = Stages(count=1, image_size=(size,), magnitude=(magnitude,))
            runs[f"{size} {magnitude}"] = Trained(run.changed(stages=table))
    large, small = (
        Read(f"{HERE}:by_size", runs, f"gain at {size}") for size in (sizes[-1], sizes[0])
    )
    tables = partial(_size_tables, sizes=sizes)
    return Plan((Comparison(large, small, tables=tables),), setting.seeds, told)


def by_size(folders: Mapping[str, Path]) -> dict[str, float]:
    """Top-1 of each run, and of each size the gain of the largest magnitude over the smallest."""
    found = {name: tested_value(folder, "top1") for name, folder in folders.items()}
    for size in {name.split()[0] for name in folders}:
        weak, strong = (found[f"{size} {m}"] for m in (MAGNITUDES[0], MAGNITUDES[-1]))
        found[f"gain at {size}"] = strong - weak
    return found


def progressive_cost(scale: Scale, data: str, *, what: str) -> Plan:
    """Hours or operations of progressive learning, and of full size throughout.

    Once for the same number of steps; and once until either is as good on the validation part as
    the worse of both ever becomes.

    Args:
        what: `hours` (of training steps alone, loading and augmentation among them) or `petaflops`.
    """
    setting = _SETTINGS[scale]
    address, told = _photos(setting, data)
    runs = {
        "progressive": Trained(_arm(setting, address, growing=True, adaptive=True)),
        "full size": Trained(_arm(setting, address)),
    }
    pairs: list[Comparison] = []
    for when, name in (("same steps", ""), ("same accuracy", " to the same accuracy")):
        mine, other = (Read(f"{HERE}:costs", runs, f"{arm} {what}{name}") for arm in runs)
        pairs.append(Comparison(mine, other, when, tables=_cost_tables))
    return Plan(tuple(pairs), setting.seeds, told)


def costs(folders: Mapping[str, Path]) -> dict[str, float]:
    """Of each run top-1, hours and petaflops; in all, and to the best accuracy that all reach."""
    spent = {name: _spent(folder) for name, folder in folders.items()}
    common = min(max(accuracy for _, accuracy, _, _ in looks) for looks in spent.values())
    found: dict[str, float] = {"common accuracy": common}
    for name, looks in spent.items():
        found[f"{name} top1"] = tested_value(folders[name], "top1")
        _, _, found[f"{name} hours"], found[f"{name} petaflops"] = looks[-1]
        first = next(look for look in looks if look[1] >= common)
        _, _, hours, petaflops = first
        found[f"{name} hours to the same accuracy"] = hours
        found[f"{name} petaflops to the same accuracy"] = petaflops
    return found


def _spent(folder: Path) -> list[tuple[int, float, float, float]]:
    """Of each validation: its step, the accuracy, hours and petaflops of training up to there."""
    run = Run.read(folder / RUN)
    lines = [line for line in read_lines(folder / LOG) if "images_per_second" in line]
    looks = [line for line in read_lines(folder / RESULTS) if line["split"] == "val"]
    course = Course(run, run.steps)
    each = [3 * forward_flops(run, size) * run.batch_size for size in course.sizes]
    found: list[tuple[int, float, float, float]] = []
    for look in looks:
        hours, before = 0.0, 0
        for line in lines:
            if line["step"] > look["step"]:
                break
            images = (line["step"] - before) * run.batch_size
            hours += images / line["images_per_second"] / 3600
            before = line["step"]
        flops = sum(each[course.index(step)] for step in range(look["step"]))
        found.append((look["step"], look["top1"], hours, flops / 1e15))
    return found


def forward_flops(run: Run, image_size: int) -> int:
    """Floating-point operations of one image on its way through a run's model."""
    model = create_model(run.model, **read_options(run.model_options, where="model_options"))
    image = torch.zeros(1, run.preprocess.channels, image_size, image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(image)
    return counter.get_total_flops()


def progressive_budget(scale: Scale, data: str) -> Plan:
    """Top-1 of progressive learning, and of full size throughout for as many operations.

    The other run's learning rate falls as far in its fewer steps.
    """
    setting = _SETTINGS[scale]
    address, told = _photos(setting, data)
    growing = _arm(setting, address, growing=True, adaptive=True)
    full = setting.sizes[-1]
    each = {size: forward_flops(growing, size) for size in setting.sizes}
    share = sum(each.values()) / len(each) / each[full]
    steps = round(setting.steps * share)
    less = _arm(setting, address).changed(steps=steps, evaluate_every=steps // setting.looks)
    where = f"{setting.steps} steps, of full size {steps}"
    return Plan((Comparison(Trained(growing), Trained(less), where),), setting.seeds, told)


def adaptive_regularisation(scale: Scale, data: str) -> Plan:
    """Growing regularisation or the strong one throughout, while sizes grow or change at random."""
    setting = _SETTINGS[scale]
    address, told = _photos(setting, data)
    pairs: list[Comparison] = []
    for growing, where in ((True, "growing images"), (False, "random sizes")):
        arm = partial(_arm, setting, address, growing=growing, shuffled=not growing)
        mine, other = (Trained(arm(adaptive=adaptive)) for adaptive in (True, False))
        pairs.append(Comparison(mine, other, where))
    return Plan(tuple(pairs), setting.seeds, told)


def _photos(setting: _Setting, data: str) -> tuple[str, str]:
    """Address and what a result says of it."""
    if setting.data.startswith("synthetic"):
        return data or setting.data, f"`{data}`" if data else f"{setting.told} (`{setting.data}`)"
    whole, _ = cifar10(data)
    join = "&" if "?" in whole else "?"
    address = f"{whole}{join}{setting.data}" if setting.data else whole
    return address, f"{setting.told} (`{address}`)"


def _arm(
    setting: _Setting,
    data: str,
    *,
    growing: bool = False,
    shuffled: bool = False,
    adaptive: bool = False,
) -> Run:
    """A run at full size or at changing ones, under strong regularisation or under one by size."""
    sizes: tuple[int, ...] = setting.sizes if growing or shuffled else setting.sizes[-1:]
    if shuffled:
        sizes *= RANDOM_STAGES // len(sizes)
        sizes = tuple(random.Random(0).sample(sizes, len(sizes)))
    first, last = setting.sizes[0], setting.sizes[-1]
    shares = [(size - first) / (last - first) if adaptive else 1.0 for size in sizes]

    def column(least: float, most: float) -> tuple[float, ...]:
        return tuple(round(least + (most - least) * share, 3) for share in shares)

    table = Stages(
        count=len(sizes),
        image_size=sizes,
        magnitude=column(MAGNITUDES[0], MAGNITUDES[-1]),
        dropout=column(*DROPOUT),
    )
    return _run(setting, data, evaluated_at=last).changed(stages=table, model_options=FINER)


def _run(setting: _Setting, data: str, *, evaluated_at: int) -> Run:
    run = quickstart(
        model=setting.model,
        data=data,
        augment=Augment(crop="pad", randaugment="rand-n2-p1-mmax20"),
        batch_size=setting.batch_size,
        steps=setting.steps,
        preprocess=Preprocess(image_size=evaluated_at, crop_fraction=1.0),
        fit_image_size=False,
    )
    return run.changed(
        evaluate_every=setting.steps // setting.looks, workers=0, precision="32-true"
    )


def _mean(readings: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(one[name] for one in readings) / len(readings)


def _size_tables(
    readings: Sequence[Mapping[str, float]], *, sizes: Sequence[int]
) -> tuple[Table, ...]:
    mean = partial(_mean, readings)
    rows = [
        (str(magnitude), *(mean(f"{size} {magnitude}") for size in sizes))
        for magnitude in MAGNITUDES
    ]
    columns = ("magnitude", *(f"{size} pixels" for size in sizes))
    title = "Top-1 by magnitude of RandAugment and image size (means)"
    return (Table(title=title, columns=columns, rows=tuple(rows)),)


def _cost_tables(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    mean = partial(_mean, readings)
    rows: list[tuple[str | float, ...]] = []
    for arm in ("progressive", "full size"):
        names = ("top1", "hours", "petaflops", "hours to the same accuracy")
        names = (*names, "petaflops to the same accuracy")
        rows.append((arm, *(mean(f"{arm} {name}") for name in names)))
    columns = ("", "test top1", "hours", "petaflops", "hours to the same accuracy",
               "petaflops to the same accuracy")  # fmt: skip
    title = f"Means; the same accuracy is {mean('common accuracy'):.3f} on the validation part"
    return (Table(title=title, columns=columns, rows=tuple(rows)),)
