"""Time of several contestants, taken in turns: A B C, B C A, C A B, ...

A machine changes its speed under the measurement. So only ratios within a round are compared; the
order rotates, because whoever runs first pays for cold caches; and between rounds a matrix product
of known work is timed: rounds that ran at another speed than most are left out.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

TOLERANCE = 0.15
"""Probes that differ by less are of one speed of the machine."""
SHORTEST = 0.1
"""A sample takes this many seconds at the least: fast work is repeated within it."""


@dataclass(frozen=True)
class Rounds:
    """Samples of the rounds that were kept.

    Args:
        seconds: By contestant, one sample a round.
        discarded: How many other rounds were measured.
        steady: False where no two rounds had one speed, and so all were kept.
    """

    seconds: dict[str, tuple[float, ...]]
    discarded: int
    steady: bool

    def ratios(self, name: str, to: str) -> list[float]:
        """Quartiles of one contestant's time over another's, round by round."""
        pairs = zip(self.seconds[name], self.seconds[to], strict=True)
        return statistics.quantiles([a / b for a, b in pairs], n=4)


def interleave(
    samples: Mapping[str, Callable[[], float]], probe: Callable[[], float], rounds: int
) -> Rounds:
    """Samples in rotating order, until `rounds` are of one speed or twice as many were taken.

    Args:
        samples: For each contestant, what takes one sample in seconds.
        probe: The time of a fixed piece of work, taken before, between and after the rounds.
    """
    taken: list[dict[str, float]] = []
    probes = [probe()]
    names = list(samples)
    steady: list[int] = []
    while len(steady) < rounds and len(taken) < 2 * rounds:
        first = len(taken) % len(names)
        order = names[first:] + names[:first]
        taken.append({name: samples[name]() for name in order})
        probes.append(probe())
        steady = steady_rounds(probes)
    kept = steady[:rounds] or range(len(taken))
    seconds = {name: tuple(taken[i][name] for i in kept) for name in names}
    return Rounds(seconds, len(taken) - len(kept), bool(steady))


def steady_rounds(probes: Sequence[float], tolerance: float = TOLERANCE) -> list[int]:
    """Rounds between whose probes, the one before and the one after, the machine had one speed.

    That speed is the one that most probes agree on within `tolerance`, the faster of two with
    equally many. There may be no round between two such probes.
    """

    def agreeing(fastest: float) -> list[bool]:
        return [fastest <= p <= fastest * (1 + tolerance) for p in probes]

    best = max(sorted(set(probes)), key=lambda p: sum(agreeing(p)))
    fits = agreeing(best)
    return [i for i in range(len(probes) - 1) if fits[i] and fits[i + 1]]


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int = 1) -> float:
    """Time of one call of `work`, which is called `repeats` times; the device has then finished."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000 / repeats
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "mps":
        torch.mps.synchronize()
    return (time.perf_counter() - began) / repeats


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    seed: int,
    device: torch.device | None = None,
) -> dict[str, float]:
    """The median seconds of each piece of work, which has been done before.

    Args:
        rounds: Samples of each.
        seed: Decides the order of the first round.
        device: Where they compute; without it the CPU.
    """
    place = device or torch.device("cpu")
    names = list(works)
    random.Random(seed).shuffle(names)
    samples = samples_of({name: works[name] for name in names}, place)
    taken = interleave(samples, matrix_probe(place), rounds)
    return {name: sorted(values)[len(values) // 2] for name, values in taken.seconds.items()}


def samples_of(
    works: Mapping[str, Callable[[], object]], device: torch.device
) -> dict[str, Callable[[], float]]:
    """For each piece of work, which has been done before, what takes one sample in seconds."""
    return {
        name: partial(seconds_of, work, device, repeats_for(seconds_of(work, device)))
        for name, work in works.items()
    }


def repeats_for(seconds: float) -> int:
    """How often work of that length is repeated in one sample."""
    return max(1, math.ceil(SHORTEST / seconds))


def matrix_probe(device: torch.device) -> Callable[[], float]:
    """The median time of a few products of square matrices in float32."""
    side = 1024 if device.type == "cpu" else 4096
    a, b = (torch.ones(side, side, device=device) for _ in range(2))
    out = torch.empty_like(a)

    def probe() -> float:
        times = sorted(seconds_of(lambda: torch.mm(a, b, out=out), device) for _ in range(5))
        return times[2]

    probe()
    return probe
