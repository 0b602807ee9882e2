"""Decoded images kept in memory, which all processes forked later read and fill together.

Shapes: c channels, h rows, w columns.
"""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

_UNTOLD = 4 * 2**30
"""Bytes taken for free where the system does not say."""
_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
"""Where a container's limit and use stand, and what of its use is but read files."""


class Kept:
    """Room for each image of a data set, in which any process puts it once decoded.

    Every image has an equal share of the room, so no process ever waits for another, and one that
    dies leaves nothing half done; a larger image is not kept. Only what is written takes memory.

    Args:
        count: Images of the set, over all its splits.
        channels: Of each image.
        limit: Bytes in all; where the system gives no such room, nothing is kept.
    """

    def __init__(self, count: int, channels: int, limit: int) -> None:
        share = limit // max(count, 1)
        self._share = share - share % mmap.PAGESIZE if share > mmap.PAGESIZE else share
        self._made = count, channels, limit
        try:
            room = mmap.mmap(-1, max(1, count * (8 + self._share)))
        except (OSError, ValueError, OverflowError):
            self._share, room = 0, mmap.mmap(-1, max(1, 8 * count))
        # Of each image `h << 32 | w`: one store of 8 bytes, made when its pixels are there.
        self._sizes = np.frombuffer(room, np.int64, count)
        self._pixels = np.frombuffer(room, np.uint8, offset=8 * count)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that is not forked has room of its own."""
        return Kept, self._made

    def find(self, i: int) -> UInt8[Tensor, "c h w"] | None:
        """A copy of image `i`, laid out as it was when put, or nothing."""
        height, width = divmod(int(self._sizes[i]), 1 << 32)
        if not height:
            return None
        channels = self._made[1]
        start = i * self._share
        pixels = self._pixels[start : start + height * width * channels].copy()
        return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)

    def put(self, i: int, image: UInt8[Tensor, "c h w"]) -> None:
        """Keep image `i`, laid out channels-last, if it is no larger than its share."""
        _, height, width = image.shape
        if image.nbytes <= self._share:
            start = i * self._share
            self._pixels[start : start + image.nbytes] = image.permute(1, 2, 0).numpy().ravel()
            self._sizes[i] = height << 32 | width


def free_memory() -> int:
    """Bytes that this process, with others of its run on this machine, may still take."""
    free = _UNTOLD
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines)
        free = int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    for folder, limit, used, files in _CGROUPS:
        try:
            most = int(Path(folder, limit).read_text())
            lines = Path(folder, "memory.stat").read_text().splitlines()
            stat = dict(line.split(maxsplit=1) for line in lines)
            taken = int(Path(folder, used).read_text()) - int(stat[files])
            free = min(free, max(0, most - taken))
        except (OSError, KeyError, ValueError):
            continue
    return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
