"""From requests to one batch: decode, transform, collate; the same in any process.

Shapes: b samples, c channels, h rows, w columns, k classes.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ninefold.core.batch import Batch, Sample
from ninefold.core.errors import Failed, Refused, printable
from ninefold.core.noise import mixed, start_generators
from ninefold.data.records import Records

Transform = Callable[[Sample, torch.Generator, int], Sample]
"""`(sample, generator, image_size) -> sample`; what is random in it comes from the generator."""


@dataclass(frozen=True, slots=True)
class Request:
    """One row of a batch."""

    index: int
    """Position in the records; -1 for a filler."""
    epoch: int
    """How often the records were passed through before."""
    image_size: int
    """Side of the image that is wanted, in pixels."""
    transform: int = 0
    """The place, in `Fetch.transforms`, of the one that it goes through."""


@dataclass(frozen=True)
class Fetch:
    """Called with a batch's requests, gives the batch.

    Args:
        seed: With epoch and index decides the noise of a sample.
    """

    records: Records
    transforms: Sequence[Transform]
    seed: int

    def __call__(
        self, requests: Sequence[Request], note: Callable[[int], None] = lambda index: None
    ) -> Batch:
        """Load a batch.

        Args:
            note: Told the index of each sample before it is loaded.

        Raises:
            Refused: a file that cannot be decoded.
            Failed: anything else that goes wrong, with the file's name.
        """
        generator = torch.Generator()
        samples: list[Sample] = []
        for request in requests:
            note(request.index)
            samples.append(self._sample(request, generator))
        return collate(samples, [request.index for request in requests], self.records)

    def _sample(self, request: Request, generator: torch.Generator) -> Sample:
        value = mixed(self.seed, request.epoch, request.index)
        generator.manual_seed(value)
        start_generators(value)
        place = max(request.index, 0)
        try:
            sample = self.records.load(place)
            transform = self.transforms[request.transform]
            return transform(sample, generator, request.image_size)
        except (Refused, Failed, MemoryError):
            raise
        except Exception as error:
            reason = printable(" ".join(str(error).split()))
            name = printable(self.records.files[place])
            raise Failed(f"{name}: loading failed with {type(error).__name__}: {reason}") from error


@contextmanager
def in_this_process() -> Iterator[None]:
    """Samples are made on one thread, as in a worker, and leave the global generators alone."""
    threads = torch.get_num_threads()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - as below
    torch.set_num_threads(1)  # sums over an image would differ in their last bits
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 - the global one is what was seeded
        random.setstate(states[2])


def collate(samples: Sequence[Sample], index: Sequence[int], records: Records) -> Batch:
    """Stack samples of equal form.

    Raises:
        Failed: the transform gave images of different forms.
    """
    first = samples[0]
    names = [records.files[max(i, 0)] for i in index]
    boxes = [sample.boxes for sample in samples if sample.boxes is not None]
    originals = [sample.original for sample in samples if sample.original is not None]
    return Batch(
        x=_stacked([sample.x for sample in samples], names),
        y=None if first.y is None else _targets([s.y for s in samples], names, records.num_classes),
        index=torch.tensor(index),
        boxes=boxes or None,
        original=torch.tensor(originals) if originals else None,
        extra=_stacked([sample.extra for sample in samples], names),
    )


def _targets(values: list[Any], names: list[str], num_classes: int) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {k: _targets([v[k] for v in values], names, num_classes) for k in first}
    if isinstance(first, tuple):
        hot = torch.zeros(len(values), num_classes)
        for row, ids in zip(hot, values, strict=True):
            row[list(ids)] = 1.0
        return hot
    return _stacked(values, names) if isinstance(first, Tensor) else torch.tensor(values)


def _stacked(values: list[Any], names: list[str]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        return {key: _stacked([value[key] for value in values], names) for key in first}
    for value, name in zip(values, names, strict=True):
        if value.shape != first.shape:
            forms = f"{tuple(value.shape)}, and {printable(names[0])} to {tuple(first.shape)}"
            raise Failed(f"{printable(name)}: came to {forms}; a batch needs one form")
    return torch.stack(values)
