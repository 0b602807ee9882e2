"""A claim is measured by a command that can be stopped, repeated and extended."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from ninefold.core.errors import Refused
from ninefold.core.results import read_lines
from ninefold.models.create import create_model
from ninefold.report.claims import claim_named
from ninefold.report.measured import Measurement, read_kept
from ninefold.study.experiments import EXPERIMENTS, swin_table4
from ninefold.study.kept import DONE, run_folder, trained
from ninefold.study.plan import Best, Comparison, Plan, Trained
from ninefold.study.reproduce import reproduce


def shift_plan(scale: str = "smoke") -> Comparison:
    return EXPERIMENTS["swin_shift"](scale, "").comparisons[0]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Measurement, Path]:
    folder = tmp_path_factory.mktemp("measured")
    (found,) = reproduce("swin/shift", scale="smoke", out=folder)
    return found, folder


def weights(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/model.safetensors")}


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
    against = shift_plan().against
    assert isinstance(against, Trained)
    lines = read_lines(run_folder(folder, against, 1) / "results.jsonl")
    assert [line["top1"] for line in lines if line["split"] == "test"] == [found.against[1]]


def test_a_measurement_goes_on_where_it_stopped_and_takes_more_seeds(
    measured: tuple[Measurement, Path], tmp_path: Path
) -> None:
    """Stopped in the second seed: a run that is finished but not noted, and one not begun."""
    found, folder = measured
    shutil.copytree(folder, tmp_path / "runs")
    subject, against = shift_plan().subject, shift_plan().against
    assert isinstance(subject, Trained)
    assert isinstance(against, Trained)
    (run_folder(tmp_path / "runs", subject, 1) / DONE).unlink()
    shutil.rmtree(run_folder(tmp_path / "runs", against, 1))
    before = weights(tmp_path / "runs")
    (again,) = reproduce("swin/shift", scale="smoke", out=tmp_path / "runs", seeds=2)
    after = weights(tmp_path / "runs")
    assert len(before) == 3
    assert {path: after[path] for path in before} == before
    assert (again.subject, again.against) == (found.subject, found.against)


def test_runs_of_other_data_or_of_another_version_stand_in_other_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = shift_plan().subject
    other = EXPERIMENTS["swin_shift"]("smoke", "synthetic://classification").comparisons[0].subject
    assert isinstance(subject, Trained)
    assert isinstance(other, Trained)
    places = [run_folder(tmp_path, subject, 0), run_folder(tmp_path, other, 0)]
    monkeypatch.setattr("ninefold.study.conditions.versions", lambda: {"ninefold": "9.9"})
    places.append(run_folder(tmp_path, subject, 0))
    assert len(set(places)) == 3


def test_an_arm_of_several_claims_has_one_run() -> None:
    names = ("swin_shift", "swin_relative_or_none", "swin_relative_or_absolute", "swin_appearance")
    arms = [EXPERIMENTS[name]("laptop", "").comparisons[0].subject for name in names]
    arms.append(EXPERIMENTS["swin_both_or_relative"]("laptop", "").comparisons[0].against)
    assert all(arm == arms[0] for arm in arms)


def test_a_run_that_another_process_trains_is_waited_for(
    measured: tuple[Measurement, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process holds the folder, and has finished by the time that this one looks."""
    _, folder = measured
    subject = shift_plan().subject
    assert isinstance(subject, Trained)
    place = run_folder(tmp_path, subject, 0)
    shutil.copytree(run_folder(folder, subject, 0), place)
    (place / DONE).unlink()
    busy = held_by_another(place)
    monkeypatch.setattr("ninefold.study.kept.time.sleep", lambda _: next(busy, None))
    next(busy)
    before = weights(tmp_path)
    assert trained(tmp_path, subject, 0, ()) == place
    assert weights(tmp_path) == before


def held_by_another(folder: Path) -> Iterator[None]:
    """Another process that trains in a folder, and is done at the second look."""
    code = (
        "import sys, pathlib; from ninefold.engine.folder import Lock\n"
        "with Lock(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        (folder / DONE).write_text('{"minutes": 1}', encoding="utf-8")
        yield


@pytest.fixture(scope="module")
def transferred(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Measurement], Path]:
    folder = tmp_path_factory.mktemp("transferred")
    return reproduce("swin/transfer", scale="smoke", out=folder, seeds=1), folder


def test_the_best_of_several_runs_is_chosen_on_the_validation_part(
    transferred: tuple[list[Measurement], Path],
) -> None:
    first = transferred[0][0]
    table = first.tables[0]
    assert table.columns == ("seed", "optim.lr", "validation top1", "test top1")
    assert len(table.rows) == 3
    chosen = [row for row in table.rows if "(chosen)" in str(row[1])]
    assert len(chosen) == 1
    assert chosen[0][3] == first.against[0]
    assert chosen[0][2] == max(float(row[2]) for row in table.rows)


