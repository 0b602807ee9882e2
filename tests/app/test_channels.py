"""Images of other than three channels, from training to prediction."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ninefold.app.cli import main
from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run

Captured = pytest.CaptureFixture[str]

SMALL = ["--model-options", "embed_dim=8", "depths=[1,1]", "num_heads=[1,2]", "--image-size", "16"]
QUICK = [*SMALL, "--steps", "2", "--batch-size", "4", "--workers", "0"]


def write(path: Path, channels: int, seed: int) -> None:
    """An image of noise: an array for five channels, a picture for fewer."""
    values = np.random.default_rng(seed).integers(0, 256, (16, 16, channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values.squeeze()).save(path)


@pytest.mark.parametrize(("channels", "suffix"), [(1, ".png"), (4, ".png"), (5, ".npy")])
def test_images_of_any_number_of_channels_train_and_are_predicted(
    channels: int, suffix: str, tmp_path: Path, capsys: Captured
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for i in range(2 * count):
            write(data / split / "ab"[i % 2] / f"{i}{suffix}", channels, i)
    words = ["--preprocess.channels", str(channels), "--out", str(run), *QUICK]
    assert main(["train", "--data", str(data), *words]) == 0
    capsys.readouterr()
    file = str(data / "test" / "a" / f"0{suffix}")
    assert main(["predict", str(run), file, "--out", str(tmp_path / "seen")]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == file
    assert (tmp_path / "seen" / "0.png").exists()


def test_three_values_of_colours_become_their_average_for_other_channels() -> None:
    five = Run(steps=1).preprocess.changed(channels=5)
    assert (five.mean, five.std) == ((0.449,), (0.226,))
    one = Preprocess(channels=1)
    assert (one.mean, one.std) == ((0.449,), (0.226,))
    assert Preprocess().mean == Preprocess().changed(image_size=32).mean == (0.485, 0.456, 0.406)
    own = Preprocess(channels=2, mean=(0.1, 0.2), std=(0.3,))
    assert (own.mean, own.std) == ((0.1, 0.2), (0.3,))


def test_values_that_fit_no_channels_are_refused_with_the_number_that_does(
    capsys: Captured,
) -> None:
    words = ["--preprocess.channels", "5", "--preprocess.mean", "0.1", "0.2"]
    assert main(["train", *words]) == 2
    assert "preprocess.mean: 2 values for 5 channels; 1 or 5 fit" in capsys.readouterr().err
