"""A learning rate to begin with: a short training whose rate rises until the loss does.

Source: Smith 2017, arXiv 1506.01186, section 3.3 (the range test); the exponential rise and the
smoothed loss as in fastai, whose users call it the learning-rate finder.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.engine.build import build, refuse_among_classes, set_up
from ninefold.engine.co_train import update_of
from ninefold.engine.config import Run
from ninefold.engine.device import launch
from ninefold.engine.failure import memory_advice, memory_told
from ninefold.engine.feed import preparation, training_batches
from ninefold.engine.figures import draw_rates
from ninefold.engine.folder import RUN, RUNS, claim
from ninefold.engine.loop import fit
from ninefold.engine.room import fewest_parts
from ninefold.engine.stages import Course
from ninefold.engine.update import NotFinite, State

LEAST, MOST, STEPS = 1e-7, 10.0, 100
"""Rates of the first and the last step, and how many steps there are."""

SMOOTHING = 0.9
"""Share of the smoothed loss that a step keeps."""

DIVERGED = 3.0
"""Times the least smoothed loss at which the test ends."""

SETTLED = 10
"""Steps before which the smoothed loss is that of single batches."""

RATES = "lr_finder.jsonl"


@dataclass(frozen=True)
class Tried:
    """One step of the test: its rate, its loss, and the smoothed loss up to it."""

    lr: float
    loss: float
    smooth: float


class _Diverged(Exception):
    pass


def find_rate(run: Run, *, out: str | Path = "", device: str = "auto") -> tuple[float, Path]:
    """Try rates from 1e-7 to 10 in 100 steps of the run's own batches, from the run's own weights.

    Neither the validation nor the test part is looked at, and nothing is kept of the weights.

    Args:
        out: Where `lr_finder.jsonl` and `figures/lr_finder.png` are written; without it
            `runs/NNNN`.
        device: As for `train`.

    Returns:
        The rate to try, and the folder.

    Raises:
        Refused: something does not fit, `out` holds a run, or there are several processes.
        Failed: the loss did not fall at any rate.
    """
    if out and (Path(out) / RUN).exists():
        raise Refused(f"{out}: holds a run already; choose another --out for the search of a rate")
    refuse_among_classes(run, Path(out or RUNS))
    fabric, _, _ = launch(run.precision, device)
    if fabric.world_size > 1:
        raise Refused(f"--find-lr: {fabric.world_size} processes; one is enough")
    parts = build(run, 1)
    folder = claim(out)
    run = parts.run
    count = run.accumulate or fewest_parts(parts, fabric)[0]
    state = set_up(run, parts, fabric)
    course = Course(run, parts.stop)
    tried: list[Tried] = []

    def batches(start: int) -> Generator[Batch]:
        yield from training_batches(run, parts.data, fabric, start, parts.stop)

    def rise(state: State) -> None:
        course.set_dropout(state.model, state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = rate_at(state.step) * group.get("lr_scale", 1.0)

    def note(state: State, batch: Batch, logs: dict[str, Tensor]) -> None:
        extend(tried, float(logs["loss"]))
        if not tried[-1].smooth < DIVERGED * min(t.smooth for t in tried):
            raise _Diverged

    try:
        with memory_told(
            fabric.device, step=lambda: "--find-lr", advice=memory_advice(run.batch_size, count)
        ):
            fit(
                fabric, state, seed=run.seed, stop=STEPS, batches=batches,
                prepare=preparation(run, parts.data, fabric, parts.stop), schedule=rise,
                update=update_of(
                    run.changed(accumulate=count), len(parts.data.classes), parts.stop
                ),
                after_step=[note],
            )  # fmt: skip
    except (_Diverged, NotFinite):
        pass
    lines = [json.dumps({"step": i, **asdict(t)}) for i, t in enumerate(tried)]
    (folder / RATES).write_text("\n".join(lines) + "\n", encoding="utf-8")
    rate = suggestion(tried)
    draw_rates(folder, [asdict(t) for t in tried], rate)
    return rate, folder


def rate_at(step: int) -> float:
    """From `LEAST` to `MOST`, by the same factor every step."""
    return LEAST * (MOST / LEAST) ** (step / (STEPS - 1))


def extend(tried: list[Tried], loss: float) -> None:
    """Note the loss of one more step; the smoothed one is corrected for its start, as in Adam."""
    count = len(tried)
    before = tried[-1].smooth * (1 - SMOOTHING**count) if tried else 0.0
    smooth = (SMOOTHING * before + (1 - SMOOTHING) * loss) / (1 - SMOOTHING ** (count + 1))
    tried.append(Tried(rate_at(count), loss, smooth))


def suggestion(tried: Sequence[Tried]) -> float:
    """A tenth of the rate with the least smoothed loss, of two digits.

    Not where the loss falls steepest: from new weights that is often the fall to the loss of
    guessing, at a rate ten times too small.

    Raises:
        Failed: the loss fell nowhere.
    """
    losses = [t.smooth for t in tried]
    least = min(range(len(losses)), key=lambda i: losses[i], default=0)
    if least < SETTLED:
        raise Failed(
            f"--find-lr: in {len(tried)} steps up to a rate of {rate_at(len(tried) - 1):.2g} the "
            "loss fell at no rate; look at the data and the weights"
        )
    return float(f"{tried[least].lr / 10:.2g}")
