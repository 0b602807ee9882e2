"""SAM on a ViT, a Mixer and a ResNet of equal size, with basic and with strong augmentation.

All claims of the paper are about twelve runs: three models, with and without SAM, with both
augmentations. They are trained once a seed and read three ways: accuracy, accuracy under the
fifteen corruptions, and the largest eigenvalue of the Hessian of the training loss.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from ninefold.augment.config import Augment
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import write_json
from ninefold.engine.config import Run
from ninefold.engine.corrupted import by_corruption
from ninefold.engine.opened import Opened, open_run
from ninefold.optim.config import AdamW, Optim, Sam, Sgd
from ninefold.recipes.everyday import quickstart
from ninefold.report.measured import Scale, Table
from ninefold.study.kept import tested_value
from ninefold.study.plan import Arm, Comparison, Plan, Read, Trained, cifar10
from ninefold.tasks.config import Loss

Model = Literal["vit", "mixer", "resnet"]
Augmented = Literal["basic", "strong"]
Reading = Literal["top1", "corrupted", "curved"]

SMOKE = "synthetic://classification?size=16&train=96&val=48&test=48"
PER_CLASS = 100
CALLED = {"vit": "ViT", "mixer": "Mixer", "resnet": "ResNet"}

RADII: dict[Model, float] = {"vit": 0.1, "mixer": 0.15, "resnet": 0.02}
"""The paper's (recalled) for ViT-S/16, Mixer-S/16 and ResNet-50: none was searched for."""

AUGMENTS = {
    "basic": Augment(crop="pad"),
    "strong": Augment(crop="pad", randaugment="rand-m9-mstd0.5-inc1", mixup=0.5),
}
"""Crops and flips; and on top of it two operations of timm's RandAugment and Mixup of 0.5. The
paper's strong one is AugReg's RandAugment (2, 15) with Mixup of 0.5 (recalled), whose
translations by up to 150 pixels suit no image of 32."""


