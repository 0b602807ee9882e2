"""What changes the input in training: sample by sample on the CPU, batch by batch on the device."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.augment.augreg import AugRegRandAugment as AugRegRandAugment
    from ninefold.augment.batch import BatchAugment as BatchAugment
    from ninefold.augment.config import Augment as Augment
    from ninefold.augment.patch_agent import PatchAgent as PatchAgent
    from ninefold.augment.patch_agent import PhotoAgent as PhotoAgent
    from ninefold.augment.patch_credit import a2c_loss as a2c_loss
    from ninefold.augment.patch_ops import OPERATIONS as OPERATIONS
    from ninefold.augment.patches import augment_patches as augment_patches
    from ninefold.augment.patches import draw_execution as draw_execution
    from ninefold.augment.patches import draw_fading as draw_fading
    from ninefold.augment.policies import find_policy as find_policy
    from ninefold.augment.randaugment import RandAugment as RandAugment
    from ninefold.augment.randaugment import read_randaugment as read_randaugment
    from ninefold.augment.sample import SampleAugment as SampleAugment

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AugRegRandAugment": "augreg",
        "BatchAugment": "batch",
        "Augment": "config",
        "PatchAgent": "patch_agent",
        "PhotoAgent": "patch_agent",
        "a2c_loss": "patch_credit",
        "OPERATIONS": "patch_ops",
        "augment_patches": "patches",
        "draw_execution": "patches",
        "draw_fading": "patches",
        "find_policy": "policies",
        "RandAugment": "randaugment",
        "read_randaugment": "randaugment",
        "SampleAugment": "sample",
    },
)
