"""A run from beginning to end: its folder, its results, its refusals."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_parts import Net, Until, Watcher, small

from ninefold.augment.config import Augment
from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused, Stopped
from ninefold.core.preprocess import Preprocess
from ninefold.core.results import Result, read_lines
from ninefold.core.weights import read_weights
from ninefold.engine import checkpoint
from ninefold.engine.build import check_fit
from ninefold.engine.config import Run
from ninefold.engine.folder import Lock
from ninefold.engine.opened import open_run
from ninefold.engine.seeds import train_seeds
from ninefold.engine.train import train
from ninefold.optim.config import AdamW
from ninefold.tasks.classification import Classification
from ninefold.tasks.config import Loss


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watcher]:
    folder, watcher = tmp_path_factory.mktemp("runs") / "one", Watcher()
    train(small(ema=0.9, clip_norm=1.0), out=folder, observers=[watcher])
    return folder, watcher


def test_a_run_leaves_all_that_its_folder_promises(trained: tuple[Path, Watcher]) -> None:
    folder, _ = trained
    assert Run.read(folder / "run.yaml") == small(ema=0.9, clip_norm=1.0)
    assert {path.name for path in folder.iterdir()} >= {
        "run.yaml", "log.jsonl", "results.jsonl", "checkpoints", "model.safetensors", "figures"
    }  # fmt: skip
    assert {path.stem for path in (folder / "figures").iterdir()} == {
        "training_batch", "learning_curves", "confusion", "per_class", "worst_mistakes"
    }  # fmt: skip
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "step_5",
        "step_9",
    ]


def test_log_and_results_hold_what_was_measured(trained: tuple[Path, Watcher]) -> None:
    folder, _ = trained
    lines = read_lines(folder / "log.jsonl")
    training = [line for line in lines if "split" not in line]
    assert [line["step"] for line in training] == list(range(1, 10))
    assert {"epoch", "loss", "top1", "grad_norm", "lr", "images_per_second", "memory"} <= set(
        training[0]
    )
    assert training[4]["epoch"] == 1.0
    results = read_lines(folder / "results.jsonl")
    assert [(line["split"], line["step"]) for line in results[:2]] == [("val", 5), ("val", 9)]
    assert results[2]["split"] == "test"
    assert len(results) == 3
    assert results[2]["images"] == 7
    assert results[2]["torch"] == torch.__version__
    assert {"top1", "loss", "seed", "data", "device", "ninefold"} <= set(results[2])


def test_observers_hear_of_everything_in_order(trained: tuple[Path, Watcher]) -> None:
    folder, watcher = trained
    assert watcher.steps == list(range(1, 10))
    assert watcher.events[4:7] == ["log 5", "val 5", "step_5"]
    assert watcher.events[-4:] == ["log 9", "val 9", "step_9", watcher.events[-1]]
    assert watcher.events[-1].startswith("test ")
    assert watcher.plan is not None
    assert watcher.results is not None
    assert (watcher.plan.first, watcher.plan.stop, watcher.plan.steps_per_epoch) == (0, 9, 5.0)
    assert watcher.plan.images == {"train": 40, "val": 10, "test": 7}
    assert [result.split for result in watcher.results] == ["val", "test"]
    # Both are of the weights that were kept, the first of the best ones where several tie.
    assert {result.step for result in watcher.results} == {open_run(folder).step}


def test_the_best_weights_are_kept_with_what_opening_them_needs(
    trained: tuple[Path, Watcher],
) -> None:
    folder, _ = trained
    told = read_weights(folder / "model.safetensors").metadata
    best = max(
        (line for line in read_lines(folder / "results.jsonl") if line["split"] == "val"),
        key=lambda line: line["top1"],
    )
    assert int(told["step"]) == best["step"]
    assert json.loads(told["classes"]) == ["red", "green", "blue"]
    opened = open_run(folder)
    test = read_lines(folder / "results.jsonl")[-1]
    assert opened.evaluate("engine_parts:tones").top1 == test["top1"]
    assert opened.step == best["step"]


def test_averaged_weights_are_those_that_are_evaluated(trained: tuple[Path, Watcher]) -> None:
    folder, _ = trained
    step = int(read_weights(folder / "model.safetensors").metadata["step"])
    content = checkpoint.load(folder / "checkpoints" / f"step_{step}")
    kept = read_weights(folder / "model.safetensors").tensors
    assert all(torch.equal(kept[name], content["ema"][f"module.{name}"]) for name in kept)
    assert not torch.equal(kept["stem.weight"], content["objective"]["model.stem.weight"])


def test_a_run_that_is_done_is_opened_and_nothing_is_measured_again(
    trained: tuple[Path, Watcher],
) -> None:
    folder, _ = trained
    before = (folder / "results.jsonl").read_text()
    watcher = Watcher()
    train(small(ema=0.9, clip_norm=1.0), out=folder, resume=True, observers=[watcher])
    assert watcher.steps == []
    assert watcher.results is not None
    assert [result.split for result in watcher.results] == ["val", "test"]
    assert (folder / "results.jsonl").read_text() == before


def test_an_existing_run_is_refused_without_resume_and_with_other_numbers(
    trained: tuple[Path, Watcher],
) -> None:
    folder, _ = trained
    with pytest.raises(Refused, match="holds a run already; go on with it by --resume"):
        train(small(ema=0.9, clip_norm=1.0), out=folder)
    other = small(ema=0.9, clip_norm=2.0, optim=AdamW(lr=0.5), workers=1)
    with pytest.raises(
        Refused, match=r"optim.lr was 0.01, now 0.5; clip_norm was 1.0, now 2.0"
    ) as told:
        train(other, out=folder, resume=True)
    assert "workers was" not in str(told.value)


def test_resume_without_a_folder_is_refused_and_with_an_empty_one_starts(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="needs `out`"):
        train(small(), resume=True)
    with pytest.raises(Stopped):
        train(small(), out=tmp_path / "new", resume=True, observers=[Until(1)])


def test_without_out_the_next_number_is_taken(tmp_path: Path) -> None:
    (tmp_path / "runs" / "0006").mkdir(parents=True)
    with pytest.raises(Stopped):
        train(small(), observers=[Until(1)])
    assert (tmp_path / "runs" / "0007" / "checkpoints" / "step_1").is_dir()


def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 9, "accumulate": 2}, "batch_size 9 does not divide .* 8 would be right"),
        ({"preprocess": Preprocess(image_size=2)}, "2 x 2 pixels do not go through it"),
        ({"model": "engine_parts:Nett"}, "did you mean 'Net'"),
        ({"model_options": ("widht=3",)}, "did you mean 'width'"),
    ]
    for changes, message in cases:
        with pytest.raises(Refused, match=message):
            train(small(**changes), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_modalities_that_a_model_of_images_cannot_take_are_refused() -> None:
    both = Batch({"rgb": torch.zeros(1, 3, 8, 8), "sound": torch.zeros(1, 1, 4, 8)})
    said = r"net: rgb \(inputs of 3 .* and sound \(.* do not go through it: TypeError"
    with pytest.raises(Refused, match=said):
        check_fit(Net(), Classification(("a", "b"), Loss()), both, "net")


def test_other_data_under_the_same_name_are_told_on_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import engine_parts

    with pytest.raises(Stopped):
        train(small(), out=tmp_path / "run", observers=[Until(1)])
    before = engine_parts.tones
    monkeypatch.setattr(
        engine_parts,
        "tones",
        lambda split: engine_parts.Tones(41, 0) if split == "train" else before(split),
    )
    said = r"not what the run began with \(new in train: engine_parts:tones\[train\]\[40\]\)"
    with pytest.raises(Refused, match=said):
        train(small(), out=tmp_path / "run", resume=True)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    """The lock is held by a process, not by its workers: the other one must be a process too."""
    (tmp_path / "run").mkdir()
    taken, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with Lock(tmp_path / "run"):
            os.write(taken[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(taken[0], 1)
    with pytest.raises(Refused, match=f"process {child} is training there"):
        train(small(steps=1), out=tmp_path / "run")
    os.write(done[1], b"x")
    os.waitpid(child, 0)
    with Lock(tmp_path / "run"):
        pass


@pytest.mark.parametrize("steps", [4, 9])
def test_a_loss_that_is_not_finite_ends_the_run_with_a_diagnosis(
    tmp_path: Path, steps: int
) -> None:
    run = small(model="engine_parts:Burst", data="engine_parts:burst", checkpoint_every=1,
                augment=Augment(crop="none", flip=0.0),
                preprocess=Preprocess(image_size=12, mean=(0.0,), std=(1.0,)))  # fmt: skip
    with pytest.raises(Failed, match=r"first bad module: (norm|stem)") as told:
        train(run.changed(steps=steps + 1), out=tmp_path / "run")
    said = str(told.value)
    assert "the loss is nan at step" in said
    assert "learning rate" in said
    assert "engine_parts:burst[train][" in said
    line = read_lines(tmp_path / "run" / "log.jsonl")[-1]
    assert "engine_parts:burst[train][17]" in line["files"]
    assert len(line["files"]) == 8
    newest = checkpoint.newest(tmp_path / "run" / "checkpoints")
    if newest is not None:
        assert int(newest.name.removeprefix("step_")) <= line["step"]
        values = checkpoint.load(newest)["objective"].values()
        assert all(bool(torch.isfinite(value).all()) for value in values)


def test_the_diagnosis_takes_no_more_memory_than_the_parts_of_a_step(tmp_path: Path) -> None:
    run = small(model="engine_parts:NarrowBurst", data="engine_parts:burst", accumulate=2,
                augment=Augment(crop="none", flip=0.0),
                preprocess=Preprocess(image_size=12, mean=(0.0,), std=(1.0,)))  # fmt: skip
    with pytest.raises(Failed, match=r"first bad module: (norm|stem)"):
        train(run, out=tmp_path / "run")


def test_a_model_with_other_outputs_than_classes_is_refused_before_a_folder_is_made(
    tmp_path: Path,
) -> None:
    with pytest.raises(Refused, match=r"a tensor \(1, 7\); logits for 3 classes have the form"):
        train(small(model_options=("num_classes=7",)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_memory_that_runs_out_is_told_with_what_to_try(tmp_path: Path) -> None:
    with pytest.raises(
        Failed, match=r"step 0 .*out of memory on cpu .*--accumulate 2 .*--batch-size 4"
    ):
        train(small(model="engine_parts:Hungry"), out=tmp_path / "run")


def test_an_observer_that_fails_is_dropped_and_one_that_stops_saves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Watcher):
        """A tracker that cannot be reached."""

        def logged(self, record: dict[str, Any]) -> None:
            raise ConnectionError("no route to host")

    broken = Broken()
    with caplog.at_level(logging.WARNING), pytest.raises(Stopped):
        train(small(), out=tmp_path / "run", observers=[broken, Until(3)])
    assert caplog.text.count("Broken failed (ConnectionError: no route to host)") == 1

    class Pruner(Watcher):
        """A sweep that has seen enough."""

        def evaluated(self, result: Result, best: bool) -> None:
            raise Stopped("pruned", 0)

    with pytest.raises(Stopped, match="pruned"):
        train(small(), out=tmp_path / "pruned", observers=[Pruner()])


def test_a_full_disk_costs_checkpoints_but_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(size: int, *_: Any) -> int:
        raise OSError(28, "No space left on device")

    class Filler(Watcher):
        """Fills the disk after the first checkpoint, and frees it before the last."""

        def saved(self, path: Path) -> None:
            if path.name == "step_2":
                monkeypatch.setattr(checkpoint._Hashed, "write", full)

        def stepped(self, step: int) -> None:
            if step == 8:
                monkeypatch.undo()

    with caplog.at_level(logging.ERROR):
        train(small(checkpoint_every=2), out=tmp_path / "run", observers=[Filler()])
    assert "step_4: could not be written" in caplog.text
    assert "training goes on" in caplog.text
    assert checkpoint.newest(tmp_path / "run" / "checkpoints") is not None


def test_seeds_are_summed_up_and_can_go_on(tmp_path: Path) -> None:
    summary = train_seeds(small(steps=2), [1, 2], tmp_path / "all")
    again = train_seeds(small(steps=2), [1, 2], tmp_path / "all")
    assert again == summary
    top1 = summary["test"]["top1"]
    assert top1["mean"] == pytest.approx(sum(top1["values"].values()) / 2)
    assert top1["low"] <= top1["mean"] <= top1["high"]
    assert json.loads((tmp_path / "all" / "summary.json").read_text())["test"]["top1"]["mean"]


def test_seeds_are_summed_up_at_the_best_weights_of_each(tmp_path: Path) -> None:
    summary = train_seeds(small(steps=6, evaluate_every=1), [1, 2], tmp_path)
    for seed in (1, 2):
        lines = read_lines(tmp_path / f"seed_{seed}" / "results.jsonl")
        best = max(line["top1"] for line in lines if line["split"] == "val")
        assert summary["val"]["top1"]["values"][seed] == best
