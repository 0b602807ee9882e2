"""What a benchmark measured: its record, with ratios and conditions. Free of torch.

A record is one JSON file of `ninefold bench --out FILE`; all that is told of it, on a terminal or
on a page, is computed from the samples in it.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ninefold.core.config import Config
from ninefold.core.errors import Refused

OURS = "ninefold"
EQUAL = 1e-4
"""Largest difference of an output, in float32, up to which two models count as the same."""

Mode = Literal["inference", "training"]
Precision = Literal["fp32", "bf16", "bf16-weights"]


@dataclass(frozen=True)
class Spread:
    """Ratios of paired samples.

    Args:
        median: Below 1 the first of the two is faster.
        low: Lower quartile.
        high: Upper quartile.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spread(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Quartiles of the ratios of samples that were taken in the same rounds."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    if len(ratios) == 1:
        return Spread(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Spread(median, low, high)


class Contestant(Config):
    """One implementation of the model."""

    library: str
    """`ninefold`, or the peer's."""
    name: str
    """Its class there."""
    version: str
    parameters: PositiveInt
    macs: NonNegativeInt
    """Multiply-adds of the forward pass of one image, as torch's FlopCounterMode counts them; 0
    where it could not."""
    difference: float | None = Field(default=None, allow_inf_nan=True)
    """Of a peer: its largest difference from our output with the same weights, in float32; NaN, or
    None as a file keeps it, where an output is not finite."""


class Timing(Config):
    """One contestant in one cell."""

    library: str
    seconds: tuple[PositiveFloat, ...] = Field(min_length=1)
    """Of one batch; one sample a round that was kept."""
    memory: PositiveInt | None = None
    """Highest use above that of the built model, in bytes, measured in a process of its own."""
    compile_seconds: float | None = None
    """Time of the first call, where the model was compiled."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Cell(Config):
    """One piece of work, done by every contestant in turn."""

    mode: Mode
    precision: Precision
    batch_size: PositiveInt
    compiled: bool
    discarded: NonNegativeInt
    """Rounds that were measured while the machine ran at another speed, and are left out."""
    timings: tuple[Timing, ...]
    """Ours first."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.timings or self.timings[0].library != OURS:
            raise ValueError("the first timing of a cell is ours")
        if len({len(t.seconds) for t in self.timings}) != 1:
            raise ValueError("all timings of a cell have a sample a round")
        return self

    @property
    def name(self) -> str:
        """`inference fp32 b1`."""
        told = f"{self.mode} {self.precision} b{self.batch_size}"
        return f"{told} compiled" if self.compiled else told

    @property
    def ours(self) -> Timing:
        return self.timings[0]

    @property
    def rounds(self) -> int:
        return len(self.ours.seconds)

    def timing(self, library: str) -> Timing | None:
        """That of one library, where it took part."""
        return next((t for t in self.timings if t.library == library), None)

    def ratio(self, library: str) -> Spread | None:
        """Our time over theirs, round by round."""
        theirs = self.timing(library)
        return spread(self.ours.seconds, theirs.seconds) if theirs else None

    def fastest_peer(self) -> str:
        """The peer with the smallest median; nothing where there is none."""
        peers = self.timings[1:]
        return min(peers, key=lambda t: t.median).library if peers else ""

    def memory_ratio(self) -> float | None:
        """Our memory over that of the leanest peer."""
        peers = [t.memory for t in self.timings[1:] if t.memory]
        return self.ours.memory / min(peers) if peers and self.ours.memory else None


class Benched(Config):
    """One model with its peers."""

    model: str
    image_size: PositiveInt
    contestants: tuple[Contestant, ...] = Field(min_length=1)
    """Ours first."""
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    def differing(self) -> list[Contestant]:
        """Peers whose output is not ours: their ratios compare different work."""
        return [c for c in self.contestants[1:] if differs(c.difference)]


def differs(difference: float | None) -> bool:
    """Whether two outputs are further apart than rounding explains; NaN and None are."""
    return difference is None or not difference <= EQUAL


class Bench(Config):
    """All that one command measured."""

    models: tuple[Benched, ...]
    device: str
    """`cpu`, `cuda` or `mps`."""
    hardware: str
    threads: PositiveInt
    versions: str
    command: str
    """Repeats the measurement."""
    date: str
    minutes: float


def read_bench(path: str | Path) -> Bench:
    """Read a kept record.

    Raises:
        Refused: a file that is no record of a benchmark.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path}: not JSON: {' '.join(str(error).split())}") from None
    return Bench.parse(values, where=str(path))
