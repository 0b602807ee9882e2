"""What changes the weights: optimizers, parameter groups, schedules, averages of weights."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.optim.average import Ema as Ema
    from ninefold.optim.build import make_optimizer as make_optimizer
    from ninefold.optim.config import AdamW as AdamW
    from ninefold.optim.config import Asam as Asam
    from ninefold.optim.config import Custom as Custom
    from ninefold.optim.config import Gsam as Gsam
    from ninefold.optim.config import RmspropTf as RmspropTf
    from ninefold.optim.config import Sam as Sam
    from ninefold.optim.config import Schedule as Schedule
    from ninefold.optim.config import Sgd as Sgd
    from ninefold.optim.groups import parameter_groups as parameter_groups
    from ninefold.optim.rmsprop_tf import RMSpropTF as RMSpropTF
    from ninefold.optim.sam import ASAM as ASAM
    from ninefold.optim.sam import GSAM as GSAM
    from ninefold.optim.sam import SAM as SAM
    from ninefold.optim.schedule import factor as factor

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Ema": "average",
        "make_optimizer": "build",
        "AdamW": "config",
        "Asam": "config",
        "Custom": "config",
        "Gsam": "config",
        "RmspropTf": "config",
        "Sam": "config",
        "Schedule": "config",
        "Sgd": "config",
        "parameter_groups": "groups",
        "RMSpropTF": "rmsprop_tf",
        "ASAM": "sam",
        "GSAM": "sam",
        "SAM": "sam",
        "factor": "schedule",
    },
)
