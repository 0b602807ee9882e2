"""What the engine's tests train: a small network with dropout, on images made on the spot."""

import torch
from torch import Tensor, nn

from ninefold.core.batch import Sample
from ninefold.data.records import DataSet, Records

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


def records(count: int, seed: int, *, size: int = 12, bright: int = -1) -> Records:
    """Noise with one channel lifted by its class."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 200, (count, 3, size, size), generator=draws, dtype=torch.uint8)
    labels = [i % 3 for i in range(count)]
    for i, label in enumerate(labels):
        images[i, label] += 40
    if bright >= 0:
        images[bright, 0] = 255

    def load(i: int) -> Sample:
        return Sample(x=images[i], y=labels[i])

    return Records(files=[f"{seed}/{i}.png" for i in range(count)], labels=labels, load=load)


def tones(*, bright: int = -1) -> DataSet:
    """A data set of 40, 10 and 7 images, one of which may be the one that `Burst` bursts at."""
    splits = {"train": records(40, 0, bright=bright), "val": records(10, 1), "test": records(7, 2)}
    return DataSet("tones", "classification", CLASSES, splits, fingerprint=f"tones {bright}")


def burst() -> DataSet:
    """As `tones`, with image 17 of the training part bright."""
    return tones(bright=17)


class Hungry(Net):
    """Has no memory for the second image it sees."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().forward(x)
