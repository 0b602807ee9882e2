"""What a process of its own runs in the engine's tests: `engine_process.py MODE FOLDER`."""

import json
import sys
from pathlib import Path

from engine_parts import Until, small

from ninefold.core.errors import Failed, Stopped
from ninefold.engine.seeds import train_seeds
from ninefold.engine.train import train

LONG = 2000
"""Steps of the run that is killed: more than it does between twenty kills."""


def rank(folder: Path, number: int) -> int:
    """One of two ranks: told apart by their seeds, then two seeds, then together until step 4."""
    run = small(data="engine_parts:seven", evaluate_every=2)
    try:
        train(run.changed(seed=number), out=folder / "odd")
    except Failed as error:
        (folder / f"rank_{number}.txt").write_text(str(error))
    summary = train_seeds(run.changed(steps=2), (0, 1), folder / "seeds")
    (folder / f"summary_{number}.json").write_text(json.dumps(summary))
    try:
        train(run, out=folder / "run", observers=[Until(4)])
    except Stopped:
        return 0
    return 1


def long(folder: Path) -> int:
    """A run of many short steps that saves often, to be killed."""
    train(small(steps=LONG, checkpoint_every=3, ema=0.9), out=folder, resume=True)
    return 0


if __name__ == "__main__":
    mode, where = sys.argv[1], Path(sys.argv[2])
    sys.exit(long(where) if mode == "long" else rank(where, int(mode)))
