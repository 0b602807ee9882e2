"""The loop does what it is given, as a function of the step alone."""

import random
from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ninefold.core.batch import Batch
from ninefold.engine.loop import fit, seed_noise
from ninefold.engine.update import Objective, State, descend
from ninefold.optim.average import Ema

CPU = torch.device("cpu")


class Regression:
    """A task as small as a task can be."""

    name, classes, best = "regression", ("a",), "top1"

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": (model(batch.x) - batch.y).pow(2).mean()}

    def outputs(self, model: nn.Module, batch: Batch) -> Any:
        raise NotImplementedError

    def metrics(self) -> Any:
        raise NotImplementedError

    def predict(self, output: Any, batch: Batch, *, top: int) -> list[dict[str, Any]]:
        raise NotImplementedError


def batches(start: int) -> Generator[Batch]:
    step = start
    while True:
        x = torch.linspace(step, step + 1, 8)[:, None]
        yield Batch(x=x, y=2 * x)
        step += 1


def noisy(batch: Batch, step: int) -> Batch:
    return Batch(x=batch.x + torch.randn(8, 1) / 10, y=batch.y)  # type: ignore[operator]


def state_of(fabric: Fabric) -> State:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    objective = fabric.setup_module(Objective(model, Regression()))
    optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=0.01))
    return State(objective, optimizer, Ema(model, 0.9))  # type: ignore[arg-type]


def run(state: State, fabric: Fabric, stop: int, **parts: Any) -> None:
    given: dict[str, Any] = {
        "seed": 3, "stop": stop, "batches": batches, "prepare": noisy,
        "schedule": lambda state: None, "update": descend,
    }  # fmt: skip
    fit(fabric, state, **(given | parts))


def test_a_step_repeats_itself_whatever_was_drawn_before() -> None:
    fabric, weights = Fabric(accelerator="cpu"), []
    for disturbance in (0, 100):
        torch.rand(disturbance)
        state = state_of(fabric)
        torch.rand(disturbance)
        run(state, fabric, 5)
        weights.append([p.clone() for p in state.model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_loop_ends_at_stop_and_takes_no_batch_more() -> None:
    taken: list[int] = []

    def counted(start: int) -> Generator[Batch]:
        for step, batch in enumerate(batches(start), start):
            taken.append(step)
            yield batch

    fabric = Fabric(accelerator="cpu")
    state = state_of(fabric)
    run(state, fabric, 3, batches=counted)
    run(state, fabric, 3, batches=counted)
    assert (state.step, taken) == (3, [0, 1, 2])


def test_the_schedule_is_asked_before_each_step_and_hooks_after_it() -> None:
    order: list[tuple[str, int]] = []
    fabric = Fabric(accelerator="cpu")
    state = state_of(fabric)
    run(
        state, fabric, 2,
        schedule=lambda state: order.append(("rate", state.step)),
        after_step=[lambda state, batch, logs: order.append(("hook", state.step))],
    )  # fmt: skip
    assert order == [("rate", 0), ("hook", 1), ("rate", 1), ("hook", 2)]


def test_noise_differs_by_seed_step_and_rank_in_all_generators() -> None:
    seen = set()
    for where in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        seed_noise(*where, CPU)
        seen.add((float(torch.rand(())), float(np.random.rand()), random.random()))  # noqa: NPY002
    assert len({row[0] for row in seen}) == len({row[1] for row in seen}) == 4
    assert len({row[2] for row in seen}) == 4


def test_logs_are_of_the_first_call_of_the_closure() -> None:
    class Twice(torch.optim.SGD):
        """As SAM: a step along the gradient, then the closure again."""

        def step(self, closure: Any = None) -> Any:
            loss = closure()
            super().step()
            closure()
            super().step()
            return loss

    fabric = Fabric(accelerator="cpu")
    model = nn.Linear(1, 1)
    objective = fabric.setup_module(Objective(model, Regression()))
    optimizer = fabric.setup_optimizers(Twice(model.parameters(), lr=0.01))
    batch = next(batches(0))
    before = float(objective(batch)["loss"].detach())
    logs = descend(fabric, State(objective, optimizer), batch)  # type: ignore[arg-type]
    assert float(logs["loss"]) == before


def test_accumulated_parts_give_the_gradient_of_the_whole_batch() -> None:
    fabric, weights = Fabric(accelerator="cpu"), []
    for parts in (1, 4):
        model = nn.Linear(1, 1)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        objective = fabric.setup_module(Objective(model, Regression()))
        optimizer = fabric.setup_optimizers(torch.optim.SGD(model.parameters(), lr=0.1))
        logs = descend(fabric, State(objective, optimizer), next(batches(0)), accumulate=parts)  # type: ignore[arg-type]
        weights.append(
            (float(model.weight.detach()), float(logs["loss"]), float(logs["grad_norm"]))
        )
    assert np.allclose(weights[0], weights[1], rtol=1e-6)


def test_clipping_bounds_the_gradient_and_logs_the_norm_before() -> None:
    fabric = Fabric(accelerator="cpu")
    model = nn.Linear(1, 1)
    objective = fabric.setup_module(Objective(model, Regression()))
    optimizer = fabric.setup_optimizers(torch.optim.SGD(model.parameters(), lr=0.0))
    batch = Batch(x=torch.full((2, 1), 100.0), y=torch.zeros(2, 1))
    logs = descend(fabric, State(objective, optimizer), batch, clip_norm=1.0)  # type: ignore[arg-type]
    clipped = torch.nn.utils.get_total_norm(
        [p.grad for p in model.parameters() if p.grad is not None]
    )
    assert float(logs["grad_norm"]) > 100
    assert abs(float(clipped) - 1) < 1e-4
