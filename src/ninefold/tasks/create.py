"""From a task's name to the task."""

from ninefold.core.errors import Refused, nearest
from ninefold.tasks.classification import Classification
from ninefold.tasks.config import Loss
from ninefold.tasks.task import Task

NAMES = ("classification", "multilabel")


def make_task(name: str, classes: tuple[str, ...], loss: Loss) -> Task:
    """The task of that name over these classes.

    Raises:
        Refused: an unknown name, or classes that the task cannot work with.
    """
    if name not in NAMES:
        hint = nearest(name, NAMES) or f"; tasks are {', '.join(NAMES)}"
        raise Refused(f"task: no task is called {name!r}{hint}")
    return Classification(classes, loss, multilabel=name == "multilabel")
