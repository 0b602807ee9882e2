"""Into how few parts a batch must be cut to fit into memory, found by real steps on a copy.

Accumulated parts give the gradient of the whole batch up to rounding, so batch size and learning
rate stay; two things see the parts: BatchNorm's statistics, and the noise of dropout.
"""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed
from ninefold.engine.build import Parts
from ninefold.engine.config import Run
from ninefold.engine.device import gather
from ninefold.engine.failure import out_of_memory, peak_memory
from ninefold.engine.feed import preparation, training_batches
from ninefold.engine.stages import Course
from ninefold.engine.update import Objective
from ninefold.layers.norm import BATCH_NORMS
from ninefold.optim.average import Ema
from ninefold.optim.build import make_optimizer

PROBED = (2, 4, 8, 16)
"""Images a part, with which a CPU's memory is measured; larger parts lie on a straight line."""

KEPT_FREE = 0.1
"""Share of the free memory that is left to fragments, to the loader and to everybody else."""


def fewest_parts(parts: Parts, fabric: Fabric, *, room: int | None = None) -> tuple[int, str]:
    """The least `accumulate` with which a step of the run fits, and a note of it.

    On CUDA whole steps are tried, from one part on; on a CPU, which fails too late to be tried,
    the peaks of small parts are measured and drawn out.

    Args:
        room: Bytes that a CPU's process may grow by; without it nine tenths of what is free.

    Raises:
        Failed: not even the smallest part fits.
    """
    run, device = parts.run, fabric.device
    share = run.batch_size // fabric.world_size
    counts = [count for count in range(1, share + 1) if share % count == 0]
    trial = _Trial(parts, fabric)
    try:
        if device.type == "cuda":
            chosen = _tried(trial, counts)
        else:
            chosen = _drawn_out(trial, counts, own_memory() + (room or usable_memory()))
        chosen = max(gather(chosen))  # ranks may have unequal room
        if chosen > share:
            raise Failed(
                f"train: single images do not fit into the memory of {device}; a smaller model or "
                "image size, or --grad-checkpoint"
            )
    finally:
        trial.end()
    note = f"batches of {run.batch_size} in {chosen} part{'s' * (chosen > 1)} of {share // chosen}"
    norms = any(isinstance(m, BATCH_NORMS) for m in parts.model.modules())
    if chosen > 1 and norms:
        note += f" images; BatchNorm sees {share // chosen} at a time"
    return chosen, note


class _Trial:
    """Steps as the run will take them, on a copy of its model."""

    def __init__(self, parts: Parts, fabric: Fabric) -> None:
        self.parts, self.fabric, self.run = parts, fabric, parts.run
        model, frozen = deepcopy((parts.model, parts.frozen))
        model.to(fabric.device)
        self.objective = Objective(model, parts.task, frozen).to(fabric.device).train()
        self.optimizer = make_optimizer(model, self.run.optim, scales=parts.scales)
        self.average = Ema(model, self.run.ema, rule=self.run.ema_rule) if self.run.ema else None

    def batch(self, images: int) -> Batch:
        """A prepared batch of that many images a rank, as large as they get."""
        run = self.run.changed(batch_size=images * self.fabric.world_size, workers=0)
        stop, data = self.parts.stop, self.parts.data
        step = Course(run, stop).largest()
        prepare = preparation(run, data, self.fabric, stop)
        return prepare(next(training_batches(run, data, self.fabric, step, stop)), step)

    def step(self, rows: Sequence[Batch]) -> None:
        """One step: gradients of all parts, the optimizer's own memory."""

        def closure() -> Any:
            self.optimizer.zero_grad()
            loss = torch.zeros(())
            for part in rows:
                with self.fabric.autocast():
                    loss = self.objective(part)["loss"] / len(rows)
                loss.backward()
            return loss

        self.optimizer.step(closure)

    def end(self) -> None:
        """Give all of it back."""
        del self.objective, self.optimizer, self.average
        if self.fabric.device.type == "cuda":
            torch.cuda.empty_cache()


def _tried(trial: _Trial, counts: list[int]) -> int:
    """CUDA: the first count whose steps fit; one past the last where none does."""
    device = trial.fabric.device
    for count in counts:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        room = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        try:
            rows = trial.batch(counts[-1]).split(count)[:2]
            for _ in range(2):  # the second holds the optimizer's moments from its start
                trial.step(rows)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        else:
            if torch.cuda.max_memory_reserved(device) <= (1 - KEPT_FREE) * room:
                return count
        trial.optimizer.zero_grad()
    return counts[-1] + 1


def _drawn_out(trial: _Trial, counts: list[int], room: int) -> int:
    """CPU: peaks of small parts, the line through them, the first count at or below `room`."""
    share = counts[-1]
    peaks = {0: own_memory()}
    for size in (n for n in PROBED if n <= max(share // 2, min(share, PROBED[0]))):
        batch = trial.batch(min(2 * size, share))
        rows = batch.split(max(1, len(batch) // size))
        trial.step(rows)
        reset_peak()
        trial.step(rows)
        peaks[size] = peak_memory(trial.fabric.device)
        if 2 * peaks[size] - peaks[0] > room:  # what comes next may need twice as much
            break
    room -= share * _bytes_an_image(trial.batch(min(2, share)))
    return next((n for n in counts if _peak_at(share // n, peaks) <= room), share + 1)


def _peak_at(size: int, peaks: dict[int, int]) -> float:
    """The peak of parts of `size` images, on the line through the first and the last measured; the
    memory before any step, at 0, is one of them only where no two others are."""
    sizes = list(peaks)
    first, last = sizes[1 if len(sizes) > 2 else 0], sizes[-1]
    slope = (peaks[last] - peaks[first]) / (last - first) if last > first else 0.0
    return peaks[last] + max(slope, 0.0) * (size - last)


def _bytes_an_image(batch: Batch) -> int:
    values = [batch.x] if isinstance(batch.x, Tensor) else list(batch.x.values())
    return sum(value.nbytes for value in values) * 5 // 4 // len(batch)  # as loaded, and as floats


def own_memory() -> int:
    """Bytes of this process now; its peak so far where the system does not tell."""
    with suppress(OSError, IndexError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return peak_memory(torch.device("cpu"))


def usable_memory() -> int:
    """Nine tenths of what this process may still take, by the machine and by its control group
    (Linux); elsewhere of half of the machine's."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    with suppress(OSError, AttributeError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = re.search(r"MemAvailable:\s+(\d+) kB", text)
        free = int(found[1]) * 1024 if found else free
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no limit is the word max
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        stat = (group / "memory.stat").read_text(encoding="ascii")
        cached = re.search(r"^inactive_file (\d+)$", stat, flags=re.MULTILINE)
        free = min(free, limit - used + (int(cached[1]) if cached else 0))
    return max(int((1 - KEPT_FREE) * free), 1)


def reset_peak() -> None:
    """Let the process's high-water mark start again from now, where the system can (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def as_recorded(run: Run, folder: Path, name: str) -> Run:
    """The run with the parts that a run in `folder` was cut into, where it leaves them open."""
    path = folder / name
    if run.accumulate or not path.exists():
        return run
    return run.changed(accumulate=Run.read(path).accumulate)
