"""Records and transforms that the loader's tests load."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import torch

from ninefold.core.batch import Batch, Sample
from ninefold.core.errors import Refused
from ninefold.data.loader import train_batches
from ninefold.data.records import Records


def records(count: int, *, size: int = 8) -> Records:
    """Images of one value, their index."""

    def load(i: int) -> Sample:
        return Sample(torch.full((3, size, size), i % 251, dtype=torch.uint8), y=i % 3)

    return Records([f"{i}.png" for i in range(count)], [i % 3 for i in range(count)], load)


def noisy(sample: Sample, generator: torch.Generator, image_size: int) -> Sample:
    """Draws from its own generator and from all the global ones, as users' transforms do."""
    x = sample.x[:, :image_size, :image_size].clone()
    x[0] = torch.randint(0, 256, x.shape[1:], generator=generator, dtype=torch.uint8)
    x[1] = int(torch.randint(0, 256, ()))
    x[2] = (np.random.randint(256) + random.randrange(256)) % 256  # noqa: NPY002
    return Sample(x, sample.y)


def plain(sample: Sample, generator: torch.Generator, image_size: int) -> Sample:
    return sample


def take(source: Records, steps: int, **options: object) -> list[Batch]:
    """Some batches of a training with noise."""
    given = {"transform": noisy, "batch_size": 6, "seed": 3, "start_step": 0, "workers": 0}
    batches = train_batches(source, **{**given, "image_size": 8, **options})
    taken = [next(batches) for _ in range(steps)]
    batches.close()
    return taken


def failing(folder: Path, how: str, *, times: int, at: int = 13, count: int = 20) -> Records:
    """Records of which one kills or stalls its worker the first `times` times."""
    parent = os.getpid()

    def load(i: int) -> Sample:
        if i == at:
            if how == "refuse":
                raise Refused(f"{folder}/{i}.png: cannot be decoded")
            if how == "break":
                raise KeyError("nothing\nhere")
            tries = len(list(folder.iterdir()))
            if tries < times and os.getpid() != parent:
                (folder / str(tries)).touch()
                if how == "hang":
                    time.sleep(60)
                os.kill(os.getpid(), signal.SIGKILL)
        return Sample(torch.zeros(3, 8, 8, dtype=torch.uint8), y=0)

    return Records([f"{folder}/{i}.png" for i in range(count)], [0] * count, load)
