"""Patch AutoAugment in a run: agents, credit, resume, and what does not go with it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import small
from test_processes import free_port
from test_resume import LAST, assert_same, state_in, trained_until

from ninefold.augment.config import Augment, Patches
from ninefold.augment.patch_ops import OPERATIONS
from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import read_lines
from ninefold.core.weights import write_weights
from ninefold.engine import checkpoint
from ninefold.engine.build import build, set_up
from ninefold.engine.co_train import AGENT, AGENT_OPTIMIZER, co_train, update_of
from ninefold.engine.config import Run
from ninefold.engine.device import launch
from ninefold.engine.train import train
from ninefold.models.create import create_model
from ninefold.optim.config import Sam
from ninefold.tasks.config import Loss

SCRIPT = Path(__file__).with_name("co_train_process.py")


def run_with(credit: str = "image", patches: dict[str, Any] | None = None, **changes: Any) -> Run:
    chosen = Patches.model_validate({"grid": 2, "credit": credit, **(patches or {})})
    augment = Augment(crop="none", mixup=0.2, patches=chosen)
    return small(**{"augment": augment, **changes})


PHOTOS = {"fade": True, "leave_out": ("equalize", "sharpness"), "trunk": "resnet_atto"}


@pytest.mark.parametrize(
    ("credit", "changes"),
    [
        ("image", {"ema": 0.9, "accumulate": 2, "clip_norm": 0.5}),
        ("official", {}),
        ("team", {"optim": Sam(lr=0.01)}),
        ("uniform", {"patches": {"quirks": True}}),
        ("image", {"patches": PHOTOS}),
    ],
)
def test_agents_and_their_optimizer_are_resumed_to_the_bit(
    credit: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    run = run_with(credit, **changes)
    for name, places in (("straight", (LAST,)), ("broken", (3, LAST))):
        for step in places:
            torch.rand(step)
            trained_until(step, run, tmp_path / name)
    found = state_in(tmp_path / "broken")
    assert_same(found, state_in(tmp_path / "straight"))
    expected = set() if credit == "uniform" else {AGENT, AGENT_OPTIMIZER}
    assert found["extra"].keys() == expected
    if expected:
        assert len(found["extra"][AGENT_OPTIMIZER]["state"]) > 0


def test_the_agents_learn_and_are_logged_and_their_rate_follows_the_schedule(
    tmp_path: Path,
) -> None:
    run = run_with()
    train(run, out=tmp_path / "run")
    lines = [x for x in read_lines(tmp_path / "run" / "log.jsonl") if "agent_entropy" in x]
    assert lines
    assert all(0 < line["agent_entropy"] < 2.71 for line in lines)
    assert "each" not in lines[0]
    fabric, _, _ = launch(run.precision)
    fresh = set_up(run, build(run, 1), fabric).extra[AGENT].state_dict()

    path = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert path is not None
    saved = checkpoint.load(path)["extra"]
    key = "policy.7.weight"
    assert float((saved[AGENT][key] - fresh[key]).abs().max()) > 0
    rate = saved[AGENT_OPTIMIZER]["param_groups"][0]["lr"]
    assert 0 < rate < run.augment.patches.lr


def test_agents_that_diverge_end_the_run_and_the_message_names_their_rate(tmp_path: Path) -> None:
    run = run_with(patches={"lr": 1e30}, steps=40)
    with pytest.raises(
        Failed, match=r"agents' loss is \S+ .* a lower --augment.patches.lr may help"
    ):
        train(run, out=tmp_path / "run")


def test_the_model_sees_what_the_agents_did_with_erasing_and_mixing_behind_it() -> None:
    """Operations work on the 256 levels of the images, and come first."""
    run = run_with("uniform")
    fabric, _, _ = launch("32-true")
    parts = build(run, 1)
    state = set_up(run, parts, fabric)
    levels = torch.randint(256, (8, 3, 12, 12)).float()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (run.preprocess.mean, run.preprocess.std))
    seen: list[Batch] = []

    def after(batch: Batch, step: int) -> Batch:
        seen.append(batch)
        return batch

    def step(*_: Any) -> dict[str, torch.Tensor]:
        return {"loss": torch.zeros(())}

    batch = Batch((levels / 255 - mean) / std, torch.zeros(8).long(), torch.arange(8))
    co_train(
        fabric, state, batch, patches=run.augment.patches, preprocess=run.preprocess,
        after=after, step=step, stop=9,
    )  # fmt: skip
    x = seen[0].x
    assert isinstance(x, torch.Tensor)
    pixels = (x * std + mean) * 255
    patches = [(b, r, c) for b in range(8) for r in (0, 6) for c in (0, 6)]
    same = [
        torch.equal(pixels[b, :, r : r + 6, c : c + 6].round(), levels[b, :, r : r + 6, c : c + 6])
        for b, r, c in patches
    ]
    assert 4 < sum(same) < 30
    assert seen[0].extra["operations"].shape == (8, 2, 2)


def test_rewards_are_the_losses_of_the_images_in_their_order() -> None:
    run = run_with()
    fabric, _, _ = launch("32-true")
    parts = build(run, 1)
    state = set_up(run.changed(accumulate=2), parts, fabric)
    batch = Batch(torch.randn(8, 3, 12, 12), torch.arange(8) % 3, torch.arange(8))
    batch.extra["operations"] = torch.zeros(8, 2, 2).long()
    state.objective.train()
    logs = update_of(run.changed(accumulate=2, augment=Augment()), 3, 9)(fabric, state, batch)
    assert logs["each"].shape == (8,)
    assert float(logs["each"].mean()) == pytest.approx(float(logs["loss"]), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": Loss(custom="torch.nn:CrossEntropyLoss")}, "CrossEntropyLoss tells no losses of"),
        (
            {"augment": Augment(patches=Patches(grid=5))},
            "grid of 5 x 5 makes patches of 2 x 2 of an image of 12 x 12 pixels; at most 4 x 4",
        ),
        (
            {"preprocess": Preprocess(image_size=12, mean=(0.5,), std=(0.5,), channels=1)},
            "images have 1 channels",
        ),
        (
            {"patches": {"leave_out": ("equalise",)}},
            "no operation is called 'equalise'; did you mean 'equalize'",
        ),
        ({"patches": {"trunk": "resnet_ato"}}, "did you mean 'resnet_atto'"),
        ({"patches": {"trunk": "vit_atto"}}, "vit_atto has no maps for agents to see"),
        (
            {
                "patches": {"trunk": "resnet_atto", "grid": 15},
                "preprocess": Preprocess(image_size=48),
            },
            "tells 14 x 14 patches apart at the most, not 15 x 15",
        ),
    ],
)
def test_what_does_not_go_with_patches_is_refused_in_one_line(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        build(run_with(**changes), 1)
    assert "\n" not in str(refusal.value)


def test_operations_that_are_left_out_are_never_chosen_and_the_trunk_learns() -> None:
    run = run_with(patches={**PHOTOS, "fade": False})
    fabric, _, _ = launch("32-true")
    state = set_up(run, build(run, 1), fabric)
    agent = state.extra[AGENT].module
    before = {name: p.detach().clone() for name, p in agent.named_parameters()}
    seen: list[torch.Tensor] = []

    def step(_fabric: Any, _state: Any, batch: Batch) -> dict[str, torch.Tensor]:
        seen.append(batch.extra["operations"])
        return {"loss": torch.zeros(()), "each": torch.rand(len(batch))}

    for _ in range(20):
        batch = Batch(torch.randn(8, 3, 12, 12), torch.zeros(8).long(), torch.arange(8))
        co_train(
            fabric, state, batch, patches=run.augment.patches, preprocess=run.preprocess,
            after=lambda batch, _: batch, step=step, stop=20,
        )  # fmt: skip
    drawn = {OPERATIONS[i] for i in torch.stack(seen).unique().tolist()}
    assert drawn == set(OPERATIONS) - {"equalize", "sharpness"}
    moved = [n for n, p in agent.named_parameters() if not torch.equal(p.detach(), before[n])]
    assert len(moved) == len(before)


def test_a_trunk_starts_from_given_weights(tmp_path: Path) -> None:
    trained = create_model("resnet_atto", num_classes=7, image_size=12)
    write_weights(tmp_path / "w.safetensors", trained.state_dict(), {})
    weights = str(tmp_path / "w.safetensors")
    run = run_with(patches={**PHOTOS, "trunk_weights": weights})
    fabric, _, _ = launch("32-true")
    agent = set_up(run, build(run, 1), fabric).extra[AGENT].module
    found = agent.fea_extracter.model.state_dict()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in found.items())


@pytest.mark.slow
def test_two_ranks_keep_their_agents_equal_to_the_bit(tmp_path: Path) -> None:
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
    for process in ranks:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()[-2000:]
    one, other = torch.load(tmp_path / "ranks.pt")
    assert_same(one, other)
    assert set(one) == {"model", "agent"}
