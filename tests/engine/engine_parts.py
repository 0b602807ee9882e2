"""What the engine's tests train: a small network with dropout, on images made on the spot."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ninefold.augment.config import Augment
from ninefold.core.errors import Stopped
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result
from ninefold.engine.config import Run
from ninefold.engine.progress import Plan
from ninefold.optim.config import AdamW

CLASSES = ("red", "green", "blue")


class Net(nn.Module):
    """A convolution, BatchNorm, dropout and a head: everything that a resumed run must carry."""

    def __init__(self, *, num_classes: int = 3, in_channels: int = 3, width: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, stride=2)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.stem(x)).relu().mean(dim=(2, 3))))


class Burst(Net):
    """As `Net`, but the stem's output is infinite for an image whose first pixel is 255."""

    def forward(self, x: Tensor) -> Tensor:
        bright = (x[:, 0, 0, 0] > 0.999)[:, None, None, None]
        x = self.norm(self.stem(x) / torch.where(bright, 0.0, 1.0))
        return self.head(self.drop(x.relu().mean(dim=(2, 3))))


class NarrowBurst(Burst):
    """As `Burst`, with memory for four images at a time where gradients are needed."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(x)


class Tones:
    """Noise with one channel lifted by its class; one image may have a first row of 255."""

    classes = CLASSES

    def __init__(self, count: int, seed: int, *, bright: int = -1) -> None:
        draws = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 200, (count, 3, 12, 12), generator=draws, dtype=torch.uint8)
        self.targets = [i % 3 for i in range(count)]
        for i, label in enumerate(self.targets):
            self.images[i, label] += 40
        if bright >= 0:
            self.images[bright, 0] = 255

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.images[i], self.targets[i]


def tones(split: str) -> Tones:
    """40 images to train on, 10 to choose on, 7 to test on."""
    return {"train": Tones(40, 0), "val": Tones(10, 1), "test": Tones(7, 2)}[split]


def burst(split: str) -> Tones:
    """As `tones`, with image 17 of the training part bright: `Burst` bursts at it."""
    return Tones(40, 0, bright=17) if split == "train" else tones(split)


def seven(split: str) -> Tones:
    """As `tones`, with the seven images of the test part to validate on, too."""
    return tones("test" if split == "val" else split)


class Hungry(Net):
    """Has no memory for the second image it sees."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(x)


def small(**changes: Any) -> Run:
    """Nine steps of eight images: a validation and a checkpoint each five, and at the end."""
    values: dict[str, Any] = {
        "model": "engine_parts:Net",
        "data": "engine_parts:tones",
        "preprocess": Preprocess(image_size=12, crop_fraction=1.0),
        "augment": Augment(crop="none", mixup=0.2),
        "optim": AdamW(lr=0.01),
        "batch_size": 8,
        "steps": 9,
        "precision": "32-true",
        "workers": 0,
        "seed": 3,
    }
    return Run(**(values | changes))


class Watcher:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.events: list[str] = []
        self.steps: list[int] = []
        self.results: list[Result] | None = None

    def started(self, plan: Plan) -> None:
        self.plan = plan

    def stepped(self, step: int) -> None:
        self.steps.append(step)

    def logged(self, record: dict[str, Any]) -> None:
        self.events.append(f"log {record['step']}")

    def evaluated(self, result: Result, best: bool) -> None:
        self.events.append(f"{result.split} {result.step}")

    def saved(self, path: Path) -> None:
        self.events.append(path.name)

    def finished(self, results: list[Result]) -> None:
        self.results = results


class Until(Watcher):
    """Ends a run after some step, as a sweep that prunes does."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def stepped(self, step: int) -> None:
        if step == self._step:
            raise Stopped(f"after step {step}", 0)
