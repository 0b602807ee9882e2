"""Small parts: preparing batches, devices, compilation, watching, observers, logs."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import CLASSES, Net
from torch import nn

from ninefold.core.batch import Batch
from ninefold.core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from ninefold.core.results import Result, append_line, read_lines
from ninefold.engine import device
from ninefold.engine.device import Autocast, compile_model, launch
from ninefold.engine.folder import cut_logs
from ninefold.engine.hooks import FiniteWatch
from ninefold.engine.prepare import Prepare
from ninefold.engine.progress import Plan
from ninefold.engine.sinks import LogFile, TensorBoard
from ninefold.engine.update import NotFinite, State

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 3, 5, 4, 4)], ids=["images", "clips"])
def test_uint8_is_normalised_by_channel(shape: tuple[int, ...]) -> None:
    x = torch.randint(0, 256, shape, dtype=torch.uint8)
    found = Prepare(Preprocess(), CPU)(Batch(x=x)).x
    channels = (1, 3) + (1,) * (len(shape) - 2)
    mean, std = (
        torch.tensor(IMAGENET_MEAN).view(channels),
        torch.tensor(IMAGENET_STD).view(channels),
    )
    torch.testing.assert_close(found, (x / 255 - mean) / std, rtol=0, atol=2e-6)


def test_one_value_serves_all_channels_and_floats_are_left_alone() -> None:
    prepare = Prepare(Preprocess(channels=5, mean=(0.5,), std=(0.25,)), CPU)
    sound = torch.randn(2, 1, 8)
    batch = prepare(Batch(x={"rgb": torch.zeros(2, 5, 3, 3, dtype=torch.uint8), "sound": sound}))
    assert isinstance(batch.x, dict)
    assert torch.equal(batch.x["sound"], sound)
    assert bool((batch.x["rgb"] == -2).all())


def test_bf16_leaves_the_floats_of_a_batch_as_they_are() -> None:
    batch = Batch(x=torch.full((1, 1), 1001.0))
    assert Autocast("bf16-mixed", "cpu").convert_input(batch) is batch


def test_bf16_falls_back_with_a_notice_where_it_is_not_native(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "bf16_is_native", lambda where: False)
    assert launch("auto")[1:] == ("32-true", [])
    precision, notes = launch("bf16-mixed")[1:]
    assert precision == "32-true"
    assert "does not compute bf16 natively" in notes[0]
    monkeypatch.setattr(device, "bf16_is_native", lambda where: True)
    assert launch("auto")[1] == "bf16-mixed"


def test_compilation_that_fails_is_told_once_and_the_model_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler here")

    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = torch.randn(3, 2)
    expected, names = model(x), list(model.state_dict())
    compile_model(model, backend=broken)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(model(x), expected)
        assert torch.equal(model(x), expected)
    assert [r.message for r in caplog.records if "going on without" in r.message] == [
        caplog.records[0].message
    ]
    assert "no compiler here" in caplog.text
    assert list(model.state_dict()) == names


def test_compilation_that_works_is_used_under_the_same_names() -> None:
    called: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        called.append(len(inputs))
        return graph.forward

    model = nn.Linear(2, 2)
    names = list(model.state_dict())
    compile_model(model, backend=backend)
    model(torch.randn(3, 2))
    assert called
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("sizes", [1, 12])
def test_each_of_several_image_sizes_is_compiled_for_itself(sizes: int) -> None:
    """More of them than torch compiles by default, which would go on without from the ninth on."""
    rows: list[object] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        shapes = [x.shape for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 4]
        rows.extend(shape[2] for shape in shapes if shape[2] != 3)  # the weight's
        return graph.forward

    model = nn.Conv2d(3, 2, 3)
    compile_model(model, sizes=sizes, backend=backend)
    for side in range(8, 8 + 12):
        assert model(torch.randn(2, 3, side, side)).shape[-1] == side - 2
    fixed = [side for side in rows if isinstance(side, int)]
    assert fixed == (list(range(8, 20)) if sizes == 12 else [8])


def test_the_watch_raises_at_the_step_on_a_cpu() -> None:
    watch = FiniteWatch(CPU)
    state = State(Net(), torch.optim.SGD([nn.Parameter(torch.zeros(1))]), step=4)
    batch = Batch(x=torch.zeros(1, 1))
    watch(state, batch, {"loss": torch.tensor(1.0), "grad_norm": torch.tensor(2.0)})
    with pytest.raises(NotFinite) as told:
        watch(state, batch, {"loss": torch.tensor(1.0), "grad_norm": torch.tensor(float("inf"))})
    assert told.value.step == 3
    watch.settle()


def test_logs_are_cut_after_a_step_and_torn_lines_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    for step in (1, 2, 3):
        append_line(log, {"step": step})
    with log.open("a") as file:
        file.write('\0\0\0\n{"step": 2, "split": "test"}\n{"step": 4')
    cut_logs(tmp_path, 2, final=False)
    assert read_lines(log) == [{"step": 1}, {"step": 2}]
    append_line(log, {"step": 3})
    assert len(read_lines(log)) == 3


def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink = LogFile(tmp_path / "gone")
    sink.logged({"step": 1})
    assert "a line could not be written" in caplog.text
    (tmp_path / "gone").mkdir()
    sink.logged({"step": 2})
    assert read_lines(tmp_path / "gone" / "log.jsonl") == [{"step": 2}]


def test_tensorboard_gets_training_and_validation(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TensorBoard().finished([])  # of a run that was refused before it started
    sink = TensorBoard()
    sink.started(plan(tmp_path))
    sink.logged({"step": 3, "loss": 0.5, "told": "words are left out"})
    sink.evaluated(Result("val", 3, {"top1": 0.25}), True)
    sink.saved(tmp_path)
    sink.finished([])
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {"train/loss": [0.5], "val/top1": [0.25]}


def plan(folder: Path) -> Plan:
    return Plan(
        folder=folder, model="net", parameters=1, images={"train": 1}, classes=CLASSES, first=0,
        stop=1, steps_per_epoch=1.0, batch_size=1, device="cpu", precision="32-true", best="top1",
        notes=(),
    )  # fmt: skip
