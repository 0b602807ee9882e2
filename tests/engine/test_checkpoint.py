"""A checkpoint is whole or not there, and the newest whole one is found."""

import logging
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Net
from torch import nn

from ninefold.core.errors import Failed, Refused
from ninefold.engine import checkpoint
from ninefold.engine.update import State
from ninefold.optim.average import Ema


def state_at(step: int) -> State:
    torch.manual_seed(step)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3, 12, 12)).sum().backward()
    optimizer.step()
    agent = nn.Linear(2, 2)
    extra = {"agent": agent, "agent_optimizer": torch.optim.SGD(agent.parameters(), momentum=0.9)}
    return State(model, optimizer, Ema(model, 0.9), step, best=step / 10, extra=extra)


def saved(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        checkpoint.save(folder, state_at(step), {"note": "here"}, keep=keep)


def test_what_is_loaded_equals_what_was_saved(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    path = checkpoint.newest(tmp_path)
    assert path is not None
    content, state = checkpoint.load(path), state_at(9)
    checkpoint.unpack(content, state)
    torch.testing.assert_close(checkpoint.pack(state), checkpoint.pack(state_at(3)), rtol=0, atol=0)
    assert (state.step, state.best, content["record"]) == (3, 0.3, {"note": "here"})


def test_the_newest_are_kept_and_nothing_else_is_left(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 9, 10, 11)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_10", "step_11"]


def test_a_step_that_stands_already_is_written_anew(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / "step_2" / "state.pt").write_bytes(b"torn")
    saved(tmp_path, 2)
    assert checkpoint.newest(tmp_path) == tmp_path / "step_2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_1", "step_2"]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_a_damaged_file_falls_back_to_the_checkpoint_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    saved(tmp_path, 1, 2)
    for name in ("state.pt", "manifest.json"):
        file = tmp_path / "step_2" / name
        whole = file.read_bytes()
        for twentieth in range(20):
            place = len(whole) * twentieth // 20
            file.write_bytes(flip(whole, place) if kind == "flipped" else whole[:place])
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                found = checkpoint.newest(tmp_path)
            assert found == tmp_path / "step_1", (name, place)
            assert "step_2 is passed over" in caplog.text
        file.write_bytes(whole)
    assert checkpoint.newest(tmp_path) == tmp_path / "step_2"


def test_a_missing_manifest_means_that_the_writer_did_not_come_to_the_end(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / "step_2" / "manifest.json").unlink()
    assert checkpoint.newest(tmp_path) == tmp_path / "step_1"


def test_no_checkpoint_is_found_where_none_is_whole(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "nowhere") is None
    (tmp_path / "step_5").mkdir()
    (tmp_path / "step_x").mkdir()
    assert checkpoint.newest(tmp_path) is None


def test_debris_of_a_killed_writer_is_ignored_and_cleaned(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / ".aside_step_2_12345").mkdir()
    (tmp_path / ".aside_step_2_12345" / "state.pt").write_bytes(b"half")
    assert checkpoint.newest(tmp_path) == tmp_path / "step_1"
    checkpoint.clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


@pytest.mark.parametrize("call", range(6))
def test_a_write_that_fails_anywhere_leaves_the_old_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """No room at the n-th flush of the state or of a folder, or at the rename."""
    saved(tmp_path, 1, 2)
    calls = {"left": call}

    def failing(real: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if calls["left"] == 0:
                calls["left"] -= 1
                raise OSError(28, "No space left on device")
            calls["left"] -= 1
            return real(*args, **kwargs)

        return wrapped

    monkeypatch.setattr(checkpoint._Hashed, "flush", failing(checkpoint._Hashed.flush))
    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(Path, "rename", failing(Path.rename))
    with pytest.raises(Failed, match=r"step_3: .*No space left.* bytes .*older ones are intact"):
        checkpoint.save(tmp_path, state_at(3), {}, keep=2)
    monkeypatch.undo()
    # Only the last flush of all comes after the rename.
    assert checkpoint.newest(tmp_path) == tmp_path / ("step_3" if call == 5 else "step_2")


@pytest.fixture
def small_files() -> Any:
    """No file may grow above 20 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_is_told_before_anything_is_written(
    tmp_path: Path, small_files: None
) -> None:
    with pytest.raises(Refused, match=r"cannot be written .*50,000 bytes and [\d,]+ are free"):
        checkpoint.check_room(tmp_path, 50_000, 3)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_leaves_the_old_checkpoint_and_no_debris(
    tmp_path: Path, small_files: None
) -> None:
    small = State(nn.Linear(1, 1), torch.optim.SGD([nn.Parameter(torch.zeros(1))]), step=1)
    checkpoint.save(tmp_path, small, {}, keep=2)
    large = State(nn.Linear(200, 200), small.optimizer, step=2)
    with pytest.raises(Failed, match=r"step_2: could not be written .*File too large.*intact"):
        checkpoint.save(tmp_path, large, {}, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step_1"]


def test_too_little_room_for_all_checkpoints_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="too little room"):
        checkpoint.check_room(tmp_path, 1000, 10**15)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be written"):
        checkpoint.check_room(tmp_path / "file" / "checkpoints", 10, 1)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    other = state_at(1)
    other.objective = nn.Linear(1, 1)
    with pytest.raises(Refused, match="does not fit"):
        checkpoint.unpack(checkpoint.load(tmp_path / "step_1"), other)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "step_1").mkdir()
    torch.save({"record": Payload()}, tmp_path / "step_1" / "state.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoint.load(tmp_path / "step_1")
    assert not (tmp_path / "ran").exists()
