"""How fast images are loaded: photos of 500 x 375 pixels, and small ones of 32 x 32.

    python benchmarks/loading.py [SECONDS]

Prints images a second on one core for each way of doing it, measured in turns, and as a ratio to
the usual one (Pillow and torchvision's first transforms, bicubic). Then the loader, by workers.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1

from ninefold.augment.config import Augment
from ninefold.augment.sample import SampleAugment
from ninefold.core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ninefold.data.decode import decode
from ninefold.data.loader import evaluation_batches, train_batches
from ninefold.data.open import open_data

PHOTOS, SMALL = 200, 4000


def write_images(folder: Path, count: int, columns: int, rows: int) -> Path:
    """JPEG files that compress as photos do: smooth shapes and some grain."""
    values = np.random.default_rng(0)
    for i in range(count):
        coarse = values.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(coarse).resize((columns, rows), Image.Resampling.BICUBIC)
        )
        grain = values.normal(0, 12, smooth.shape)
        image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        path = folder / ("train" if i % 5 else "val") / str(i % 2) / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    return folder


def rate(work: Callable[[str], object], files: list[str], seconds: float) -> float:
    """Images a second of this core's time; what else runs on the machine does not count."""
    done, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        work(files[done % len(files)])
        done += 1
    return done / (time.process_time() - start)


def compare(files: list[str], seconds: float) -> None:
    """Ways of making one training image, in turns."""
    torch.set_num_threads(1)
    usual = v1.Compose([
        v1.RandomResizedCrop(224, interpolation=v1.InterpolationMode.BICUBIC),
        v1.RandomHorizontalFlip(), v1.ToTensor(), v1.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ])  # fmt: skip
    generator = torch.Generator()
    plain = SampleAugment(Augment(), Preprocess())
    strong = SampleAugment(Augment(randaugment="rand-m9-mstd0.5-inc1"), Preprocess())
    from ninefold.core.batch import Sample

    ways: dict[str, Callable[[str], object]] = {
        "usual: Pillow, v1 transforms, bicubic": lambda f: usual(Image.open(f).convert("RGB")),
        "ours: decode": decode,
        "ours: decode, crop, flip": lambda f: plain(Sample(decode(f)), generator, 224),
        "ours: the same and RandAugment": lambda f: strong(Sample(decode(f)), generator, 224),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(7):
        for name, work in ways.items():
            rates[name].append(rate(work, files, seconds / 7))
    base = rates["usual: Pillow, v1 transforms, bicubic"]
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        print(f"{name:42} {statistics.median(values):7.0f} images/s  {ratio:5.2f}")


def drain(batches: Iterator[torch.Tensor], seconds: float) -> float:
    """Images a second, after the start-up and a first pass."""
    done, start = 0, time.perf_counter()
    for batch in batches:
        done += len(batch)
        if time.perf_counter() - start > seconds:
            break
    return done / (time.perf_counter() - start)


def loader(folder: Path, size: int, batch_size: int, seconds: float) -> None:
    """The whole loader, training and evaluation."""
    data = open_data(folder)
    preprocess = Preprocess(image_size=size, crop_fraction=1.0)
    augment = SampleAugment(Augment(), preprocess)
    for workers in (0, 1, 2):
        batches = train_batches(
            data.splits["train"], transform=augment, batch_size=batch_size, seed=0, start_step=0,
            workers=workers, image_size=size,
        )  # fmt: skip
        for _ in range(len(data.splits["train"]) // batch_size + 1):
            next(batches)
        print(f"  train, {workers} workers {drain(batches, seconds):7.0f} images/s")
        batches.close()
    evaluated = evaluation_batches(
        data.splits["val"], preprocess=preprocess, batch_size=batch_size, workers=0
    )
    print(f"  evaluation, 0 workers {drain(evaluated, seconds):7.0f} images/s")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with tempfile.TemporaryDirectory() as folder:
        photos = write_images(Path(folder) / "photos", PHOTOS, 500, 375)
        small = write_images(Path(folder) / "small", SMALL, 32, 32)
        files = sorted(map(str, photos.glob("*/*/*.jpg")))
        size = sum(Path(file).stat().st_size for file in files) / len(files)
        print(f"500 x 375 JPEG of {size / 1000:.0f} kB, to 224 x 224, one core")
        compare(files, seconds)
        print("500 x 375, loader")
        loader(photos, 224, 64, seconds / 2)
        print("32 x 32, loader")
        loader(small, 32, 128, seconds / 2)


if __name__ == "__main__":
    main()
