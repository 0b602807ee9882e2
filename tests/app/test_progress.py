"""What a training shows, without a terminal."""

from dataclasses import replace
from pathlib import Path

import pytest

from ninefold.app import printing
from ninefold.app.progress import Progress
from ninefold.core.results import Result
from ninefold.engine.progress import Observer, Plan

PLAN = Plan(
    folder=Path("runs/0001"), model="swin_atto", parameters=567_512,
    images={"train": 2000, "val": 240}, classes=("cat", "dog"), first=0, stop=100,
    steps_per_epoch=31.25, batch_size=64, device="cpu, 2 threads", precision="32-true",
    best="top1", notes=("a tenth of the training part is for validation",),
)  # fmt: skip


def test_without_a_terminal_an_evaluation_is_a_line_and_steps_are_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    last = Result("val", 50, {"top1": 0.875, "loss": 0.4})
    with Progress() as progress:
        assert isinstance(progress, Observer)
        progress.started(PLAN)
        progress.stepped(1)
        progress.logged({"step": 50, "loss": 0.5, "top1": 0.8, "images_per_second": 100.0})
        progress.evaluated(last, best=True)
        progress.saved(Path("runs/0001/checkpoints/step_50"))
        progress.finished([last])
    out, err = capsys.readouterr()
    assert out == "runs/0001\n"
    notes, plan, evaluated = err.splitlines()
    assert notes == PLAN.notes[0]
    assert "568k parameters, 2 classes; images: 2,000 train, 240 val" in plan
    assert evaluated == "epoch 1.6  val  top1 87.50 %  loss 0.4000  (best so far)"
    assert progress.results == [last]
    assert progress.folder == PLAN.folder


def test_the_test_line_says_whose_weights_it_is_of_and_top5_needs_six_classes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[str] = []
    for count in (5, 6):
        with Progress() as progress:
            progress.started(replace(PLAN, classes=tuple("abcdef"[:count])))
            progress.evaluated(Result("test", 50, {"top1": 0.5, "top5": 1.0}), best=True)
        told.append(capsys.readouterr().err.splitlines()[-1])
    assert told == [
        "epoch 1.6  test  top1 50.00 %  (the best weights)",
        "epoch 1.6  test  top1 50.00 %  top5 100.00 %  (the best weights)",
    ]


def test_tables_cut_nothing_and_align_their_columns() -> None:
    told = printing.table(("file", "what"), [("a" * 200, "x"), ("b", "y" * 300)])
    lines = told.splitlines()
    assert lines[1] == "a" * 200 + "  x"
    assert lines[2].index("y") == 202
    assert lines[2].endswith("y" * 300)


@pytest.mark.parametrize(
    ("number", "told"), [(999, "999"), (5_350, "5.35k"), (28_288_354, "28.3M"), (2 * 10**9, "2G")]
)
def test_counts_are_told_with_three_digits(number: int, told: str) -> None:
    assert printing.short(number) == told
