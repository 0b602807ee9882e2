"""What changes the weights: optimizers, parameter groups, schedules, averages of weights."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.optim.average import Ema as Ema
    from ninefold.optim.build import make_optimizer as make_optimizer
    from ninefold.optim.config import AdamW as AdamW
    from ninefold.optim.config import Custom as Custom
    from ninefold.optim.config import Schedule as Schedule
    from ninefold.optim.config import Sgd as Sgd
    from ninefold.optim.groups import parameter_groups as parameter_groups
    from ninefold.optim.schedule import factor as factor

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Ema": "average",
        "make_optimizer": "build",
        "AdamW": "config",
        "Custom": "config",
        "Schedule": "config",
        "Sgd": "config",
        "parameter_groups": "groups",
        "factor": "schedule",
    },
)
