"""The curvature of a trained model: what it looks at, and what does not change it."""

from pathlib import Path

import pytest
import torch
from engine_parts import small
from torch import nn

from ninefold.app.cli import main
from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.engine.curvature import curvature
from ninefold.engine.opened import Opened
from ninefold.engine.train import train
from ninefold.tasks.config import Loss
from ninefold.tasks.create import make_task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return train(small(steps=12), out=tmp_path_factory.mktemp("runs") / "one")


def test_it_is_told_of_the_training_part_and_leaves_the_model_as_it_was(trained: Opened) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    result = trained.curvature("engine_parts:tones", images=20)
    assert result.split == "curvature:train"
    assert result.conditions["images"] == 20
    assert result.hessian_max == result.conditions["eigenvalues"]["whole"][0] > 0
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.grad is None for p in trained.model.parameters())
    assert trained.curvature("engine_parts:tones", images=20).hessian_max == result.hessian_max


def test_the_batch_size_does_not_count_and_the_images_do(trained: Opened) -> None:
    whole = trained.curvature("engine_parts:tones", images=0)
    assert whole.conditions["images"] == 40
    parts = trained.curvature("engine_parts:tones", images=0, batch_size=7)
    assert parts.hessian_max == pytest.approx(whole.hessian_max, rel=1e-3)
    few = trained.curvature("engine_parts:tones", images=5)
    assert few.hessian_max != pytest.approx(whole.hessian_max, rel=1e-2)


def test_noise_of_training_is_off_and_comes_back() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Dropout(0.5))
    task = make_task("classification", ("a", "b", "c"), Loss())
    from ninefold.core.batch import Batch

    batch = Batch(torch.randn(6, 3, 2, 2), torch.arange(6) % 3, torch.arange(6))
    names = [name for name, _ in model.named_parameters()]
    found = [curvature(model.train(), task, [batch], parts={"whole": names}) for _ in range(2)]
    assert found[0] == found[1]
    assert model[2].training


def test_a_model_that_does_not_tell_its_blocks_is_refused(trained: Opened) -> None:
    with pytest.raises(Refused, match=r"layers_by_depth"):
        trained.curvature("engine_parts:tones", blocks=True)
    with pytest.raises(Refused, match=r"count is 9; 1 to 5"):
        trained.curvature("engine_parts:tones", count=9, steps=5)


def test_the_command_tells_every_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = "synthetic://classification?size=16&train=40&test=8", str(tmp_path / "run")
    options = ["dim=8", "depth=2", "num_heads=2", "mlp_dim=16"]
    assert main(["train", "quickstart", "--data", data, "--out", run, "--model", "vit_atto",
                 "--image-size", "16", "--steps", "2", "--batch-size", "8", "--workers", "0",
                 "--model-options", *options]) == 0  # fmt: skip
    capsys.readouterr()
    assert main(["eval", run, "--curvature", "--blocks", "--images", "16",
                 "--eigenvalues", "2"]) == 0  # fmt: skip
    rows = [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert rows == ["part", "whole", "embedding", "block 1", "block 2", "head", "attention",
                    "perceptrons"]  # fmt: skip
    line = read_lines(tmp_path / "run" / "results.jsonl")[-1]
    assert line["split"] == "curvature:train"
    values = line["eigenvalues"]
    assert all(len(pair) == 2 and pair[0] >= pair[1] for pair in values.values())
    # A diagonal block is at most as curved as the whole.
    assert max(v[0] for v in values.values()) <= values["whole"][0] * 1.01
    assert main(["eval", run, "--blocks"]) == 2
    assert "--blocks: belongs to --curvature" in capsys.readouterr().err
