"""The claims on progressive learning compare what they say they compare."""

from pathlib import Path
from typing import Any

import pytest

from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.engine.config import Run
from ninefold.engine.stages import Course
from ninefold.report.measured import Measurement
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.plan import Comparison, Read, Trained
from ninefold.study.progressive_claims import costs, forward_flops
from ninefold.study.reproduce import reproduce

SIZES = {"laptop": (32, 44, 52, 64), "gpu": (64, 88, 104, 128)}


def pairs(name: str, scale: str) -> tuple[Comparison, ...]:
    return EXPERIMENTS[name](scale, "photos").comparisons  # type: ignore[arg-type]


def run_of(arm: object) -> Run:
    assert isinstance(arm, Trained)
    return arm.run


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Measurement], Path]:
    folder = tmp_path_factory.mktemp("progressive")
    return reproduce("efficientnetv2/progressive-time", scale="smoke", out=folder, seeds=1), folder


def test_hours_and_operations_are_those_of_the_training_steps(
    measured: tuple[list[Measurement], Path],
) -> None:
    found, folder = measured
    assert [m.setting for m in found] == ["same steps", "same accuracy"]
    runs = {}
    for path in folder.glob("*/run.yaml"):
        name = "progressive" if Run.read(path).stages.count == 4 else "full size"
        runs[name] = path.parent
    told = costs(runs)
    assert (told["progressive hours"], told["full size hours"]) == (
        found[0].subject[0], found[0].against[0],
    )  # fmt: skip
    run = Run.read(runs["full size"] / "run.yaml")
    expected = 3 * forward_flops(run, 48) * run.batch_size * run.steps
    assert told["full size petaflops"] == pytest.approx(expected / 1e15)
    assert told["progressive petaflops"] < told["full size petaflops"]
    assert told["progressive hours to the same accuracy"] <= told["progressive hours"]
    lines = read_lines(runs["full size"] / "log.jsonl")
    seconds = sum(run.batch_size / line["images_per_second"] for line in lines if "lr" in line)
    assert told["full size hours"] == pytest.approx(seconds / 3600)


@pytest.mark.slow
def test_a_gain_is_the_difference_of_two_runs_at_one_size(tmp_path: Path) -> None:
    (found,) = reproduce(
        "efficientnetv2/regularisation-by-size", scale="smoke", out=tmp_path, seeds=1
    )
    table: dict[Any, Any] = {row[0]: row[1:] for row in found.tables[0].rows}
    gains = [strong - weak for strong, weak in zip(table["15"], table["5"], strict=True)]
    assert found.subject[0] == pytest.approx(gains[-1])
    assert found.against[0] == pytest.approx(gains[0])
    assert len(list(tmp_path.glob("*/run.yaml"))) == 9


@pytest.mark.parametrize("scale", SIZES)
def test_the_size_table_varies_size_and_magnitude_alone(scale: str) -> None:
    (pair,) = pairs("regularisation_by_size", scale)
    assert isinstance(pair.subject, Read)
    assert isinstance(pair.against, Read)
    assert pair.subject.runs == pair.against.runs
    runs = [arm.run for arm in pair.subject.runs.values()]
    first = runs[0]
    for run in runs:
        assert run.changed(stages=first.stages, preprocess=first.preprocess) == first
        (stage,) = Course(run, run.steps).stages
        assert stage.image_size == run.preprocess.image_size
    assert {run.stages.magnitude for run in runs} == {(5.0,), (10.0,), (15.0,)}


@pytest.mark.parametrize("scale", SIZES)
def test_growing_or_constant_regularisation_is_all_that_differs(scale: str) -> None:
    for pair in pairs("adaptive_regularisation", scale):
        mine, other = run_of(pair.subject), run_of(pair.against)
        assert mine.changed(stages=other.stages) == other
        one, two = (Course(run, run.steps) for run in (mine, other))
        assert one.sizes == two.sizes
        last = SIZES[scale][-1]
        for a, b in zip(one.stages, two.stages, strict=True):
            assert (a == b) == (a.image_size == last)
    growing, random = (run_of(pair.subject) for pair in pairs("adaptive_regularisation", scale))
    assert growing.changed(stages=random.stages) == random
    assert sorted(random.stages.image_size * 1) == sorted(growing.stages.image_size * 4)
    assert random.stages.image_size != tuple(sorted(random.stages.image_size))


@pytest.mark.parametrize("scale", SIZES)
def test_the_rivals_last_stage_is_full_size_throughout(scale: str) -> None:
    (pair, _) = pairs("progressive_hours", scale)
    assert isinstance(pair.subject, Read)
    growing, full = (pair.subject.runs[name].run for name in ("progressive", "full size"))
    assert growing.changed(stages=full.stages) == full
    assert Course(full, full.steps).stages[0] == Course(growing, growing.steps).stages[-1]


@pytest.mark.parametrize("scale", SIZES)
def test_the_budget_is_the_same_number_of_operations(scale: str) -> None:
    (pair,) = pairs("progressive_budget", scale)
    spent = []
    for run in (run_of(pair.subject), run_of(pair.against)):
        course = Course(run, run.steps)
        each = {size: forward_flops(run, size) for size in set(course.sizes)}
        spent.append(sum(each[course.at(step).image_size] for step in range(run.steps)))
    assert spent[0] == pytest.approx(spent[1], rel=0.002)  # to half a step


def test_photos_that_are_not_there_are_asked_for() -> None:
    for name in ("regularisation_by_size", "progressive_hours", "adaptive_regularisation"):
        with pytest.raises(Refused, match="this needs CIFAR-10; --data FOLDER"):
            EXPERIMENTS[name]("laptop", "")
