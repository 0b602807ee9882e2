"""The twelve runs behind the claims of SAM, and what is read of them."""

from pathlib import Path

import pytest
import yaml

from ninefold.core.errors import Refused
from ninefold.models.create import create_model
from ninefold.optim.config import AdamW, Sam, Sgd
from ninefold.report.claims import papers
from ninefold.report.measured import Measurement
from ninefold.study import sam_claims
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.kept import run_folder
from ninefold.study.plan import Arm, Read, Trained, described
from ninefold.study.reproduce import reproduce

NAMES = [claim.experiment for claim in papers()["sam"].claims]


def runs_behind(arm: Arm) -> list[Trained]:
    if isinstance(arm, Read):
        return list(arm.runs.values())
    assert isinstance(arm, Trained)
    return [arm]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_all_claims_are_about_the_same_twelve_runs(scale: str) -> None:
    plans = [EXPERIMENTS[name](scale, "photos") for name in NAMES]
    arms = [a for plan in plans for pair in plan.comparisons for a in (pair.subject, pair.against)]
    folders = {run_folder(Path(), run, 0) for arm in arms for run in runs_behind(arm)}
    assert len(folders) == 12
    assert all(plan.seeds >= (2 if scale == "smoke" else 3) for plan in plans)


@pytest.mark.parametrize("name", ["sam_vit", "sam_mixer", "sam_robust", "sam_flatter"])
def test_with_sam_and_without_differ_in_the_optimizer_alone(name: str) -> None:
    for pair in EXPERIMENTS[name]("laptop", "photos").comparisons:
        (mine,), (other,) = runs_behind(pair.subject), runs_behind(pair.against)
        assert mine.run.changed(optim=other.run.optim) == other.run
        assert isinstance(mine.run.optim, Sam)
        assert isinstance(other.run.optim, AdamW | Sgd)
        assert mine.run.optim.base_optim() == other.run.optim


def test_the_gain_of_a_vit_is_compared_with_that_of_a_resnet() -> None:
    pair = EXPERIMENTS["sam_most_for_vits"]("laptop", "photos").comparisons[0]
    assert isinstance(pair.subject, Read)
    assert isinstance(pair.against, Read)
    assert (pair.subject.reading, pair.against.reading) == ("ViT gain", "ResNet gain")
    assert pair.subject.runs == pair.against.runs
    told = described(pair.subject)
    for name, model, base in (("ViT", "vit_atto", "adamw"), ("ResNet", "resnet_atto", "sgd")):
        with_, without = (told["runs"][f"{name} {arm}"] for arm in ("with", "without"))
        assert with_["model"] == without["model"] == model
        assert with_["optim"]["kind"] == "sam"
        assert without["optim"]["kind"] == base


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_the_three_models_are_of_one_size(scale: str) -> None:
    counts = []
    for model in sam_claims.RADII:
        run = sam_claims.run_of(scale, "photos", model, sam=False, augment="basic")  # type: ignore[arg-type]
        options = {k: yaml.safe_load(v) for k, v in (o.split("=") for o in run.model_options)}
        made = create_model(run.model, image_size=32, **options)
        counts.append(sum(p.numel() for p in made.parameters()))
    assert max(counts) < 1.35 * min(counts), counts


def test_photos_that_are_not_there_are_asked_for() -> None:
    with pytest.raises(Refused, match="this needs CIFAR-10; --data FOLDER"):
        reproduce("sam/vit")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Measurement], Path]:
    folder = tmp_path_factory.mktemp("measured")
    return reproduce("sam/over-resnet", scale="smoke", out=folder, seeds=1), folder


def test_the_smoke_scale_trains_both_models_with_sam(
    measured: tuple[list[Measurement], Path],
) -> None:
    (found,), folder = measured
    assert len(list(folder.glob("*/measured.json"))) == 2
    assert (found.run["model"], found.differs["model"]) == ("vit_atto", "resnet_atto")
    assert (found.run["optim"]["base"], found.differs["optim"]["base"]) == ("adamw", "sgd")


def test_gains_are_measured_in_both_augmentations() -> None:
    pairs = EXPERIMENTS["sam_vit"]("smoke", "").comparisons
    assert [p.setting for p in pairs] == ["ViT, basic augmentation", "ViT, strong augmentation"]


def test_a_reading_of_a_run_is_taken_once(measured: tuple[list[Measurement], Path]) -> None:
    folder = sam_vit(measured[1])
    first = sam_claims.curved({"run": folder}, images=16)
    file = folder / "curved-16.json"
    taken = file.stat().st_mtime_ns
    assert sam_claims.curved({"run": folder}, images=16) == first
    assert file.stat().st_mtime_ns == taken
    assert first["hessian_max"] > 0


def sam_vit(root: Path) -> Path:
    pair = EXPERIMENTS["sam_robust"]("smoke", "").comparisons[0]
    return run_folder(root, runs_behind(pair.subject)[0], 0)


def test_accuracy_under_corruption_and_gains_are_read_of_the_test_part(
    measured: tuple[list[Measurement], Path],
) -> None:
    (found,), root = measured
    folder = sam_vit(root)
    values = sam_claims.corrupted({"run": folder}, images=16)
    each = [value for name, value in values.items() if name not in ("top1", "loss")]
    assert values["top1"] == pytest.approx(sum(each) / 15)
    resnet = EXPERIMENTS["sam_over_resnet"]("smoke", "").comparisons[0].against
    other = run_folder(root, runs_behind(resnet)[0], 0)
    pairs = {"ViT": (folder, other), "Mixer": (other, folder), "ResNet": (folder, folder)}
    told = sam_claims.gains(
        {f"{name} {arm}": one for name, two in pairs.items()
         for arm, one in zip(("with", "without"), two, strict=True)}
    )  # fmt: skip
    gain = found.subject[0] - found.against[0]
    assert told["ViT gain"] == pytest.approx(gain)
    assert told["Mixer gain"] == pytest.approx(-gain)
    assert told["ResNet gain"] == 0
    pair = EXPERIMENTS["sam_most_for_vits"]("smoke", "").comparisons[0]
    assert pair.tables is not None
    rows = pair.tables([told, told])[0].rows
    assert rows[0] == ("ViT", told["ViT with"], told["ViT without"], pytest.approx(gain))
