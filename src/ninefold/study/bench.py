"""Models beside the same models in other libraries: time, memory and size, on the same work.

Every peer runs with the weights that ours has taken over from it, and both outputs are compared
before anything is timed.
"""

import logging
import shlex
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from ninefold.core.config import Config
from ninefold.core.errors import Refused
from ninefold.core.results import write_json
from ninefold.engine.device import bf16_is_native, chosen_device
from ninefold.models.fusion import fuse
from ninefold.report.benched import OURS, Bench, Benched, Cell, Contestant, Mode, Precision, Timing
from ninefold.study.conditions import hardware, versions_told
from ninefold.study.memory import peak_memory
from ninefold.study.peers import (
    LIBRARIES,
    PEERS,
    Subject,
    build,
    check_libraries,
    describe,
    subject_of,
    take_over,
)
from ninefold.study.steps import random_images, work_of
from ninefold.study.timing import interleave, matrix_probe, repeats_for, seconds_of

log = logging.getLogger(__name__)

Tell = Callable[[str, float], None]


class Plan(Config):
    """What is measured.

    Raises:
        Refused: on parsing, where a value is none.
    """

    models: tuple[str, ...] = Field(min_length=1)
    """Presets, `timm/NAME`, or your own as `package.module:Name`."""
    against: tuple[str, ...] = LIBRARIES
    """Libraries whose model of the same kind runs beside ours; a missing one is noted."""
    modes: tuple[Mode, ...] = Field(default=("inference", "training"), min_length=1)
    """A training step is forward pass, cross entropy, backward pass and AdamW."""
    precisions: tuple[Precision, ...] = ()
    """`bf16` is autocast, `bf16-weights` is for inference alone; nothing for `fp32`, and `bf16`
    where the device computes it natively."""
    batch_sizes: tuple[PositiveInt, ...] = Field(default=(1, 8), min_length=1)
    """Images at a time."""
    compile: bool = False
    """Every cell once more with all contestants compiled."""
    image_size: PositiveInt | None = None
    """Side in pixels; nothing for the preset's."""
    rounds: PositiveInt = 7
    """Samples of every contestant in every cell, of rounds at one speed of the machine."""
    threads: PositiveInt | None = None
    """Of torch on a CPU; nothing for its own number."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, else Apple's MPS, else the CPU."""
    fuse: bool = False
    """In inference, our BatchNorms are computed by the convolutions before them (`models.fuse`)."""
    memory: bool = True
    """Measure peak memory too, a process a figure; of the first precision, without compiling."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if set(self.modes) == {"training"} and set(self.precisions) == {"bf16-weights"}:
            raise ValueError("bf16-weights is for inference; bf16 trains by autocast")
        return self

    def command(self) -> str:
        """The command that measures it, with the flags that are not at their defaults."""
        words = ["ninefold", "bench", *self.models]
        for name, field in type(self).model_fields.items():
            value: Any = getattr(self, name)
            if name == "models" or value == field.default:
                continue
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                words.append(flag if value else f"--no-{name}")
            else:
                words += [flag, *(str(v) for v in (value if isinstance(value, tuple) else [value]))]
        return shlex.join(words)


def bench(plan: Plan, *, out: str | Path = "", tell: Tell = lambda what, share: None) -> Bench:
    """Measure all models of a plan, one after the other.

    Args:
        out: A JSON file, written anew after every cell; nothing for none.
        tell: Called with what begins now, and the share of the whole that is done.

    Raises:
        Refused: before any work: no such model, library or device, or no folder for `out`.
    """
    check_libraries(plan.against)
    device = chosen_device(plan.device)
    subjects = [subject_of(name, image_size=plan.image_size) for name in plan.models]
    if out and not Path(out).resolve().parent.is_dir():
        raise Refused(f"bench: {Path(out).parent} is no folder to write {Path(out).name} into")
    began, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(plan.threads or threads)
    measured: dict[str, Benched] = {}
    found: Bench | None = None
    try:
        for i, subject in enumerate(subjects):
            one = _Measurement(subject, plan, device, _within(tell, i, len(subjects)))
            for so_far in one.run():
                measured[subject.name] = so_far
                found = Bench(
                    models=tuple(measured.values()),
                    device=device.type,
                    hardware=hardware(device.type),
                    threads=torch.get_num_threads(),
                    versions=versions_told(*plan.against),
                    command=plan.command(),
                    date=date.today().isoformat(),
                    minutes=round((time.perf_counter() - began) / 60, 1),
                )
                if out:
                    write_json(out, found.model_dump(mode="json"))
    finally:
        torch.set_num_threads(threads)
    assert found
    return found


def _within(tell: Tell, done: int, models: int) -> Tell:
    """Shares of one model's work as shares of the whole."""
    return lambda what, share: tell(what, (done + share) / models)


