"""The example package, which is no part of the library: every part by name and as an object."""

import json
import sys
from pathlib import Path

import pytest

import ninefold
from ninefold.app.cli import main

EXAMPLES = Path(__file__).parents[2] / "examples"
QUICK = ["--image-size", "32", "--steps", "3", "--batch-size", "8", "--workers", "0"]


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(EXAMPLES)])


def test_parts_by_name_work_in_train_eval_and_predict(capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "--model": "own_parts.model:Small",
        "--data": "own_parts.data:stripes",
        "--augment": "own_parts.training:noise",
        "--loss": "own_parts.training:focal",
        "--optim": "own_parts.training:Signs",
    }
    words = [word for pair in parts.items() for word in pair]
    assert main(["train", *words, "--optim.lr", "0.003", "--out", "mine", *QUICK]) == 0
    run = ninefold.Run.read("mine/run.yaml")
    assert (run.model, run.data) == (parts["--model"], parts["--data"])
    assert (run.augment.custom, run.loss.custom) == (parts["--augment"], parts["--loss"])
    assert (run.optim.kind, run.optim.lr) == ("custom", 0.003)
    assert main(["eval", "mine"]) == 0

    from own_parts.data import picture

    picture(0, 0.5, seed=1).save("new.png")
    capsys.readouterr()
    assert main(["predict", "mine", "new.png"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["label"] in ("level", "upright")


def test_parts_as_objects_work_in_train_evaluate_and_predict() -> None:
    from own_parts.data import picture, stripes
    from own_parts.model import Small
    from own_parts.training import Signs, focal, noise

    run = ninefold.recipes.quickstart(
        model=Small, data=stripes, augment=noise, loss=focal, optim=Signs,
        image_size=32, steps=60, batch_size=16, workers=0,
    )  # fmt: skip
    trained = ninefold.train(run, out="mine")
    assert trained.evaluate(stripes).top1 > 0.9
    assert trained.predict(picture(1, 0.5, seed=2))[0].label == "upright"
    assert ninefold.open_run("mine").classes == ("level", "upright")
