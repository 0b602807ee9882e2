"""Evaluation under corruptions: what is measured, on which images, and what is written."""

from pathlib import Path

import pytest
import torch

from ninefold.app.cli import main
from ninefold.augment.severities import CORRUPTIONS
from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.engine.opened import Opened, open_run

DATA = "synthetic://classification?size=32&train=48&val=24&test=24"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    assert main(["train", "quickstart", "--data", DATA, "--out", str(folder), "--model",
                 "resnet_atto", "--model-options", "blocks=[1,1]", "width_factor=0.125",
                 "--steps", "3", "--batch-size", "8", "--workers", "0"]) == 0  # fmt: skip
    return folder


@pytest.fixture
def opened(run: Path) -> Opened:
    return open_run(run)


def test_metrics_are_means_over_corruptions_and_severities(opened: Opened) -> None:
    result = opened.evaluate(DATA, corrupt=["fog", "contrast"])
    shifted = result.curves["shifted"]
    assert [r.split for r in shifted] == [
        f"shift:{name}:{s}" for name in ("fog", "contrast") for s in range(1, 6)
    ]
    for metric in ("top1", "loss", "ece"):
        expected = sum(r.metrics[metric] for r in shifted) / 10
        assert result.metrics[metric] == pytest.approx(expected)
    clean = opened.evaluate(DATA)
    assert result.conditions["clean_top1"] == clean.top1
    assert result.conditions["kept"] == pytest.approx(result.top1 / clean.top1)
    assert result.curves["clean"].metrics == clean.metrics
    assert {r.conditions["images"] for r in shifted} == {24}


def test_the_batch_size_changes_no_image(opened: Opened) -> None:
    one, other = (
        opened.evaluate(DATA, corrupt=["gaussian_noise"], batch_size=size) for size in (5, 24)
    )
    assert other.loss == pytest.approx(one.loss, rel=1e-5)


def test_so_many_images_are_the_same_ones_each_time(opened: Opened) -> None:
    found = [opened.evaluate(DATA, images=9) for _ in range(2)]
    assert found[0].conditions["images"] == 9
    assert found[0].metrics == found[1].metrics
    assert opened.evaluate(DATA, images=100).conditions["images"] == 24


def test_the_command_prints_a_table_keeps_every_line_and_draws(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(read_lines(run / "results.jsonl"))
    assert main(["eval", str(run), "--shift", "--images", "6"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["top1,", "%", "1", "2", "3", "4", "5", "mean"]
    names = [row.split()[0] for row in rows[1:]]
    assert names == [*CORRUPTIONS, "all", "without", "kept"]
    lines = read_lines(run / "results.jsonl")[before:]
    assert len(lines) == 76
    assert lines[-1]["split"] == "shift"
    assert lines[-1]["of"] == "test"
    assert (run / "figures" / "corruptions.png").stat().st_size > 5000


def test_what_does_not_fit_is_refused_before_work(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, told in (
        (["--shift", "fogg"], "did you mean 'fog'"),
        (["--shift", "fog", "--curvature"], "one at a time"),
        (["--eigenvalues", "2"], "--eigenvalues: belongs to --curvature"),
        (["--shift", "fog", "--images", "-1"], "images -1"),
    ):
        assert main(["eval", str(run), *words]) == 2
        assert told in capsys.readouterr().err
    with pytest.raises(Refused, match="did you mean 'snow'"):
        open_run(run, device=torch.device("cpu")).evaluate(DATA, corrupt="snoww")
