"""What a measured number depends on beside what was measured: hardware and versions."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from ninefold.engine.evaluate import versions


def versions_told(*others: str) -> str:
    """Of ninefold, torch and Python, and of other packages where they are installed."""
    told = {**versions(), "Python": platform.python_version()}
    for name in others:
        try:
            told[name] = version(name)
        except PackageNotFoundError:
            continue
    return ", ".join(f"{name} {number}" for name, number in told.items())


def hardware(device: str = "") -> str:
    """The GPU, or the processor's name with the threads that torch uses.

    Args:
        device: `cpu` even where there is a GPU; without it, the GPU where there is one.
    """
    if device in ("", "cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        models = [x for x in told.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} cores"
