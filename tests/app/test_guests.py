"""timm's models in every verb that takes a model."""

import json
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image

from ninefold.app.cli import main
from ninefold.core.weights import read_weights

DATA = "synthetic://classification?size=32&train=48&val=24&test=24"
QUICK = ["--data", DATA, "--steps", "2", "--batch-size", "8", "--workers", "0"]
GUESTS = ["timm/test_resnet", "timm/test_vit"]
"""timm's own models for tests: the smallest of maps and of tokens."""
Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize("name", GUESTS)
def test_a_guest_is_trained_used_converted_and_trained_on(
    name: str, tmp_path: Path, capsys: Captured
) -> None:
    run = str(tmp_path / "run")
    saving = ["--freeze", "1", "--layer-decay", "0.7", "--grad-checkpoint"]
    assert main(["train", "quickstart", "--model", name, *QUICK, *saving, "--out", run]) == 0
    assert main(["eval", run]) == 0
    image = tmp_path / "grey.png"
    Image.new("RGB", (40, 30), "grey").save(image)
    capsys.readouterr()
    assert main(["predict", run, str(image)]) == 0
    assert 0 < json.loads(capsys.readouterr().out)["probability"] <= 1
    assert main(["embed", run, DATA, "--probe", "knn", "--workers", "0"]) == 0
    assert main(["convert", run, str(tmp_path / "w.pth"), "--to", "timm"]) == 0
    assert f"{name}\n" in capsys.readouterr().out
    kept = read_weights(tmp_path / "run" / "model.safetensors").tensors
    classes = len(kept["head.weight"])
    model = timm.create_model(name.removeprefix("timm/"), num_classes=classes)
    model.load_state_dict(torch.load(tmp_path / "w.pth", weights_only=True))  # strict
    words = ["train", "finetune", "--weights", str(tmp_path / "w.pth"), "--model", name, *QUICK]
    assert main([*words, "--image-size", "32", "--out", str(tmp_path / "again")]) == 0
    assert main(["eval", name, "--weights", str(tmp_path / "again" / "model.safetensors"),
                 "--data", DATA]) == 0  # fmt: skip


def test_what_is_known_of_a_guest_is_told(capsys: Captured) -> None:
    assert main(["models", "timm/test_vit"]) == 0
    out = capsys.readouterr().out
    assert "hf://timm/test_vit.r160_in1k/model.safetensors" in out
    assert "160 pixels" in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["models", "timm/test_vitt"], "did you mean 'test_vit'?"),
        (["train", "quickstart", "--model", "timm/test_resnet", *QUICK, "--freeze", "9"], "stages"),
        (["train", "quickstart", "--model", "timm/test_vit", *QUICK, "--model-options", "x=1"],
         "timm cannot build it"),
        (["convert", "w.pth", "--model", "timm/test_vitt"], "w.pth: no such file"),
    ],
)  # fmt: skip
def test_what_a_guest_cannot_do_is_said_in_one_line(
    words: list[str], told: str, capsys: Captured
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1
