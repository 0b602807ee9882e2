"""What an output means: losses, metrics and decoded predictions."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.tasks.classification import Classification as Classification
    from ninefold.tasks.config import Loss as Loss
    from ninefold.tasks.create import make_task as make_task
    from ninefold.tasks.task import Metrics as Metrics
    from ninefold.tasks.task import Task as Task

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Classification": "classification",
        "Loss": "config",
        "make_task": "create",
        "Metrics": "task",
        "Task": "task",
    },
)
