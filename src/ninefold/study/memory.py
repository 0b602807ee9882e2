"""Peak memory of one piece of work above that of the built model, in a process of its own.

On a CPU it is the high-water mark of resident memory, which a process can only raise: hence one
process a figure. What torch loads at its first product and its first optimizer step is loaded
before the count begins. A training step's peak holds gradients and the optimizer's moments.
"""

import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from ninefold.report.benched import Mode, Precision
from ninefold.study.peers import build, subject_of
from ninefold.study.steps import random_images, work_of

STATUS = Path("/proc/self/status")


def peak_memory(
    name: str, library: str, *, image_size: int, mode: Mode, precision: Precision,
    batch_size: int, device: str, threads: int,
) -> int | None:  # fmt: skip
    """Bytes above the built model; None where the device tells no peak or the work failed."""
    if device == "mps":
        return None
    asked = {
        "name": name, "library": library, "image_size": image_size, "mode": mode,
        "precision": precision, "batch_size": batch_size, "device": device, "threads": threads,
    }  # fmt: skip
    path = os.pathsep.join(p for p in (*sys.path, str(Path.cwd())) if p)
    done = subprocess.run(
        [sys.executable, "-m", "ninefold.study.memory", json.dumps(asked)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^peak (\d+)$", done.stdout, flags=re.MULTILINE)
    return max(1, int(found[1])) if found else None


def measure(
    name: str, library: str, *, image_size: int, mode: Mode, precision: Precision,
    batch_size: int, device: str, threads: int,
) -> int:  # fmt: skip
    """The same in this process, whose memory must not have been higher than now."""
    torch.set_num_threads(threads)
    subject = subject_of(name, image_size=image_size)
    place = torch.device(device)
    _load_libraries(place, mode, precision)
    model = build(subject, library)
    images = random_images(batch_size, subject.channels, image_size, place)
    work = work_of(model, images, mode=mode, precision=precision)
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(2):
            work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    before = forget_peak()
    for _ in range(2):
        work()
    return peak() - before


def _load_libraries(device: torch.device, mode: Mode, precision: Precision) -> None:
    small = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.GELU(), nn.Linear(8, 4))
    work_of(small, random_images(2, 3, 4, device), mode=mode, precision=precision)()


def forget_peak() -> int:
    """Resident memory now, without what was freed; the peak is counted from here, where the system
    allows that."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # the GNU library has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return peak()


def peak() -> int:
    """The most resident memory since `forget_peak`, or of the whole process, in bytes."""
    if STATUS.exists():
        return _status("VmHWM")
    import resource  # no such module on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _status(key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB$", STATUS.read_text(), flags=re.MULTILINE)
    assert found, key
    return int(found[1]) * 1024


if __name__ == "__main__":
    sys.stdout.write(f"peak {measure(**json.loads(sys.argv[1]))}\n")
