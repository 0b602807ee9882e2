"""A run that was interrupted ends as the run that was not, bit for bit."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Until, Watcher, small

from ninefold.core.errors import Stopped
from ninefold.core.results import read_lines
from ninefold.engine import checkpoint
from ninefold.engine.config import Run
from ninefold.engine.train import train

LAST = 8
RICH: dict[str, Any] = {"ema": 0.9, "clip_norm": 0.5, "accumulate": 2}


class Sender(Watcher):
    """Sends this process a signal in some step."""

    def __init__(self, number: signal.Signals, step: int) -> None:
        super().__init__()
        self._number, self._step = number, step

    def stepped(self, step: int) -> None:
        if step == self._step:
            os.kill(os.getpid(), self._number)


def trained_until(step: int, run: Run, folder: Path) -> None:
    with pytest.raises(Stopped, match=f"after step {step}"):
        train(run, out=folder, resume=True, observers=[Until(step)])


def state_in(folder: Path) -> dict[str, Any]:
    path = checkpoint.newest(folder / "checkpoints")
    assert path is not None
    assert path.name == f"step_{LAST}"
    content = checkpoint.load(path)
    del content["record"]  # of the run and its data: plain words
    return content


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run with an average, clipping, accumulation, Mixup and dropout, never interrupted."""
    run = small(**RICH)
    folder = tmp_path_factory.mktemp("runs") / "straight"
    trained_until(LAST, run, folder)
    return run, folder


@pytest.mark.parametrize("places", [(1,), (4,), (5, 7)], ids=str)
def test_weights_optimizer_and_average_are_equal_to_the_bit(
    straight: tuple[Run, Path], tmp_path: Path, places: tuple[int, ...]
) -> None:
    """Whether it stopped before, in or after the end of an epoch (step 5), once or twice."""
    run, folder = straight
    for step in (*places, LAST):
        torch.rand(step)  # whatever the process did before does not count
        trained_until(step, run, tmp_path / "run")
    assert_same(state_in(tmp_path / "run"), state_in(folder))


def test_bf16_resumes_to_the_bit_too(tmp_path: Path) -> None:
    run = small(**RICH, precision="bf16-mixed")
    for name, places in (("straight", (LAST,)), ("broken", (3, LAST))):
        for step in places:
            trained_until(step, run, tmp_path / name)
    assert_same(state_in(tmp_path / "broken"), state_in(tmp_path / "straight"))


def test_the_number_of_workers_does_not_count(tmp_path: Path, straight: tuple[Run, Path]) -> None:
    run, folder = straight
    for step, workers in ((2, 2), (6, 0), (LAST, 1)):
        trained_until(step, run.changed(workers=workers), tmp_path / "run")
    assert_same(state_in(tmp_path / "run"), state_in(folder))


def test_logs_go_on_as_if_nothing_had_happened(tmp_path: Path, straight: tuple[Run, Path]) -> None:
    """Lines after the checkpoint and a torn one are cut, then written again."""
    run, folder = straight
    trained_until(6, run, tmp_path / "run")
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"step": 7, "loss": 9.9}\n{"step": 8, "lo')
    trained_until(LAST, run, tmp_path / "run")

    def told(folder: Path) -> list[tuple[Any, ...]]:
        lines = read_lines(folder / "log.jsonl")
        return [(line["step"], line["loss"], line.get("split")) for line in lines]

    assert told(tmp_path / "run") == told(folder)


def test_a_damaged_checkpoint_costs_its_steps_and_nothing_else(
    tmp_path: Path, straight: tuple[Run, Path], caplog: pytest.LogCaptureFixture
) -> None:
    run, folder = straight
    run = run.changed(checkpoint_every=3)
    trained_until(6, run, tmp_path / "run")
    file = tmp_path / "run" / "checkpoints" / "step_6" / "state.pt"
    file.write_bytes(file.read_bytes()[:-100])
    trained_until(LAST, run, tmp_path / "run")
    assert "step_6 is passed over: state.pt has" in caplog.text
    found, expected = state_in(tmp_path / "run"), state_in(folder)
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_a_signal_saves_at_the_step_and_the_run_goes_on_to_the_bit(
    tmp_path: Path, straight: tuple[Run, Path], number: signal.Signals, code: int
) -> None:
    run, folder = straight
    with pytest.raises(Stopped, match=r"stopped at step 3 of 9 and saved as .*step_3") as told:
        train(run, out=tmp_path / "run", observers=[Sender(number, 3)])
    assert told.value.code == code
    trained_until(LAST, run, tmp_path / "run")
    assert_same(state_in(tmp_path / "run"), state_in(folder))


def test_sigusr1_saves_and_goes_on(tmp_path: Path, straight: tuple[Run, Path]) -> None:
    sender = Sender(signal.SIGUSR1, 3)
    with pytest.raises(Stopped):
        train(straight[0], out=tmp_path / "run", observers=[sender, Until(4)])
    assert [e for e in sender.events if e.startswith("step")] == ["step_3", "step_4"]


def test_a_validation_that_a_signal_cut_short_is_made_up_for(
    tmp_path: Path, straight: tuple[Run, Path]
) -> None:
    """The stop falls on step 5, where a validation is due: it is given up, and made up for."""
    run, folder = straight
    trained_until(5, run, tmp_path / "run")
    assert not [x for x in read_lines(tmp_path / "run" / "results.jsonl") if x["split"] == "val"]
    trained_until(LAST, run, tmp_path / "run")
    assert_same(state_in(tmp_path / "run"), state_in(folder))
    results = read_lines(tmp_path / "run" / "results.jsonl")
    assert results == read_lines(folder / "results.jsonl")


def test_another_machine_is_told_as_the_end_of_equality_to_the_bit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained_until(1, small(), tmp_path / "run")
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        trained_until(2, small(), tmp_path / "run")
    finally:
        torch.set_num_threads(threads)
    before, now = f"cpu, {threads} threads", f"cpu, {threads + 1} threads"
    assert f"going on, but not bit for bit: device was {before}, now {now}" in caplog.text


def test_a_stop_at_the_last_step_leaves_validation_and_test_to_the_next_time(
    tmp_path: Path,
) -> None:
    trained_until(9, small(), tmp_path / "run")
    lines = read_lines(tmp_path / "run" / "results.jsonl")
    assert [(line["split"], line["step"]) for line in lines] == [("val", 5)]
    train(small(), out=tmp_path / "run", resume=True)
    lines = read_lines(tmp_path / "run" / "results.jsonl")
    assert [line["split"] for line in lines] == ["val", "val", "test"]
    assert lines[1]["step"] == 9
