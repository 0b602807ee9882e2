"""A few steps of one rank with agents: `co_train_process.py FILE`."""

import sys
from pathlib import Path

import torch
from engine_parts import small

from ninefold.augment.config import Augment, Patches
from ninefold.core.batch import Batch
from ninefold.engine.build import build, set_up
from ninefold.engine.co_train import AGENT, update_of
from ninefold.engine.device import gather, launch
from ninefold.engine.loop import seed_noise

if __name__ == "__main__":
    fabric, _, _ = launch("32-true")
    run = small(augment=Augment(crop="none", mixup=0.2, patches=Patches(grid=2)))
    state = set_up(run, build(run, 2), fabric)
    state.objective.train()
    update = update_of(run, 3, run.steps)
    for step in range(5):
        seed_noise(0, step, fabric.global_rank, fabric.device)
        batch = Batch(torch.randn(4, 3, 12, 12), torch.arange(4) % 3, torch.arange(4))
        update(fabric, state, batch)
    weights = {
        "model": dict(state.model.named_parameters()),
        "agent": dict(state.extra[AGENT].module.named_parameters()),
    }
    found = gather(
        {part: {k: v.detach() for k, v in named.items()} for part, named in weights.items()}
    )
    if fabric.global_rank == 0:
        torch.save(found, Path(sys.argv[1]))
