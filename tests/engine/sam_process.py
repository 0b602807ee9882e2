"""Twenty steps of one rank, or of the only process: `sam_process.py FILE`."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ninefold.core.batch import Batch
from ninefold.engine.device import gather, launch
from ninefold.engine.update import Objective, State, descend
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import AdamW, Asam, Gsam, Optim, RmspropTf, Sam, Sgd
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task

STEPS, BATCH = 20, 16
SGD: dict[str, Any] = {"base": "sgd", "lr": 0.1, "weight_decay": 1e-3}
OPTIMIZERS: dict[str, Optim] = {
    "sam, global": Sam(**SGD, local=False, options=("momentum=0.9",)),
    "sam, local": Sam(**SGD),
    "gsam, global": Gsam(**SGD, local=False),
    "gsam, local": Gsam(**SGD),
    "gsam, local, shards": Gsam(**SGD, shards=2),
    "asam, global": Asam(**SGD, local=False),
    "sam, global, adamw": Sam(lr=0.01, local=False),
    "adamw": AdamW(lr=0.01),
    "rmsprop_tf": RmspropTf(),
    "sgd": Sgd(),
    "sam, local, adamw": Sam(lr=0.01),
    "sam, local, shards": Sam(**SGD, shards=2),
}


def trained(optim: Optim, fabric: Any) -> dict[str, Tensor]:
    """The weights at the end; clipped, and of two parts a step. BatchNorm sees one rank's images
    at a time, so there is none here."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh(), nn.Linear(12, 3))
    task = make_task("classification", ("a", "b", "c"), Loss())
    objective = fabric.setup_module(Objective(model, task))
    state = State(objective, fabric.setup_optimizers(make_optimizer(model, optim)))
    draws = torch.Generator().manual_seed(1)
    share = BATCH // fabric.world_size
    mine = slice(fabric.global_rank * share, (fabric.global_rank + 1) * share)
    for _ in range(STEPS):
        x, y = torch.randn(BATCH, 3, 4, 4, generator=draws), torch.arange(BATCH) % 3
        batch = Batch(x[mine], y[mine], torch.arange(BATCH)[mine])
        descend(fabric, state, batch, accumulate=2, clip_norm=0.5)
    return {name: value.clone() for name, value in model.state_dict().items()}


def all_trained() -> dict[str, list[dict[str, Tensor]]]:
    """By optimizer, the weights of each rank."""
    fabric, _, _ = launch("32-true")
    return {name: gather(trained(optim, fabric)) for name, optim in OPTIMIZERS.items()}


if __name__ == "__main__":
    found = all_trained()
    if torch.distributed.get_rank() == 0:
        torch.save(found, Path(sys.argv[1]))
