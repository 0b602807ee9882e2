"""What the training loop costs over a bare one: same model, optimizer and batches.

    python benchmarks/loop_overhead.py                     (a few minutes)
    python benchmarks/loop_overhead.py --cases swin_atto:64 --rounds 49

Both loops run in one process, some steps of one, then of the other. Ours starts from uint8 and has
all that a run has: normalisation, schedule, noise seeded by the step, gradient norm, watch over
finite values, log lines. The bare one has forward, backward and the optimizer, on inputs that were
normalised before. Told is the median of the rounds' ratios, with their quartiles; the goal is 1.03
at the most.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch.nn import functional as F

from ninefold.core.batch import Batch
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result
from ninefold.engine.device import launch
from ninefold.engine.hooks import FiniteWatch, Logger
from ninefold.engine.loop import fit
from ninefold.engine.prepare import Prepare
from ninefold.engine.update import State, descend
from ninefold.models.create import create_model, preset_of
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import AdamW, Schedule
from ninefold.optim.schedule import factor
from ninefold.study.steps import state_of

GOAL = 1.03
CLASSES = 10


class Nobody:
    """An observer that hears of everything and does nothing."""

    def started(self, plan: Any) -> None: ...
    def stepped(self, step: int) -> None: ...
    def logged(self, record: dict[str, Any]) -> None: ...
    def evaluated(self, result: Result, best: bool) -> None: ...
    def saved(self, path: Any) -> None: ...
    def finished(self, results: list[Result]) -> None: ...


def bare_steps(name: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[int], None]:
    """Steps of a loop that has nothing that is not needed."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=CLASSES)
    optimizer = make_optimizer(model, AdamW())
    x = Prepare(Preprocess(), torch.device("cpu"))(Batch(x=images)).x

    def steps(count: int) -> None:
        for _ in range(count):
            loss = F.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def our_steps(name: str, images: torch.Tensor, labels: torch.Tensor) -> Callable[[int], None]:
    """Steps of the loop that `ninefold train` runs."""
    torch.manual_seed(0)
    fabric, _, _ = launch("32-true")
    model = create_model(name, num_classes=CLASSES)
    state = state_of(fabric, model, AdamW(), CLASSES)
    watch = FiniteWatch(fabric.device)
    logger = Logger(fabric, Nobody(), every=5, epoch=50, batch_size=len(images))

    def batches(start: int) -> Generator[Batch]:
        while True:
            yield Batch(x=images, y=labels)

    def schedule(state: State) -> None:
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-3 * factor(Schedule(), 0.5) * group["lr_scale"]

    def steps(count: int) -> None:
        fit(
            fabric, state, seed=0, stop=state.step + count, batches=batches,
            prepare=Prepare(Preprocess(), fabric.device), schedule=schedule, update=descend,
            after_step=[watch, logger],
        )  # fmt: skip

    return steps


def seconds(steps: Callable[[int], None], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    steps(count)
    return (clock() - start) / count


def compare(
    name: str, batch_size: int, *, rounds: int, count: int, clock: Callable[[], float]
) -> float:
    """Print and return our time over the bare loop's."""
    size = preset_of(name).preprocess.image_size
    images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
    labels = torch.arange(batch_size) % CLASSES
    ours, bare = our_steps(name, images, labels), bare_steps(name, images, labels)
    for steps in (ours, bare):
        steps(2)
    pairs: list[tuple[float, float]] = []
    for i in range(rounds):
        order = (bare, ours) if i % 2 else (ours, bare)
        times = {steps: seconds(steps, count, clock) for steps in order}
        pairs.append((times[ours], times[bare]))
    ratios = [a / b for a, b in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    bare_ms = 1e3 * statistics.median(b for _, b in pairs)
    print(
        f"{name} batch {batch_size}: {ratio:.3f} (quartiles {low:.3f} and {high:.3f}; "
        f"a bare step {bare_ms:.0f} ms, {torch.get_num_threads()} threads)"
    )
    return ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", nargs="+", default=["swin_atto:64", "swin_tiny:8"])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=2, help="steps a loop and round")
    busy = "count processor time, for a busy machine; with OMP_NUM_THREADS=1"
    parser.add_argument("--cpu-time", action="store_true", help=busy)
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    ratios = [
        compare(name, int(size), rounds=given.rounds, count=given.steps, clock=clock)
        for name, _, size in (case.partition(":") for case in given.cases)
    ]
    return int(max(ratios) > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
