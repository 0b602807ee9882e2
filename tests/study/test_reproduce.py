"""A claim is measured by a command that can be stopped, repeated and extended."""

import json
from pathlib import Path

import pytest

from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.models.create import create_model
from ninefold.report.claims import claim_named
from ninefold.report.measured import read_kept
from ninefold.study.experiments import EXPERIMENTS, swin_shift
from ninefold.study.reproduce import reproduce


def test_the_smoke_scale_measures_and_writes_a_result(tmp_path: Path) -> None:
    found = reproduce("swin/shift", scale="smoke", out=tmp_path / "runs")
    (tmp_path / "kept").mkdir()
    (tmp_path / "runs" / "swin-shift-smoke.json").rename(tmp_path / "kept" / "a.json")
    assert read_kept(tmp_path / "kept") == [found]
    assert (tmp_path / "runs" / "swin-shift-smoke.png").stat().st_size > 5000
    assert found.seeds == (0, 1)
    assert found.effects == tuple(a - b for a, b in zip(found.subject, found.against, strict=True))
    assert found.command == "ninefold reproduce swin/shift --scale smoke"
    assert "synthetic://classification" in found.data
    assert "shift=false" in found.differs["model_options"]
    assert list(found.differs) == ["model_options"]


def test_finished_runs_are_kept_and_more_seeds_added(tmp_path: Path) -> None:
    first = reproduce("swin/shift", scale="smoke", out=tmp_path, seeds=1)
    lines = read_lines(tmp_path / "runs.jsonl")
    # A stop between the end of a run and its note: the note is made again from the run's folder.
    (tmp_path / "runs.jsonl").write_text(json.dumps(lines[0]) + "\n", encoding="utf-8")
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("seed*/model.safetensors")}
    second = reproduce("swin/shift", scale="smoke", out=tmp_path, seeds=2)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained
    assert second.subject[:1] == first.subject
    assert second.against[:1] == first.against
    noted = [(line["seed"], line["arm"]) for line in read_lines(tmp_path / "runs.jsonl")]
    assert noted == [(0, "subject"), (0, "against"), (1, "subject"), (1, "against")]


def test_runs_of_another_plan_are_not_mixed(tmp_path: Path) -> None:
    reproduce("swin/shift", scale="smoke", out=tmp_path, seeds=1)
    with pytest.raises(Refused, match="holds runs of another plan"):
        reproduce("swin/shift", scale="smoke", out=tmp_path, data="synthetic://classification")


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
    import yaml

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
