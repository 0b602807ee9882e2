"""A claim is measured by a command that can be stopped, repeated and extended."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.models.create import create_model
from ninefold.report.claims import claim_named
from ninefold.report.measured import Measurement, read_kept
from ninefold.study.experiments import EXPERIMENTS, swin_shift
from ninefold.study.reproduce import reproduce


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measurement, Path]:
    folder = tmp_path_factory.mktemp("measured")
    return reproduce("swin/shift", scale="smoke", out=folder), folder


def test_the_smoke_scale_measures_and_writes_a_result(
    measured: tuple[Measurement, Path], tmp_path: Path
) -> None:
    found, folder = measured
    shutil.copy(folder / "swin-shift-smoke.json", tmp_path)
    assert read_kept(tmp_path) == [found]
    assert (folder / "swin-shift-smoke.png").stat().st_size > 5000
    assert found.seeds == (0, 1)
    assert found.effects == tuple(a - b for a, b in zip(found.subject, found.against, strict=True))
    assert found.command == "ninefold reproduce swin/shift --scale smoke"
    assert "synthetic://classification" in found.data
    assert "shift=false" in found.differs["model_options"]
    assert list(found.differs) == ["model_options"]


def test_the_value_of_a_run_is_that_of_its_one_look_at_the_test_part(
    measured: tuple[Measurement, Path],
) -> None:
    found, folder = measured
    lines = read_lines(folder / "seed1-against" / "results.jsonl")
    assert [line["top1"] for line in lines if line["split"] == "test"] == [found.against[1]]


def test_a_measurement_goes_on_where_it_stopped_and_takes_more_seeds(
    measured: tuple[Measurement, Path], tmp_path: Path
) -> None:
    """Stopped in the second seed: a run that is finished but not noted, and one not begun."""
    found, folder = measured
    shutil.copytree(folder, tmp_path / "runs")
    progress = tmp_path / "runs" / "progress.json"
    noted = json.loads(progress.read_text(encoding="utf-8"))
    del noted["runs"][2:]
    progress.write_text(json.dumps(noted), encoding="utf-8")
    shutil.rmtree(tmp_path / "runs" / "seed1-against")
    done = [*sorted((tmp_path / "runs").glob("seed*/model.safetensors"))]
    before = [path.stat().st_mtime_ns for path in done]
    again = reproduce("swin/shift", scale="smoke", out=tmp_path / "runs", seeds=2)
    assert [path.stat().st_mtime_ns for path in done] == before
    assert (again.subject, again.against) == (found.subject, found.against)


def test_runs_of_another_plan_are_not_mixed(measured: tuple[Measurement, Path]) -> None:
    _, folder = measured
    with pytest.raises(Refused, match="holds runs of another plan"):
        reproduce("swin/shift", scale="smoke", out=folder, data="synthetic://classification")


@pytest.mark.parametrize(
    ("claim", "seeds", "told"),
    [
        ("swin/shiftt", None, "did you mean 'swin/shift'"),
        ("sam/vit", None, "nothing measures 'sam/vit' yet; what can be measured: swin/shift"),
        ("swin/shift", 0, "0 seeds; 1 at the least"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_work(
    tmp_path: Path, claim: str, seeds: int | None, told: str
) -> None:
    with pytest.raises(Refused, match=told):
        reproduce(claim, scale="smoke", out=tmp_path / "new", seeds=seeds)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_both_runs_differ_in_the_models_options_alone(name: str, scale: str) -> None:
    plan = EXPERIMENTS[name](scale)
    options = plan.subject.model_options
    assert plan.against.changed(model_options=options) == plan.subject
    assert plan.against != plan.subject
    assert scale == "smoke" or plan.seeds >= 5


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_shift_on_and_off_has_equal_parameters_and_several_windows_a_map(scale: str) -> None:
    sizes = []
    for run in (swin_shift(scale).subject, swin_shift(scale).against):
        options = {k: yaml.safe_load(v) for k, v in (o.split("=") for o in run.model_options)}
        model = create_model(run.model, image_size=run.preprocess.image_size, **options)
        sizes.append(sum(p.numel() for p in model.parameters()))
        last = run.preprocess.image_size / options["patch_size"] / 2 ** (len(options["depths"]) - 1)
        assert last == options["window_size"]  # one window in the last stage, four before it
    assert sizes[0] == sizes[1]


def test_the_smallest_effect_of_the_shift_is_no_larger_than_the_papers() -> None:
    claim = claim_named("swin/shift")
    assert claim.smallest <= (claim.paper_effect() or 0)
