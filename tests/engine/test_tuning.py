"""Fine-tuning: what is frozen stays, rates fall towards the input, resumed runs are the same."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Net, Until, small
from torch import Tensor

from ninefold.app.cli import main
from ninefold.core.errors import Refused, Stopped
from ninefold.core.weights import write_weights
from ninefold.engine import checkpoint
from ninefold.engine.config import Run
from ninefold.engine.opened import open_run
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
