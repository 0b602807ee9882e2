"""Patch AutoAugment in its three credits, beside its control and other augmentations."""

from ninefold.augment.config import Augment, Patches
from ninefold.engine.config import Run
from ninefold.recipes.paa import paa_cifar10
from ninefold.report.measured import Scale
from ninefold.study.plan import Comparison, Plan, Trained, cifar10

SMOKE = "synthetic://classification?size=32&train=64&val=24&test=48"


def _patches(credit: str, grid: int = 2) -> Augment:
    """Agents as thin as the model: the official ones would cost more than it does."""
    values = {"grid": grid, "credit": credit, "widths": (8, 16, 16)}
    agents = Patches.parse(values, where="paa")
    return Augment(crop="reflect", patches=agents)


ARMS: dict[str, Augment] = {
    "none": Augment(crop="reflect"),
    "image": _patches("image"),
    "team": _patches("team"),
    "official": _patches("official"),
    "uniform": _patches("uniform"),
    "whole": _patches("image", grid=1),
    "4 x 4": _patches("image", grid=4),
    "cutout": Augment(crop="reflect", cutout=16),
    "autoaugment": Augment(crop="reflect", policy="autoaugment_cifar10", cutout=16),
    "fast_autoaugment": Augment(crop="reflect", policy="fast_autoaugment_cifar10", cutout=16),
    "randaugment": Augment(crop="reflect", randaugment="rand-m5-n2-p1-inc1"),
    "trivialaugment": Augment(crop="reflect", policy="trivialaugment"),
}
"""`autoaugment` and `fast_autoaugment` with Cutout, as in their papers and in Table 1."""


def paa(scale: Scale, data: str, *, subject: str, against: str) -> Plan:
    """One model, trained with one augmentation and with another; all else is the same.

    A pair of claims with the same arm shares its runs. At the laptop scale each seed trains a
    Wide-ResNet-10-1 on 200 other photos of each class, thirty times over. The test part is whole.
    The agents' rate is the authors'; at ten times as much their choices were down to one or two
    operations after ninety steps (seen in a pilot with a seed that is not measured).

    Args:
        subject: An arm of `ARMS`.
        against: Another.
    """
    if scale == "smoke":
        address, told, seeds = data or SMOKE, f"generated pictures (`{SMOKE}`)", 2
    else:
        (address, told), seeds = cifar10(data), 6
    if scale == "gpu":
        seeds = 5
    picks = scale == "laptop"
    if picks:
        address += f"{'&' if '?' in address else '?'}per_class=200"
        told += ", 200 photos of each class to train on, others for each seed"

    def arm(name: str) -> Trained:
        return Trained(_run(scale, address).changed(augment=ARMS[name]), picks=picks)

    return Plan((Comparison(arm(subject), arm(against)),), seeds, told)


def _run(scale: Scale, data: str) -> Run:
    if scale == "gpu":
        return paa_cifar10(model="wide_resnet40_2", data=data, epochs=60)
    run = paa_cifar10(model="wide_resnet_atto", data=data, batch_size=64)
    if scale == "smoke":
        return run.changed(epochs=0, steps=4, batch_size=16, workers=0)
    return run.changed(epochs=30, evaluate_every=235)
