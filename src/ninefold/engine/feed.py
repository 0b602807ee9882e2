"""What a training is fed: its batches from a step on, and what is done to them on the device."""

from collections.abc import Iterator

from lightning_fabric import Fabric

from ninefold.augment.sample import SampleAugment
from ninefold.core.batch import Batch
from ninefold.data.loader import train_batches
from ninefold.data.records import DataSet
from ninefold.engine.config import Run
from ninefold.engine.prepare import Prepare
from ninefold.engine.stages import Course, batch_augment, operations


def training_batches(
    run: Run, data: DataSet, fabric: Fabric, start: int, stop: int
) -> Iterator[Batch]:
    """The endless batches of a run from step `start` on, this rank's share, as loaded.

    Args:
        stop: Steps in all, over which the run's stages are spread.
    """
    course = Course(run, stop)
    return train_batches(
        data.splits["train"],
        transform=[SampleAugment(stage.augment, run.preprocess) for stage in course.stages],
        stage=course.index,
        batch_size=run.batch_size,
        seed=run.seed,
        start_step=start,
        workers=run.workers,
        rank=fabric.global_rank,
        world=fabric.world_size,
        image_size=lambda step: course.at(step).image_size,
    )


def preparation(run: Run, data: DataSet, fabric: Fabric, stop: int) -> Prepare:
    """To the device (where RandAugment may work on whole batches), normalised, augmented; only
    normalised where operations on patches come first, as `co_train` then does the rest."""
    later = run.augment.patches.grid > 0
    augment = None if later else batch_augment(Course(run, stop), len(data.classes))
    first = operations(Course(run, stop), run, fabric.device) if run.augment.on_device else None
    return Prepare(run.preprocess, fabric.device, augment, first)
