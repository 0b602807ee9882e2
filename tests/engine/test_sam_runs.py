"""SAM in a run: several processes, accumulated parts, clipping, statistics, resume."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Net, small
from lightning_fabric import Fabric
from sam_process import all_trained
from test_processes import free_port
from test_resume import LAST, assert_same, state_in, trained_until
from torch import Tensor, nn

from ninefold.app.cli import main
from ninefold.core.batch import Batch
from ninefold.core.errors import Refused
from ninefold.engine.build import build
from ninefold.engine.config import Run
from ninefold.engine.update import NotFinite, Objective, State, descend
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import Asam, Gsam, Optim, RmspropTf, Sam
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task

SCRIPT = Path(__file__).with_name("sam_process.py")


def set_up(optim: Optim, model: nn.Module | None = None) -> tuple[Fabric, State]:
    torch.manual_seed(0)
    model = model or Net()
    fabric = Fabric(accelerator="cpu", devices=1)
    task = make_task("classification", ("red", "green", "blue"), Loss())
    objective: Any = fabric.setup_module(Objective(model, task)).train()
    optimizer: Any = fabric.setup_optimizers(make_optimizer(model, optim))
    return fabric, State(objective, optimizer)


def images(count: int = 8) -> Batch:
    draws = torch.Generator().manual_seed(5)
    x = torch.randn(count, 3, 12, 12, generator=draws)
    return Batch(x, torch.arange(count) % 3, torch.arange(count))


@pytest.mark.slow
def test_two_ranks_stay_equal_to_the_bit_and_climb_together_as_one_process(tmp_path: Path) -> None:
    """Twenty steps with clipping and two parts each: 1e-6, and 0 between ranks, by optimizer."""
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1",
              "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(tmp_path / "ranks.pt")],
            env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
        )
        for rank in ("0", "1")
    ]
    alone = all_trained()
    for process in ranks:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()[-2000:]
    together = torch.load(tmp_path / "ranks.pt")
    for name, (one, other) in together.items():
        assert_same(one, other)
        for key, value in one.items():
            difference = float((value - alone[name][0][key]).abs().max())
            if "local" in name:
                assert key.endswith("bias") or difference > 1e-6, name
            else:
                assert difference < 1e-6, (name, key, difference)
    for kind in ("sam", "gsam"):  # two ranks that climb apart are two shards of one process
        for key, value in together[f"{kind}, local"][0].items():
            torch.testing.assert_close(
                value, alone[f"{kind}, local, shards"][0][key], rtol=0, atol=1e-6
            )


@pytest.mark.parametrize(
    "optim",
    [
        Sam(lr=0.01, every=2),
        Asam(lr=0.01, base="sgd", options=("momentum=0.9",), shards=2, decay_in_loss=True),
        Gsam(lr=0.01),
        RmspropTf(),
    ],
    ids=lambda optim: optim.kind,
)
def test_a_run_that_was_stopped_in_mid_epoch_ends_the_same_to_the_bit(
    optim: Optim, tmp_path: Path
) -> None:
    """With dropout, BatchNorm, an average of weights, clipping and two parts a step."""
    run = small(optim=optim, ema=0.9, clip_norm=0.5, accumulate=2)
    for name, places in (("straight", (LAST,)), ("broken", (3, 7, LAST))):
        for step in places:
            torch.rand(step)
            trained_until(step, run, tmp_path / name)
    assert_same(state_in(tmp_path / "broken"), state_in(tmp_path / "straight"))


def test_running_statistics_are_those_of_the_first_pass() -> None:
    fabric, state = set_up(Sam(rho=1.0))
    _, plain = set_up(Sam(rho=1.0, every=2))
    plain.optimizer.param_groups[0]["sam_steps"] = 1  # a plain step
    for one in (state, plain):
        descend(fabric, one, images())
    found, expected = state.model.norm, plain.model.norm
    assert isinstance(found, nn.BatchNorm2d)
    assert isinstance(expected, nn.BatchNorm2d)
    assert_same(dict(found.named_buffers()), dict(expected.named_buffers()))
    assert int(found.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_parts_change_neither_the_climb_nor_the_step() -> None:
    """A network without noise and BatchNorm: one, two and four parts give the same weights."""
    found: list[list[Tensor]] = []
    for parts in (1, 2, 4):
        model = nn.Sequential(nn.Flatten(), nn.Linear(432, 3))
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(0.01)
        fabric, state = set_up(Sam(lr=0.01), model)
        for _ in range(3):
            descend(fabric, state, images(), accumulate=parts, clip_norm=0.1)
        found.append([p.detach().clone() for p in model.parameters()])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_noise_of_each_part_is_that_of_the_first_pass() -> None:
    seen: list[Tensor] = []

    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.drop(torch.ones(100)))
            return super().forward(x)

    fabric, state = set_up(Sam(), Noisy())
    descend(fabric, state, images(), accumulate=2)
    assert [torch.equal(seen[i], seen[i + 2]) for i in (0, 1)] == [True, True]
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("optim", [Sam, Gsam])
def test_what_the_base_steps_by_is_clipped_and_the_climb_is_not(optim: Any) -> None:
    """SGD at rate 1 moves by what it is given: 0.01, for any radius."""
    fabric, state = set_up(optim(base="sgd", lr=1.0, weight_decay=0, options=("momentum=0",)))
    before = [p.detach().clone() for p in state.model.parameters()]
    logs = descend(fabric, state, images(), clip_norm=0.01)
    pairs = zip(state.model.parameters(), before, strict=True)
    moved = torch.cat([(p.detach() - b).flatten() for p, b in pairs]).norm()
    assert float(moved) == pytest.approx(0.01, rel=1e-3)
    assert float(logs["grad_norm"]) > 0.01
    assert float(logs["climb"]) > 0


def test_a_gradient_that_is_not_finite_uphill_is_told_with_the_weights_put_back() -> None:
    class Cliff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 3)
            nn.init.zeros_(self.head.weight)

        def forward(self, x: Tensor) -> Tensor:
            y = self.head(x.mean(dim=(1, 2, 3), keepdim=True).flatten(1))
            return y / torch.where(self.head.bias.detach().abs().sum() > 5, 0.0, 1.0)

    fabric, state = set_up(Sam(rho=100.0), Cliff())
    before = [p.detach().clone() for p in state.model.parameters()]
    with pytest.raises(NotFinite):
        descend(fabric, state, images())
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), before, strict=True))


def test_bf16_trains_and_fp16_is_refused_with_the_reason(tmp_path: Path) -> None:
    run = small(optim=Sam(lr=0.01), precision="bf16-mixed")
    trained_until(2, run, tmp_path / "run")
    with pytest.raises(
        Refused, match=r"precision: fp16 needs its losses scaled.*bf16-mixed or"
    ) as r:
        run.changed(precision="16-mixed")
    assert "\n" not in str(r.value)


def test_a_batch_that_does_not_divide_by_shards_is_refused() -> None:
    run = small(optim=Sam(shards=3))
    with pytest.raises(Refused, match=r"batch_size 8 does not .* times 3 shards; 6 would be right"):
        build(run, 1)


def test_the_command_takes_its_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = "synthetic://classification?size=16&train=40&test=8", str(tmp_path / "run")
    words = ["train", "quickstart", "--data", data, "--out", out,
             "--image-size", "16", "--steps", "1", "--batch-size", "8",
             "--optim", "asam", "--optim.rho", "0.3", "--optim.base", "sgd"]  # fmt: skip
    assert main([*words, "--optim.options", "momentum=0.8", "nesterov=true"]) == 0
    optim = Run.read(tmp_path / "run" / "run.yaml").optim
    assert isinstance(optim, Asam)
    assert (optim.rho, optim.base) == (0.3, "sgd")
    assert optim.options == ("momentum=0.8", "nesterov=true")
    assert main([*words, "--optim.options", "momentun=0.8"]) == 2
    assert "did you mean 'momentum'" in capsys.readouterr().err
