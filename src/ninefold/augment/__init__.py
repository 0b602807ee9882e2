"""What changes the input in training: sample by sample on the CPU, batch by batch on the device."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.augment.batch import BatchAugment as BatchAugment
    from ninefold.augment.config import Augment as Augment
    from ninefold.augment.randaugment import RandAugment as RandAugment
    from ninefold.augment.randaugment import read_randaugment as read_randaugment
    from ninefold.augment.sample import SampleAugment as SampleAugment

__getattr__, __dir__ = lazily(
    __name__,
    {
        "BatchAugment": "batch",
        "Augment": "config",
        "RandAugment": "randaugment",
        "read_randaugment": "randaugment",
        "SampleAugment": "sample",
    },
)
