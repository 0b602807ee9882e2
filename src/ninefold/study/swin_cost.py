"""What attention costs, measured: growth with the number of pixels, and the rivals of Table 5.

Source: Liu et al. 2021, arXiv 2103.14030, equations 1 and 2 and Table 5.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.core.errors import Refused
from ninefold.layers.partition import fit_windows
from ninefold.layers.window import WindowAttention
from ninefold.models.create import create_model
from ninefold.models.swin import Swin, SwinBlock
from ninefold.report.measured import Scale, Table
from ninefold.study.memory import forget_peak, peak
from ninefold.study.plan import Comparison, Plan, Timed
from ninefold.study.timing import in_turns

KINDS: dict[str, dict[str, Any]] = {
    "window": {"shift": False},
    "cyclic": {},
    "padding": {"shift_impl": "padding"},
    "sliding": {"attention": "sliding"},
    "sliding naive": {"attention": "sliding_naive"},
    "performer": {"attention": "performer"},
}
"""Rows of Table 5 as options of Swin."""


def swin_linear_cost(scale: Scale, data: str) -> Plan:
    """Exponents of time over pixels: of windows, and of attention over the whole map.

    Both are the same Swin-T, or the attention layer of its first stage (96 channels, the one that
    equations 1 and 2 are about), once as it is, and once with one window as large as the map and
    neither shift nor bias. Forward passes of one image in float32, on a CPU at any scale.
    """
    no_data(data)
    small = scale == "smoke"
    sizes = (56, 112) if small else (224, 448, 672)
    pairs: list[Comparison] = []
    for part, told in (("layer", "one attention layer of 96 channels"), ("model", "Swin-T")):
        options = {"part": part, "sizes": sizes, "rounds": 1 if small else 2}
        here = "ninefold.study.swin_cost:linear_cost"
        mine, whole = (Timed(here, options, f"{kind} exponent") for kind in ("windows", "global"))
        pairs.append(Comparison(mine, whole, told, tables=partial(_cost_tables, sizes=sizes)))
    told = f"random images of {', '.join(map(str, sizes))} pixels"
    return Plan(tuple(pairs), 2 if small else 3, told)


def swin_table5(scale: Scale, data: str, *, against: str) -> Plan:
    """Images a second of Swin-T with shifted windows, and with a rival of Table 5.

    Forward passes in float32 on a CPU, at any scale. All rivals are measured in the same rounds, so
    that the claims of this table share their readings.
    """
    no_data(data)
    small = scale == "smoke"
    side, batch = (56, 1) if small else (224, 2)
    options = {"image_size": side, "batch_size": batch, "rounds": 1 if small else 3}
    here = "ninefold.study.swin_cost:table5"
    mine, other = (Timed(here, options, f"{kind} images/s") for kind in ("cyclic", against))
    pair = Comparison(mine, other, tables=_table5_tables)
    told = f"random images of {side} pixels, {batch} at a time"
    return Plan((pair,), 2 if small else 5, told)


def no_data(data: str) -> None:
    """Refuse data where time is measured on random images."""
    if data:
        raise Refused(f"reproduce: --data {data} has no use; this measures time on random images")


def linear_cost(*, part: str, sizes: Sequence[int], rounds: int, seed: int) -> dict[str, float]:
    """Seconds, bytes and floating-point operations by size, and the exponents of all three.

    Args:
        part: `layer` or `model`.
        sizes: Sides of the images, in pixels, from small to large.
        rounds: Samples of each.
        seed: Decides the order of the first round.

    Returns:
        By `windows` or `global`, and what was measured: `windows exponent`, `global gigabytes 448`.
    """
    found: dict[str, float] = {}
    works: dict[str, Callable[[], object]] = {}
    for size in sizes:
        for kind in ("windows", "global"):
            work = works[f"{kind} seconds {size}"] = _growing(part, kind, size)
            with FlopCounterMode(display=False) as counter:
                work()
            found[f"{kind} gigaflops {size}"] = counter.get_total_flops() / 1e9
            before = forget_peak()
            work()
            found[f"{kind} gigabytes {size}"] = max(peak() - before, 1) / 1e9
    found |= in_turns(works, rounds, seed)
    pixels = [float(size * size) for size in sizes]
    for kind in ("windows", "global"):
        for what, name in (
            ("seconds", "exponent"),
            ("gigabytes", "memory exponent"),
            ("gigaflops", "operations exponent"),
        ):
            values = [found[f"{kind} {what} {size}"] for size in sizes]
            found[f"{kind} {name}"] = fit_exponent(pixels, values)
    return found


def fit_exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the line through `log y` over `log x` with the least squares."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    middle_a, middle_b = sum(a) / len(a), sum(b) / len(b)
    above = sum((p - middle_a) * (q - middle_b) for p, q in zip(a, b, strict=True))
    return above / sum((p - middle_a) ** 2 for p in a)


def _growing(part: str, kind: str, size: int) -> Callable[[], object]:
    """A forward pass of the model, or of the first layer of attention alone, on one image."""
    whole = {"window_size": size // 4, "shift": False, "pos": "none"}
    model = _swin_tiny(size, whole if kind == "global" else {})
    if part == "model":
        return _forward(model, torch.randn(1, 3, size, size))
    return _attention_layer(model, 0, torch.randn(1, size // 4, size // 4, 96))


def table5(*, image_size: int, batch_size: int, rounds: int, seed: int) -> dict[str, float]:
    """Images a second of Swin-T for each kind, and milliseconds of one layer in each stage.

    Args:
        image_size: Side of the images, in pixels.
        batch_size: Images at a time.
        rounds: Samples of each.
        seed: Decides the order of the first round.

    Returns:
        By kind and what was measured: `cyclic images/s`, `performer ms 2` (in the second stage).
    """
    models = {kind: _swin_tiny(image_size, options) for kind, options in KINDS.items()}
    images = torch.randn(batch_size, 3, image_size, image_size)
    works = {kind: _forward(model, images) for kind, model in models.items()}
    for work in works.values():
        work()
    whole = in_turns(works, rounds, seed)
    found = {f"{kind} images/s": batch_size / seconds for kind, seconds in whole.items()}
    for stage in range(4):
        side, dim = image_size // 4 // 2**stage, 96 * 2**stage
        x = torch.randn(batch_size, side, side, dim)
        layers = {kind: _attention_layer(model, stage, x) for kind, model in models.items()}
        for layer in layers.values():
            layer()
        for kind, seconds in in_turns(layers, rounds, seed).items():
            found[f"{kind} ms {stage + 1}"] = 1000 * seconds
    return found


def _swin_tiny(image_size: int, options: Mapping[str, Any]) -> Swin:
    torch.manual_seed(0)
    model = create_model("swin_tiny", image_size=image_size, **options)
    assert isinstance(model, Swin)
    return model.eval()


def _forward(model: nn.Module, x: Tensor) -> Callable[[], object]:
    return torch.inference_mode()(lambda: model(x))


def _attention_layer(model: Swin, stage: int, x: Tensor) -> Callable[[], object]:
    """The attention of the second block of a stage, the one that shifts where any does."""
    block = model.get_submodule(f"layers.{stage}.blocks.1")
    assert isinstance(block, SwinBlock)
    layer = block.attn
    if isinstance(layer, WindowAttention):
        size = tuple(x.shape[1:-1])
        fitted = fit_windows(size, layer.window, shifted=block.shifted, policy=block.policy)
        return torch.inference_mode()(lambda: layer(x, *fitted))
    return _forward(layer, x)


def _mean(readings: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(one[name] for one in readings) / len(readings)


def _cost_tables(
    readings: Sequence[Mapping[str, float]], *, sizes: Sequence[int]
) -> tuple[Table, ...]:
    mean = partial(_mean, readings)
    rows: list[tuple[str | float, ...]] = []
    for what, exponent in (
        ("seconds", "exponent"),
        ("gigabytes", "memory exponent"),
        ("gigaflops", "operations exponent"),
    ):
        for kind in ("windows", "global"):
            values = [mean(f"{kind} {what} {size}") for size in sizes]
            rows.append((f"{kind}: {what}", *values, mean(f"{kind} {exponent}")))
    title = "By side of the image in pixels, and the exponent over the number of pixels (means)"
    return (Table(title=title, columns=("", *map(str, sizes), "exponent"), rows=tuple(rows)),)


def _table5_tables(readings: Sequence[Mapping[str, float]]) -> tuple[Table, ...]:
    mean = partial(_mean, readings)
    rows = [
        (
            kind,
            *(mean(f"{kind} ms {stage}") / mean(f"window ms {stage}") for stage in range(1, 5)),
            mean(f"{kind} images/s") / mean("cyclic images/s"),
        )
        for kind in KINDS
    ]
    title = (
        "Time of one attention layer, windows without shift being 1, by stage; and speed of the "
        "whole Swin-T, cyclic shifts being 1 (means)"
    )
    columns = ("", "stage 1", "stage 2", "stage 3", "stage 4", "Swin-T")
    return (Table(title=title, columns=columns, rows=tuple(rows)),)
