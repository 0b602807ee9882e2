"""Training, evaluation, checkpoints, opened runs; the only home of Fabric.

`loop.fit` is the loop, whole; `update` the part of it that recipes exchange; `hooks` what happens
after a step; `train` and `build` put them together from a `Run`; `opened` puts the result to use.

Larger than was planned (600 lines), since what a run survives stands here: checkpoints that are
whole or not there, signals, logs that are cut to the step, runs that go on to the bit and refuse
what changed, ranks that agree, full disks, losses that are not finite, memory that runs out.
"""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.engine.config import Run as Run
    from ninefold.engine.embed import Embeddings as Embeddings
    from ninefold.engine.loop import fit as fit
    from ninefold.engine.opened import Opened as Opened
    from ninefold.engine.opened import Prediction as Prediction
    from ninefold.engine.opened import open_model as open_model
    from ninefold.engine.opened import open_run as open_run
    from ninefold.engine.probe import probe as probe
    from ninefold.engine.progress import Observer as Observer
    from ninefold.engine.progress import Plan as Plan
    from ninefold.engine.update import Objective as Objective
    from ninefold.engine.update import State as State
    from ninefold.engine.update import Update as Update
    from ninefold.engine.update import descend as descend

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Run": "config",
        "Embeddings": "embed",
        "fit": "loop",
        "Opened": "opened",
        "Prediction": "opened",
        "open_model": "opened",
        "open_run": "opened",
        "probe": "probe",
        "Observer": "progress",
        "Plan": "progress",
        "Objective": "update",
        "State": "update",
        "Update": "update",
        "descend": "update",
    },
)
