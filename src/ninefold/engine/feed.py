"""What a training is fed: its batches from a step on, and what is done to them on the device."""

from collections.abc import Iterator

from lightning_fabric import Fabric

from ninefold.augment.batch import BatchAugment
from ninefold.augment.sample import SampleAugment
from ninefold.core.batch import Batch
from ninefold.data.loader import train_batches
from ninefold.data.records import DataSet
from ninefold.engine.config import Run
from ninefold.engine.prepare import Prepare


def training_batches(run: Run, data: DataSet, fabric: Fabric, start: int) -> Iterator[Batch]:
    """The endless batches of a run from step `start` on, this rank's share, as loaded."""
    return train_batches(
        data.splits["train"],
        transform=SampleAugment(run.augment, run.preprocess),
        batch_size=run.batch_size,
        seed=run.seed,
        start_step=start,
        workers=run.workers,
        rank=fabric.global_rank,
        world=fabric.world_size,
        image_size=run.preprocess.image_size,
    )


def preparation(run: Run, data: DataSet, fabric: Fabric) -> Prepare:
    """To the device, normalised, augmented; only normalised where operations on patches come
    first, as `co_train` then does the rest."""
    later = run.augment.patches.grid > 0
    augment = None if later else BatchAugment(run.augment, len(data.classes))
    return Prepare(run.preprocess, fabric.device, augment)
