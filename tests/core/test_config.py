"""Configurations: frozen, checked, written and read back equal."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from ninefold.core.errors import Refused
from ninefold.engine.config import Run
from ninefold.optim.config import Sgd


def test_a_run_survives_its_yaml(tmp_path: Path) -> None:
    run = Run(
        epochs=1.5, optim=Sgd(lr=0.3), model_options=("depths=[1,1]",), data="gr\u00fcn/\u00e4"
    )
    run.write(tmp_path / "run.yaml")
    assert Run.read(tmp_path / "run.yaml") == run


def test_a_write_that_ends_on_the_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.yaml"
    Run(steps=1).write(file)
    monkeypatch.setattr(os, "fsync", lambda handle: _killed())
    with pytest.raises(KeyboardInterrupt):
        Run(steps=2).write(file)
    assert Run.read(file) == Run(steps=1)


def _killed() -> None:
    raise KeyboardInterrupt


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Run(steps=1).seed = 3


def test_all_faults_are_told_in_one_line_by_path_with_the_nearest_field() -> None:
    values = {"steps": 1, "sede": 3, "optim": {"kind": "adamw", "lr": -1}, "ema": 2}
    with pytest.raises(Refused) as refused:
        Run.parse(values, where="run.yaml")
    told = str(refused.value)
    assert told.startswith("run.yaml: ")
    assert "unknown field 'sede'; did you mean 'seed'?" in told
    assert "optim.lr: input should be greater than 0, not -1" in told
    assert "ema: input should be less than 1, not 2" in told
    assert "\n" not in told


def test_numbers_are_finite() -> None:
    with pytest.raises(Refused, match="epochs: input should be a finite number, not inf"):
        Run(steps=1).changed(steps=0, epochs=float("inf"))


def test_a_change_is_checked_as_a_whole() -> None:
    run = Run(steps=1)
    assert run.changed(seed=4) == Run(steps=1, seed=4)
    with pytest.raises(Refused, match="exactly one of epochs \\(2\\) and steps \\(1\\)"):
        run.changed(epochs=2)


def test_a_fault_between_fields_is_told_without_all_the_others() -> None:
    both = {"steps": 1, "augment": {"randaugment": "rand-m9", "policy": "augmix"}}
    with pytest.raises(
        Refused, match=r"^run: augment: randaugment .* exclude each other; give one$"
    ):
        Run.parse(both, where="run")


@pytest.mark.parametrize("text", ["a: [", "\x00", "- 1"])
def test_a_file_that_is_no_run_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match=r"run\.yaml: "):
        Run.read(path)
