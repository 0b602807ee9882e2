"""Fine-tuning: what is frozen stays, rates fall towards the input, resumed runs are the same."""

import contextlib
import copy
import io
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Net, Until, small
from torch import Tensor

from ninefold.app.cli import main
from ninefold.core.errors import Failed, Refused, Stopped
from ninefold.core.results import read_lines
from ninefold.core.weights import write_weights
from ninefold.engine import checkpoint
from ninefold.engine.build import build
from ninefold.engine.config import Run
from ninefold.engine.device import launch
from ninefold.engine.find_rate import STEPS, Tried, extend, rate_at, suggestion
from ninefold.engine.opened import open_run
from ninefold.engine.room import fewest_parts
from ninefold.engine.train import train
from ninefold.layers.position import resize_positions
from ninefold.models.create import create_model


class Deep(Net):
    """`Net` that tells its order and can save memory."""

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        return [[("stem",)], [("norm", "drop")]]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.saving = enable

    def forward(self, x: Tensor) -> Tensor:
        if not getattr(self, "saving", False):
            return super().forward(x)
        out = torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=False)
        assert isinstance(out, Tensor)
        return out


def ended(run: Run, folder: Path, *steps: int) -> dict[str, Any]:
    """The checkpoint of step 8, with stops at `steps` before."""
    for step in (*steps, 8):
        with pytest.raises(Stopped, match=f"after step {step}"):
            train(run, out=folder, resume=True, observers=[Until(step)])
    path = checkpoint.newest(folder / "checkpoints")
    assert path is not None
    content = checkpoint.load(path)
    del content["record"]
    return content