def test_every_setting_has_its_own_measurement_and_all_have_one_picture(
    transferred: tuple[list[Measurement], Path],
) -> None:
    found, folder = transferred
    assert [m.setting for m in found] == ["2 images a class", "4 images a class"]
    names = {path.stem for path in folder.glob("*.json")}
    assert names == {"swin-transfer-smoke-2-images-a-class", "swin-transfer-smoke-4-images-a-class"}
    assert {path.stem for path in folder.glob("*.png")} == {*names, "swin-transfer-smoke"}
    assert found[0].run["weights"]["of the run"]["data"].endswith("classes=cross,ring,star")


def test_all_settings_start_from_one_pretraining_and_each_seed_picks_its_own_images(
    transferred: tuple[list[Measurement], Path],
) -> None:
    runs = [yaml.safe_load(path.read_text()) for path in transferred[1].glob("*/run.yaml")]
    assert len(runs) == 1 + 2 * (1 + 3)  # one pre-training; of each size one and three rates
    assert sum(bool(run["weights"]) for run in runs) == 2
    assert all("pick=0" in run["data"] for run in runs if "per_class" in run["data"])


@pytest.mark.parametrize(
    ("claim", "seeds", "told"),
    [
        ("swin/shiftt", None, "did you mean 'swin/shift'"),
        ("mbt/bottleneck", None, "nothing measures 'mbt/bottleneck' yet; what can be measured: "),
        ("swin/shift", 0, "0 seeds; 1 at the least"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_work(
    tmp_path: Path, claim: str, seeds: int | None, told: str
) -> None:
    with pytest.raises(Refused, match=told):
        reproduce(claim, scale="smoke", out=tmp_path / "new", seeds=seeds)
    assert not (tmp_path / "new").exists()


def test_photos_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(Refused, match="this needs CIFAR-10; --data FOLDER"):
        reproduce("swin/transfer")


TABLE_4 = [
    name
    for name, plan in EXPERIMENTS.items()
    if isinstance(plan, partial) and plan.func is swin_table4
]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
@pytest.mark.parametrize("name", TABLE_4)
def test_both_runs_of_table_4_differ_in_the_models_options_alone(name: str, scale: str) -> None:
    plan = EXPERIMENTS[name](scale, "")
    (pair,) = plan.comparisons
    assert isinstance(pair.subject, Trained)
    assert isinstance(pair.against, Trained)
    options = pair.subject.run.model_options
    assert pair.against.run.changed(model_options=options) == pair.subject.run
    assert pair.against != pair.subject
    assert scale == "smoke" or plan.seeds >= 4


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_transfer_and_from_scratch_differ_in_weights_and_rate_alone(scale: str) -> None:
    plan: Plan = EXPERIMENTS["swin_transfer"](scale, "photos")
    assert [pair.setting for pair in plan.comparisons] == [
        f"{n} images a class" for n in (20, 100, 500)
    ]
    for pair in plan.comparisons:
        fine, scratch = pair.subject, pair.against
        assert isinstance(fine, Trained)
        assert isinstance(scratch, Best)
        assert fine.start is not None
        assert not set(classes(fine)) & set(classes(fine.start))
        assert fine.run.optim.lr in [one.run.optim.lr for one in scratch.candidates]
        for one in scratch.candidates:
            like = one.run.changed(optim=fine.run.optim, reset_head=True)
            assert like == fine.run
            assert one.at(1).data == fine.at(1).data != fine.at(2).data


def classes(arm: Trained) -> list[str]:
    return arm.run.data.partition("classes=")[2].partition("&")[0].split(",")


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_shift_on_and_off_has_equal_parameters_and_several_windows_a_map(scale: str) -> None:
    sizes = []
    pair = shift_plan(scale)
    for arm in (pair.subject, pair.against):
        assert isinstance(arm, Trained)
        run = arm.run
        options = {k: yaml.safe_load(v) for k, v in (o.split("=") for o in run.model_options)}
        model = create_model(run.model, image_size=run.preprocess.image_size, **options)
        sizes.append(sum(p.numel() for p in model.parameters()))
        last = run.preprocess.image_size / options["patch_size"] / 2 ** (len(options["depths"]) - 1)
        assert last == options["window_size"]  # one window in the last stage, four before it
    assert sizes[0] == sizes[1]


def test_the_smallest_effect_of_the_shift_is_no_larger_than_the_papers() -> None:
    claim = claim_named("swin/shift")
    assert claim.smallest <= (claim.paper_effect() or 0)