def run_of(scale: Scale, data: str, model: Model, *, sam: bool, augment: Augmented) -> Run:
    """One of the twelve runs.

    Decay of weights, clipping and bases are the paper's (recalled), rates those of small batches.
    With SAM nothing else changes: as many epochs, so twice the work, as in the paper. A batch is as
    large as what climbs together there: 64 images.
    """
    base: dict[str, Any] = {"lr": 0.1, "weight_decay": 1e-3}
    if model != "resnet":
        base = {"lr": 1e-3, "weight_decay": 0.3}
    optim: Optim = Sgd(**base) if model == "resnet" else AdamW(**base)
    if sam:
        optim = Sam(base=optim.kind, rho=RADII[model], **base)
    side = 16 if scale == "smoke" else 32
    run = quickstart(
        model=f"{model}_atto",
        model_options=_options(scale)[model],
        data=data,
        optim=optim,
        augment=AUGMENTS[augment],
        batch_size=64,
        preprocess=Preprocess(image_size=side, crop_fraction=1.0),
        loss=Loss(),
        epochs={"smoke": 0, "laptop": 30, "gpu": 200}[scale] or 1,
    )
    if scale == "smoke":
        return run.changed(batch_size=16, workers=0)
    return run.changed(evaluate_every=_steps(run) // 10) if scale == "laptop" else run


def _steps(run: Run) -> int:
    """Steps of the laptop scale: ten classes of `PER_CLASS` images."""
    return round(run.epochs * 10 * PER_CLASS / run.batch_size)


def _options(scale: Scale) -> dict[str, tuple[str, ...]]:
    """0.09 M parameters each (with a GPU 3.6 M); all see the image in steps of 4 pixels first."""
    dim, depth, heads, vit, mixer, width = {
        "smoke": (16, 1, 2, 32, 32, 0.25),
        "laptop": (48, 3, 2, 192, 240, 0.265625),
        "gpu": (192, 8, 3, 768, 1152, 1.125),
    }[scale]
    patches = ("patch_size=4", f"dim={dim}", f"depth={depth}")
    units = "blocks=[2,2,2]" if scale == "gpu" else "blocks=[1,1,1]"
    return {
        "vit": (*patches, f"num_heads={heads}", f"mlp_dim={vit}"),
        "mixer": (*patches, f"token_hidden={dim // 2}", f"channel_hidden={mixer}"),
        "resnet": (units, f"width_factor={width}"),
    }


def sam_gain(scale: Scale, data: str, *, model: Model) -> Plan:
    """With SAM and without, in both augmentations."""
    return _plan(scale, data, [(model, augment) for augment in AUGMENTS], "top1")


def sam_robust(scale: Scale, data: str) -> Plan:
    """Likewise under corruption, for all three models."""
    return _plan(scale, data, [(m, a) for m in RADII for a in AUGMENTS], "corrupted")


def sam_flatter(scale: Scale, data: str) -> Plan:
    """Likewise the largest eigenvalue of the Hessian."""
    return _plan(scale, data, [(m, a) for m in RADII for a in AUGMENTS], "curved")


def _plan(scale: Scale, data: str, cells: list[Any], reading: Reading) -> Plan:
    address, told, seeds = _data(scale, data)
    pairs = [
        Comparison(
            _arm(scale, address, model, augment, reading, sam=True),
            _arm(scale, address, model, augment, reading, sam=False),
            setting=f"{CALLED[model]}, {augment} augmentation",
        )
        for model, augment in cells
    ]
    return Plan(tuple(pairs), seeds, told)


def sam_over_resnet(scale: Scale, data: str) -> Plan:
    """The ViT with SAM against the ResNet with SAM: accuracy, basic augmentation."""
    address, told, seeds = _data(scale, data)
    vit, resnet = (
        _arm(scale, address, model, "basic", "top1", sam=True) for model in ("vit", "resnet")
    )
    return Plan((Comparison(vit, resnet),), seeds, told)


def sam_most_for_vits(scale: Scale, data: str) -> Plan:
    """What SAM adds to the ViT against what it adds to the ResNet, in both augmentations."""
    address, told, seeds = _data(scale, data)

    pairs: list[Comparison] = []
    augments: tuple[Augmented, ...] = ("basic", "strong")
    for augment in augments:
        runs = {
            f"{CALLED[model]} {name}": _trained(scale, address, model, augment, sam=name == "with")
            for model in RADII
            for name in ("with", "without")
        }
        vit, resnet = (Read(f"{HERE}:gains", runs, f"{name} gain") for name in ("ViT", "ResNet"))
        pairs.append(Comparison(vit, resnet, f"{augment} augmentation", tables=_gains_table))
    return Plan(tuple(pairs), seeds, told)


def _data(scale: Scale, data: str) -> tuple[str, str, int]:
    if scale == "smoke":
        return data or SMOKE, f"`{data}`" if data else f"generated pictures (`{SMOKE}`)", 2
    whole, told = cifar10(data)
    if scale == "gpu":
        return whole, told, 5
    part = f"{whole}{'&' if '?' in data else '?'}per_class={PER_CLASS}"
    told += f", {PER_CLASS} training images of each class, all test images"
    return part, told, 3


def _trained(scale: Scale, data: str, model: Model, augment: Augmented, *, sam: bool) -> Trained:
    return Trained(run_of(scale, data, model, sam=sam, augment=augment))


def _arm(
    scale: Scale, data: str, model: Model, augment: Augmented, reading: Reading, *, sam: bool
) -> Arm:
    run = _trained(scale, data, model, augment, sam=sam)
    if reading == "top1":
        return run
    whole = "_by_all" if scale == "gpu" else ""
    if reading == "corrupted":
        return Read(f"{HERE}:corrupted{whole}", {"run": run}, "top1")
    return Read(f"{HERE}:curved{whole}", {"run": run}, "hessian_max")


HERE = "ninefold.study.sam_claims"
GAINS = ("with", "without", "gain")


def gains(folders: Mapping[str, Path]) -> dict[str, float]:
    """Test `top1` of each run, and by how much that of each model is higher with SAM."""
    found = {name: tested_value(folder, "top1") for name, folder in folders.items()}
    for name in CALLED.values():
        found[f"{name} gain"] = found[f"{name} with"] - found[f"{name} without"]
    return found


def _gains_table(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    rows = [
        (name, *(fmean(one[f"{name} {column}"] for one in readings) for column in GAINS))
        for name in CALLED.values()
    ]
    title = "Top-1 of all three models (means)"
    columns = ("", "with SAM", "without", "gain")
    return (Table(title=title, columns=columns, rows=tuple(rows)),)


def corrupted(folders: Mapping[str, Path], *, images: int = 500) -> dict[str, float]:
    """Of `run`: `top1` and `loss` over all corruptions of test images, and of each its top-1."""
    return _kept(folders["run"], "corrupted", images, _corrupted)


def corrupted_by_all(folders: Mapping[str, Path]) -> dict[str, float]:
    """Likewise of all test images."""
    return corrupted(folders, images=0)


def curved(folders: Mapping[str, Path], *, images: int = 256) -> dict[str, float]:
    """Of `run`: the largest eigenvalue on images of the training part, and its error."""
    return _kept(folders["run"], "curved", images, _curved)


def curved_by_all(folders: Mapping[str, Path]) -> dict[str, float]:
    """Likewise on 2,048 images."""
    return curved(folders, images=2048)


def _corrupted(opened: Opened, images: int) -> dict[str, float]:
    result = opened.evaluate(opened.data, corrupt="all", images=images)
    each = by_corruption(result, "top1")
    means = {name: sum(values) / len(values) for name, values in each.items()}
    return {"top1": result.top1, "loss": result.loss, **means}


def _curved(opened: Opened, images: int) -> dict[str, float]:
    result = opened.curvature(opened.data, images=images)
    return {"hessian_max": result.hessian_max, "error": result.conditions["error"]}


def _kept(
    folder: Path, name: str, images: int, read: Callable[[Opened, int], dict[str, float]]
) -> dict[str, float]:
    """A reading that takes long, taken once and kept in the run's folder."""
    file = folder / f"{name}-{images}.json"
    if not file.exists():
        write_json(file, read(open_run(folder), images))
    return json.loads(file.read_text(encoding="utf-8"))