def same(one: dict[str, Any], other: dict[str, Any]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def deep(**changes: Any) -> Run:
    return small(model="test_tuning:Deep", **changes)


def test_what_is_frozen_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    """Validations come in between, after which training mode is set again."""
    torch.manual_seed(3)
    found = ended(deep(freeze="backbone", evaluate_every=2), tmp_path / "run")
    weights = found["objective"]
    assert weights["model.norm.running_mean"].eq(0).all()
    assert weights["model.norm.num_batches_tracked"] == 0
    trained = ended(deep(), tmp_path / "other")["objective"]
    assert trained["model.norm.num_batches_tracked"] == 8
    assert not trained["model.stem.weight"].equal(weights["model.stem.weight"])
    held = [len(group["params"]) for group in found["optimizer"]["param_groups"]]
    assert held == [1, 1]  # the head's matrix, and its bias


def test_a_run_with_all_of_it_resumes_to_the_bit(tmp_path: Path) -> None:
    run = deep(
        freeze=0, layer_decay=0.5, grad_checkpoint=True, accumulate=2, ema=0.9, clip_norm=0.5
    )
    same(ended(run, tmp_path / "broken", 3, 6), ended(run, tmp_path / "straight"))
    run = run.changed(freeze="backbone")
    same(ended(run, tmp_path / "broken2", 3), ended(run, tmp_path / "straight2"))


def test_saving_memory_changes_no_bit(tmp_path: Path) -> None:
    same(ended(deep(grad_checkpoint=True), tmp_path / "a"), ended(deep(), tmp_path / "b"))


def test_rates_are_scaled_by_depth(tmp_path: Path) -> None:
    groups = ended(deep(layer_decay=0.5), tmp_path / "run")["optimizer"]["param_groups"]
    scales = [group["lr_scale"] for group in groups]
    assert scales == [0.25, 0.25, 0.5, 1.0, 1.0]
    assert [group["lr"] / groups[-1]["lr"] for group in groups] == pytest.approx(scales)


def test_finetune_takes_another_window_another_size_and_the_classes_that_it_knows(
    tmp_path: Path,
) -> None:
    """By the command: weights of windows of 4 at 32 pixels, for windows of 3 at 48 pixels."""
    sizes = {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2), "ape": True}
    old = create_model("swin", num_classes=3, image_size=32, window_size=4, **sizes)
    told = {"classes": json.dumps(["red", "pink", "GREEN"])}
    write_weights(tmp_path / "old.safetensors", old.state_dict(), told)
    words = (
        "train finetune --model swin --weights old.safetensors --data engine_parts:tones "
        "--image-size 48 --model-options embed_dim=8 depths=[1,1] num_heads=[1,2] ape=true "
        "window_size=3 --freeze backbone --steps 2 --batch-size 8 --workers 0 --out run"
    )
    logs = io.StringIO()
    with contextlib.redirect_stderr(logs):
        assert main(words.split()) == 0
    assert "2 of 3 classes found in the weights' head; 1 start anew" in logs.getvalue()
    assert "3 tables resized to this image size" in logs.getvalue()
    new = open_run(tmp_path / "run").model.state_dict()
    key = "layers.0.blocks.0.attn.relative_position_bias_table"
    assert new[key].equal(resize_positions(old.state_dict()[key], (7, 7), (5, 5)))
    places = resize_positions(old.state_dict()["absolute_pos_embed"][0], (8, 8), (12, 12))
    assert new["absolute_pos_embed"][0].equal(places)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"freeze": 1}, "has no method layers_by_depth"),
        ({"layer_decay": 0.8}, "has no method layers_by_depth"),
        ({"grad_checkpoint": True}, "has no method set_grad_checkpointing"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_model_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=f"engine_parts:Net: {words}"):
        train(small(**changes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [-1, "head", 1.5, True])
def test_freeze_is_a_number_or_backbone(value: object) -> None:
    with pytest.raises(Refused, match="run: freeze: a number of stages, 0 or more, or backbone"):
        Run.parse({"steps": 1, "freeze": value}, where="run")


def test_freeze_may_be_written_as_words_of_a_command() -> None:
    assert Run.parse({"steps": 1, "freeze": "2"}, where="run").freeze == 2
    assert Run.parse({"steps": 1, "freeze": "backbone"}, where="run").freeze == "backbone"


# -------------------------------------------------------------------------------- as few parts


class Wide(Net):
    """Keeps some 10 MB an image for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        lifted = self.stem(x).repeat(1, 1, 64, 64)
        for _ in range(2):
            lifted = lifted.exp().log1p()
        return super().forward(x) + 0 * lifted.mean()


@pytest.mark.parametrize(("room", "least", "most"), [(800, 4, 16), (9000, 1, 1)])
def test_a_batch_is_cut_into_as_few_parts_as_fit(room: int, least: int, most: int) -> None:
    """256 images keep some 3.4 GB for the way back."""
    fabric, _, _ = launch("32-true")
    parts = build(small(model="test_tuning:Wide", batch_size=256, accumulate=0), 1)
    before = copy.deepcopy(parts.model.state_dict())
    count, note = fewest_parts(parts, fabric, room=room * 2**20)
    assert least <= count <= most
    assert note.startswith(f"batches of 256 in {count} part")
    assert ("BatchNorm sees" in note) == (count > 1)
    same(parts.model.state_dict(), before)


def test_single_images_that_do_not_fit_are_told() -> None:
    fabric, _, _ = launch("32-true")
    parts = build(small(model="test_tuning:Wide", accumulate=0), 1)
    with pytest.raises(Failed, match="single images do not fit into the memory of cpu"):
        fewest_parts(parts, fabric, room=-(2**40))  # a step may grow into pages freed before it


def test_the_number_of_parts_is_recorded_and_kept_by_a_resumed_run(tmp_path: Path) -> None:
    run = small(accumulate=0)
    found = ended(run, tmp_path / "run", 3)
    assert Run.read(tmp_path / "run" / "run.yaml").accumulate == 1
    same(found, ended(small(accumulate=1), tmp_path / "other"))
    two = small(accumulate=2)
    ended(two, tmp_path / "two")
    with pytest.raises(Stopped):  # goes on in two parts, as recorded
        train(run, out=tmp_path / "two", resume=True, observers=[Until(9)])


# -------------------------------------------------------------------------------- a rate


def test_rates_rise_by_one_factor_from_least_to_most() -> None:
    rates = [rate_at(step) for step in range(STEPS)]
    assert (rates[0], rates[-1]) == pytest.approx((1e-7, 10.0))
    assert [b / a for a, b in itertools.pairwise(rates)] == pytest.approx([1.20450354] * 99)


def test_the_suggestion_is_a_tenth_of_the_rate_with_the_least_loss() -> None:
    """A fall around 1e-3, a rise from 0.1 on."""
    tried: list[Tried] = []
    for step in range(STEPS):
        place = math.log10(rate_at(step))
        extend(tried, 2 - 1 / (1 + math.exp(-4 * (place + 3))) + 10 * max(place + 1, 0))
    assert 0.008 < suggestion(tried) < 0.015
    assert tried[0].smooth == tried[0].loss


def test_a_loss_that_falls_nowhere_has_no_rate() -> None:
    tried: list[Tried] = []
    for step in range(30):
        extend(tried, 1.0 + step)
    with pytest.raises(Failed, match=r"in 30 steps .* the loss fell at no rate"):
        suggestion(tried)


def test_the_command_finds_a_rate_and_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "train finetune --model engine_parts:Net --data engine_parts:tones --image-size 12 "
        "--batch-size 8 --workers 0 --find-lr --weights old.safetensors --out found"
    )
    write_weights(tmp_path / "old.safetensors", Net().state_dict(), {})
    assert main(words.split()) == 0
    assert re.search(r"suggested: --optim.lr \S+ \(", capsys.readouterr().out)
    files = {str(p.relative_to("found")) for p in Path("found").rglob("*") if p.is_file()}
    assert files == {"lr_finder.jsonl", "figures/lr_finder.png"}
    lines = read_lines(Path("found/lr_finder.jsonl"))
    assert len(lines) > 30
    assert set(lines[0]) == {"step", "lr", "loss", "smooth"}
    assert main([*words.split(), "--seeds", "2"]) == 2
