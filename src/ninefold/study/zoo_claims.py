"""Claims on the zoo: Focal beside Swin, its ring and its coarse tokens, the speed of fused blocks.

Source: Yang et al. 2021, arXiv 2107.00641 (Focal); Tan & Le 2021, arXiv 2104.00298, Table 3.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run
from ninefold.models.create import create_model
from ninefold.recipes.everyday import quickstart
from ninefold.report.benched import Mode
from ninefold.report.measured import Scale, Table
from ninefold.study.plan import Comparison, Plan, Timed, Trained
from ninefold.study.steps import random_images, work_of
from ninefold.study.swin_cost import no_data
from ninefold.study.timing import in_turns

DATA: dict[Scale, tuple[str, str]] = {
    "smoke": (
        "synthetic://classification?size=32&train=64&val=24&test=96",
        "generated pictures of 32 pixels, twelve outlines on textures",
    ),
    "laptop": (
        "synthetic://classification?size=64&train=2000&val=1000&test=4000",
        "generated pictures of 64 pixels, twelve outlines on textures",
    ),
    "gpu": (
        "torchvision://CIFAR10?root=data",
        "CIFAR-10: 50,000 and 10,000 photos of 32 pixels, ten classes",
    ),
}

FOCAL: dict[Scale, tuple[str, ...]] = {
    "smoke": ("embed_dim=8", "num_heads=[1,1,2]", "depths=[1,1,1]"),
    "laptop": (),
    "gpu": (
        "patch_size=1",
        "embed_dim=48",
        "depths=[2,2,6,2]",
        "num_heads=[2,4,8,16]",
        "focal_levels=[2,2,2,2]",
        "focal_windows=[3,3,3,1]",
        "expand_sizes=[2,2,2,2]",
    ),
}
"""Options of `focal_atto`. At 64 pixels it has maps of 16, 8 and 4 tokens a side under windows of
4: the ring reaches 2 tokens, the coarse part 3 x 3 windows."""

SWIN: dict[Scale, tuple[str, ...]] = {
    "smoke": ("embed_dim=8", "num_heads=[1,1,2]", "depths=[1,1,1]"),
    "laptop": ("mlp_ratio=5",),
    "gpu": (
        "patch_size=1",
        "embed_dim=48",
        "depths=[2,2,6,2]",
        "num_heads=[2,4,8,16]",
        "mlp_ratio=4.5",
    ),
}
"""Options of `swin_atto`: the same channels, blocks, heads and windows as Focal. What Focal spends
on its further keys, Swin spends on wider perceptrons, until both do the same multiply-adds within
one per cent (laptop: 24.4 and 24.3 million; Swin has 654 thousand parameters then, Focal 578)."""


def focal_or_swin(scale: Scale, data: str) -> Plan:
    """Focal, and a Swin of equally many multiply-adds, from nothing on the same pictures."""
    address, told = _data(scale, data)
    focal = Trained(_run("focal_atto", FOCAL[scale], scale, address))
    swin = Trained(_run("swin_atto", SWIN[scale], scale, address))
    return Plan((Comparison(focal, swin),), _seeds(scale), told)


def focal_near_and_far(scale: Scale, data: str) -> Plan:
    """Focal, and the same network without its coarse tokens, without its ring, and without both.

    What is left out is not made up for elsewhere: the poorer networks do fewer multiply-adds.
    """
    address, told = _data(scale, data)
    stages = 4 if scale == "gpu" else 3
    near, far = (f"{name}={[value] * stages}".replace(" ", "") for name, value in LACKING)
    both = Trained(_run("focal_atto", FOCAL[scale], scale, address))

    def without(less: tuple[str, ...]) -> Trained:
        names = {word.partition("=")[0] for word in less}
        kept = tuple(word for word in FOCAL[scale] if word.partition("=")[0] not in names)
        return Trained(_run("focal_atto", (*kept, *less), scale, address))

    pairs = [
        Comparison(both, without(less), setting)
        for setting, less in (
            ("against windows and ring", (near,)),
            ("against windows and coarse tokens", (far,)),
            ("against windows alone", (near, far)),
        )
    ]
    return Plan(tuple(pairs), _seeds(scale), told)


LACKING = (("focal_levels", 1), ("expand_sizes", 0))
"""What takes the coarse tokens away, and what the ring."""


def _data(scale: Scale, data: str) -> tuple[str, str]:
    address, told = DATA[scale]
    return data or address, f"`{data}`" if data else f"{told} (`{address}`)"


def _seeds(scale: Scale) -> int:
    return {"smoke": 2, "laptop": 4, "gpu": 5}[scale]


def _run(model: str, options: tuple[str, ...], scale: Scale, data: str) -> Run:
    run = quickstart(
        model=model,
        data=data,
        batch_size={"smoke": 16, "laptop": 64, "gpu": 256}[scale],
        epochs={"smoke": 2, "laptop": 10, "gpu": 60}[scale],
        model_options=options,
        preprocess=Preprocess(image_size=64 if scale == "laptop" else 32, crop_fraction=1.0),
    )
    return run.changed(workers=0) if scale == "smoke" else run


PLACES: dict[str, tuple[int, ...]] = {
    "none": (),
    "1-3": (1, 2, 3),
    "1-5": (1, 2, 3, 4, 5),
    "1-7": (1, 2, 3, 4, 5, 6, 7),
}
"""Rows of Table 3 as `fused_stages` of EfficientNet-B4."""

MODES: tuple[Mode, ...] = ("inference", "training")


def fused_early(scale: Scale, data: str) -> Plan:
    """Images a second of EfficientNet-B4 with fused blocks in stages 1 to 3, and without any.

    A forward pass, and a training step with AdamW, both on random images: on a CPU in float32 at
    128 pixels, where the paper expects nothing of the kind; at the scale for a GPU on CUDA in bf16
    at the paper's 380. All rows of Table 3 are measured in the same rounds.
    """
    no_data(data)
    options: dict[str, Any] = {
        "smoke": {"model": "efficientnet_atto", "image_size": 32, "batch_size": 2, "rounds": 1},
        "laptop": {"model": "efficientnet_b4", "image_size": 128, "batch_size": 4, "rounds": 3},
        "gpu": {
            "model": "efficientnet_b4",
            "image_size": 380,
            "batch_size": 32,
            "rounds": 5,
            "device": "cuda",
        },
    }[scale]
    here = "ninefold.study.zoo_claims:fused_speed"
    pairs: list[Comparison] = []
    for mode in MODES:
        mine, other = (Timed(here, options, f"{row} {mode} images/s") for row in ("1-3", "none"))
        pairs.append(Comparison(mine, other, mode, tables=_fused_table))
    told = f"random images of {options['image_size']} pixels, {options['batch_size']} at a time"
    return Plan(tuple(pairs), 2 if scale == "smoke" else 5, told)


def fused_speed(
    *, model: str, image_size: int, batch_size: int, rounds: int, seed: int, device: str = "cpu"
) -> dict[str, float]:
    """What each row of Table 3 costs.

    Args:
        model: An EfficientNet of seven stages.
        image_size: Side of the images, in pixels.
        batch_size: Images at a time.
        rounds: Samples of each.
        seed: Decides the order of the first round.
        device: `cpu`, in float32; or `cuda`, in bf16 by autocast.

    Returns:
        By row and what was measured: `1-3 training images/s`, `none GMACs` of an image, and
        `none millions` of parameters.
    """
    place = torch.device(device)
    images = random_images(batch_size, 3, image_size, place)
    found: dict[str, float] = {}
    works: dict[str, Callable[[], object]] = {}
    for row, stages in PLACES.items():
        torch.manual_seed(0)
        net = create_model(model, image_size=image_size, fused_stages=stages)
        found[f"{row} millions"] = sum(p.numel() for p in net.parameters()) / 1e6
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net.eval()(torch.zeros(1, 3, image_size, image_size))
        found[f"{row} GMACs"] = counter.get_total_flops() / 2e9
        for mode in MODES:
            precision = "bf16" if device == "cuda" else "fp32"
            work = work_of(net, images, mode=mode, precision=precision)
            works[f"{row} {mode}"] = partial(_in_mode, net, mode == "training", work)
    for work in works.values():
        work()
    for name, seconds in in_turns(works, rounds, seed, place).items():
        found[f"{name} images/s"] = batch_size / seconds
    return found


def _in_mode(net: nn.Module, training: bool, work: Callable[[], object]) -> None:
    net.train(training)
    work()


def _fused_table(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    def mean(name: str) -> float:
        return sum(one[name] for one in readings) / len(readings)

    rows = [
        (
            row,
            mean(f"{row} millions"),
            mean(f"{row} GMACs"),
            *(mean(f"{row} {mode} images/s") for mode in MODES),
        )
        for row in PLACES
    ]
    title = "By the stages whose blocks are fused: size, multiply-adds of an image, speed (means)"
    columns = ("fused", "million parameters", "GMACs", *(f"images/s, {mode}" for mode in MODES))
    return (Table(title=title, columns=columns, rows=tuple(rows)),)
