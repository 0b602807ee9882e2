"""What augmentation costs a training step that is fed on the CPU: the same crop and model without.

    python benchmarks/augment_cost.py --threads 2                       (Swin-T, two minutes)
    python benchmarks/augment_cost.py --data FOLDER --augments none augreg_light2 swin --rounds 20
    python benchmarks/augment_cost.py --model vit_atto --batch-size 32 --rounds 6      (a minute)

All run in one process, in turns that rotate, on the same pictures, decoded before; loading happens
in this process, so that nothing of it hides behind the step. A step is crop, flip, augmentation,
normalisation, Mixup, forward, backward and AdamW. Told is the median of the rounds' ratios to the
first augmentation, with their quartiles, and how much of a step each spends before the model; the
goal for RandAugment with Mixup beside a Swin-T is 1.05 at the most.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from ninefold.augment.batch import BatchAugment
from ninefold.augment.config import Augment
from ninefold.augment.sample import SampleAugment
from ninefold.core.batch import Batch, Sample
from ninefold.core.preprocess import Preprocess
from ninefold.data.loader import train_batches
from ninefold.data.open import open_images
from ninefold.data.records import Records
from ninefold.engine.device import launch
from ninefold.engine.prepare import Prepare
from ninefold.engine.update import descend
from ninefold.models.create import create_model, preset_of
from ninefold.optim.config import AdamW
from ninefold.recipes.parts import AUGMENTS
from ninefold.study.steps import state_of

GOAL = 1.05
CLASSES = 10
PICTURES = 64


def pictures(data: str) -> Records:
    """Some decoded photos of a folder; without one, smooth random pictures of 500 x 375 pixels."""
    if data:
        found = open_images(data)
        step = max(1, len(found) // PICTURES)
        images = [found.load(i).x for i in range(0, len(found), step)][:PICTURES]
    else:
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(PICTURES, 3, 9, 12, generator=generator)
        grown = torch.nn.functional.interpolate(coarse, (375, 500), mode="bicubic")
        grain = 0.05 * torch.randn(grown.shape, generator=generator)
        images = list((255 * (grown + grain)).clamp(0, 255).to(torch.uint8))
    labels = [i % CLASSES for i in range(len(images))]
    names = [str(i) for i in range(len(images))]
    return Records(names, labels, lambda i: Sample(images[i], labels[i]))


class Fed:
    """Batches of one augmentation, prepared for the model."""

    def __init__(
        self, augment: Augment, records: Records, preprocess: Preprocess, batch_size: int
    ) -> None:
        self._batches: Iterator[Batch] = train_batches(
            records, transform=SampleAugment(augment, preprocess), batch_size=batch_size, seed=0,
            start_step=0, workers=0, image_size=preprocess.image_size,
        )  # fmt: skip
        mix = BatchAugment(augment, CLASSES)
        self._prepare = Prepare(preprocess, torch.device("cpu"), lambda batch, _: mix(batch))

    def __call__(self) -> Batch:
        """The next batch."""
        return self._prepare(next(self._batches))


def steps(name: str) -> Callable[[Batch], None]:
    """The training step of a model."""
    torch.manual_seed(0)
    fabric, _, _ = launch("32-true")
    model = create_model(name, num_classes=CLASSES)
    state = state_of(fabric, model, AdamW(), CLASSES)

    def step(batch: Batch) -> None:
        descend(fabric, state, batch)

    return step


def measure(
    names: list[str], feeds: dict[str, Fed], step: Callable[[Batch], None], *, rounds: int,
    count: int, clock: Callable[[], float],
) -> dict[str, list[tuple[float, float]]]:  # fmt: skip
    """By augmentation, of each round the seconds of a step and of that what comes before it."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            fed, begun = 0.0, clock()
            for _ in range(count):
                before = clock()
                batch = feeds[name]()
                fed += clock() - before
                step(batch)
            found[name].append(((clock() - begun) / count, fed / count))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="swin_tiny")
    parser.add_argument("--augments", nargs="+", default=["augreg_none", "augreg_medium2"])
    parser.add_argument("--data", default="", help="a folder of images")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=1, help="steps an augmentation and round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    busy = "count processor time, for a busy machine; with OMP_NUM_THREADS=1"
    parser.add_argument("--cpu-time", action="store_true", help=busy)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    records, preprocess = pictures(given.data), preset_of(given.model).preprocess
    names: list[str] = given.augments
    feeds = {n: Fed(AUGMENTS[n], records, preprocess, given.batch_size) for n in names}
    step = steps(given.model)
    for name in names:
        step(feeds[name]())
    found = measure(
        names, feeds, step, rounds=given.rounds, count=given.steps,
        clock=time.process_time if given.cpu_time else time.perf_counter,
    )  # fmt: skip
    print(f"{given.model}, batches of {given.batch_size}, {torch.get_num_threads()} threads")
    worst, plain = 0.0, found[names[0]]
    for name in names:
        total = statistics.median(whole for whole, _ in found[name])
        fed = statistics.median(before for _, before in found[name])
        ratios = [mine / other for (mine, _), (other, _) in zip(found[name], plain, strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        worst = max(worst, ratio)
        print(f"{name:16} {1e3 * total:8.1f} ms a step, {1e3 * fed:6.1f} ms of it before the model;"
              f" ratio {ratio:.3f} (quartiles {low:.3f} and {high:.3f})")  # fmt: skip
    return int(worst > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