class _Measurement:
    """One model: its contestants, then cell after cell."""

    def __init__(self, subject: Subject, plan: Plan, device: torch.device, tell: Tell) -> None:
        self.subject, self.plan, self.device = subject, plan, device
        self.told, self.share = tell, 0.0
        default: tuple[Precision, ...] = ("fp32", "bf16") if bf16_is_native(device) else ("fp32",)
        self.precisions = plan.precisions or default
        self.notes: list[str] = []
        self.models: dict[str, nn.Module] = {}

    def run(self) -> Iterator[Benched]:
        """What is measured so far, after every cell."""
        name, plan = self.subject.name, self.plan
        contestants = self._contestants()
        asked = product((False, True) if plan.compile else (False,), plan.modes,
                        self.precisions, plan.batch_sizes)  # fmt: skip
        cells = [c for c in asked if (c[1], c[2]) != ("training", "bf16-weights")]
        probe = matrix_probe(self.device)
        measured: list[Cell] = []
        for i, (compiled, mode, precision, batch_size) in enumerate(cells):
            told = f"{name} {mode} {precision} b{batch_size}{' compiled' if compiled else ''}"
            self.share = i / len(cells)
            cell = self._cell(told, mode, precision, batch_size, compiled, probe)
            if cell:
                measured.append(cell)
            yield Benched(
                model=name,
                image_size=self.subject.image_size,
                contestants=tuple(contestants),
                cells=tuple(measured),
                notes=tuple(self.notes),
            )
        self.told(name, 1.0)

    def _contestants(self) -> list[Contestant]:
        """Build ours and the peers, and compare each peer's output with ours."""
        subject = self.subject
        ours = self.models[OURS] = build(subject, OURS)
        peers: list[Contestant] = []
        known = subject.family in PEERS
        if not known and self.plan.against:
            self._note(f"{subject.name}: no peers are known; its own figures alone")
        for library in self.plan.against if known else ():
            self._tell(f"{subject.name} in {library}")
            try:
                peer = build(subject, library)
                difference = take_over(ours, peer, subject)
            except Refused as error:
                self._note(str(error))
                continue
            self.models[library] = peer
            peers.append(describe(subject, library, peer, difference))
        return [describe(subject, OURS, ours, None), *peers]

    def _cell(
        self, told: str, mode: Mode, precision: Precision, batch_size: int, compiled: bool,
        probe: Callable[[], float],
    ) -> Cell | None:  # fmt: skip
        """One cell; None where our own model cannot do it."""
        self._tell(told)
        if compiled:
            torch.compiler.reset()
        samples: dict[str, Callable[[], float]] = {}
        first: dict[str, float] = {}
        for library in self.models:
            try:
                work, first[library] = self._work(library, mode, precision, batch_size, compiled)
                repeats = repeats_for(seconds_of(work, self.device))
            except (Refused, RuntimeError, NotImplementedError) as error:
                reason = " ".join(str(error).split())[:200]
                self._note(f"{told}: {library} cannot: {reason}")
                continue
            samples[library] = _sample(work, self.device, repeats)
        if OURS not in samples:
            return None
        rounds = interleave(samples, probe, self.plan.rounds)
        samples.clear()
        if not rounds.steady:
            self._note(f"{told}: the machine's speed changed from round to round; all are kept")
        weighed = self.plan.memory and not compiled and precision == self.precisions[0]
        timings = [
            Timing(
                library=library,
                seconds=seconds,
                memory=self._memory(library, mode, batch_size) if weighed else None,
                compile_seconds=round(first[library], 1) if compiled else None,
            )
            for library, seconds in rounds.seconds.items()
        ]
        return Cell(
            mode=mode,
            precision=precision,
            batch_size=batch_size,
            compiled=compiled,
            discarded=rounds.discarded,
            timings=tuple(timings),
        )

    def _work(
        self, library: str, mode: Mode, precision: Precision, batch_size: int, compiled: bool
    ) -> tuple[Callable[[], object], float]:
        """The work of one contestant, done once, and the time of that first call."""
        subject = self.subject
        model = deepcopy(self.models[library])
        images = random_images(batch_size, subject.channels, subject.image_size, self.device)
        if self.plan.fuse and library == OURS and mode == "inference":
            model = fuse(model, images)
        work = work_of(model, images, mode=mode, precision=precision)
        if compiled:
            model.compile()
        return work, seconds_of(work, self.device)

    def _memory(self, library: str, mode: Mode, batch_size: int) -> int | None:
        self._tell(f"{self.subject.name} {mode} b{batch_size}: memory of {library}")
        found = peak_memory(
            self.subject.name, library, image_size=self.subject.image_size, mode=mode,
            precision=self.precisions[0], batch_size=batch_size, device=self.device.type,
            threads=torch.get_num_threads(),
        )  # fmt: skip
        if found is None:
            self._note(f"{self.subject.name} {mode} b{batch_size}: no memory figure of {library}")
        return found

    def _tell(self, what: str) -> None:
        self.told(what, self.share)

    def _note(self, note: str) -> None:
        self.notes.append(note)
        log.info("%s", note)


def _sample(work: Callable[[], object], device: torch.device, repeats: int) -> Callable[[], float]:
    return lambda: seconds_of(work, device, repeats)
