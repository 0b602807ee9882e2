"""Batches as a function of (seed, step): the same for any number of workers, from any step on.

The epochs' permutations stand one after the other in one endless sequence; step k takes places
[k b, (k + 1) b) of it, and rank r of n every n-th of these, from the r-th on.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.errors import Refused
from ninefold.core.noise import mixed
from ninefold.core.preprocess import Preprocess
from ninefold.data.fetch import Fetch, Request, Transform, in_this_process
from ninefold.data.records import Records
from ninefold.data.transform import EvaluationTransform
from ninefold.data.workers import Plan, worker_batches

_MANY = 12
"""Workers that are chosen at the most; beyond them the parent is the narrow place."""
_FEW = 1000
"""Samples whose evaluation on a CPU is not worth a process."""


def train_batches(
    records: Records,
    *,
    transform: Transform | Sequence[Transform],
    batch_size: int,
    seed: int,
    start_step: int,
    workers: int,
    image_size: int | Callable[[int], int],
    stage: Callable[[int], int] = lambda step: 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The endless batches of a training from `start_step` on, uint8.

    Args:
        transform: Called with each sample, its own generator and the image size; or several, of
            which `stage` chooses.
        batch_size: Samples a step, over all ranks.
        workers: Processes that load; 0 loads in this one, -1 chooses by `choose_workers`.
        image_size: Side of the images in pixels, or a function of the step.
        stage: The place, among several transforms, of the one that a step takes.

    Raises:
        Refused: no records, or a batch size that ranks cannot share; while iterating, a file that
            cannot be decoded.
        Failed: while iterating, a worker that dies or hangs.
    """
    if not len(records):
        raise Refused("train: the data hold no images to train on")
    if batch_size % world:
        raise Refused(f"train: batch_size {batch_size} does not divide by {world} processes")

    def size(step: int) -> int:
        return image_size if isinstance(image_size, int) else image_size(step)

    def plan(first: int) -> Iterator[list[Request]]:
        epoch, order = -1, torch.empty(0)
        for step in itertools.count(first):
            rows: list[Request] = []
            side, which = size(step), stage(step)
            for place in range(step * batch_size + rank, (step + 1) * batch_size, world):
                if place // len(records) != epoch:
                    epoch = place // len(records)
                    order = permutation(len(records), seed, epoch)
                rows.append(Request(int(order[place % len(records)]), epoch, side, which))
            yield rows

    if workers < 0:
        workers = choose_workers()
    transforms = transform if isinstance(transform, Sequence) else (transform,)
    return _batches(Fetch(records, transforms, seed), plan, start_step, workers)


def evaluation_batches(
    records: Records,
    *,
    preprocess: Preprocess,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """This rank's share of every sample once, in order, uint8.

    Every rank gets the same number of batches of the same sizes; what is lacking for that is
    filled up with rows whose `index` is -1, only in the last batch.

    Args:
        batch_size: Samples a batch on each rank.
        workers: As for `train_batches`; few batches are loaded in this process all the same.

    Raises:
        Refused: while iterating, a file that cannot be decoded.
        Failed: while iterating, a worker that dies or hangs.
    """
    count, size = len(records), preprocess.image_size

    def plan(first: int) -> Iterator[list[Request]]:
        for start in range(first * batch_size * world, count, batch_size * world):
            rows = -(-min(count - start, batch_size * world) // world)
            places = (start + rank + world * row for row in range(rows))
            yield [Request(place if place < count else -1, 0, size) for place in places]

    if workers < 0:
        small = count < _FEW and not torch.cuda.is_available()
        workers = 0 if small else choose_workers()
    steps = -(-count // (batch_size * world))
    fetch = Fetch(records, (EvaluationTransform(preprocess),), seed=0)
    return _batches(fetch, plan, 0, min(workers, steps // 2))


def _batches(fetch: Fetch, plan: Plan, first: int, workers: int) -> Iterator[Batch]:
    if workers:
        yield from worker_batches(fetch, plan, first, workers)
        return
    for requests in plan(first):
        with in_this_process():
            batch = fetch(requests)
        yield batch


def permutation(count: int, seed: int, epoch: int) -> Int[Tensor, " n"]:
    """The order of an epoch, a function of the three numbers."""
    generator = torch.Generator().manual_seed(mixed(seed, epoch))
    return torch.randperm(count, generator=generator)


def choose_workers() -> int:
    """How many processes load where the user leaves it open.

    With a GPU one a core of this rank's share but one, 12 at the most. Without, one where there
    are two cores or more: the model's threads share the cores with it, and images are never the
    narrow place there.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = (cores or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        return max(1, min(share - 1, _MANY))
    return 1 if share > 1 else 0
