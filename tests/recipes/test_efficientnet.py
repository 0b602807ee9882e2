"""EfficientNetV2's recipes have the constants of the specification, sections A7 and A8."""

import pytest

from ninefold.core.preprocess import Preprocess
from ninefold.engine.config import Run, Stages
from ninefold.engine.stages import Course
from ninefold.models.presets import preset_of
from ninefold.optim.config import RmspropTf, Sgd
from ninefold.optim.schedule import factor
from ninefold.recipes import find_recipe

STEPS = 109_474

# Sizes, magnitudes, Mixup and dropout of the four stages: A7, the paper's table and what is
# interpolated; then the released code.
PAPER = {
    "s": ((128, 185, 243, 300), (5, 8.33, 11.67, 15), (0, 0, 0, 0), (0.1, 0.167, 0.233, 0.3)),
    "m": ((128, 212, 296, 380), (5, 10, 15, 20), (0, 0.067, 0.133, 0.2), (0.1, 0.2, 0.3, 0.4)),
    "l": ((128, 212, 296, 380), (5, 11.67, 18.33, 25), (0, 0.167, 0.333, 0.5),
          (0.1, 0.233, 0.367, 0.5)),
}  # fmt: skip
CODE = {
    "s": ((171, 214, 257, 300), (5, 6.67, 8.33, 10), (0, 0, 0, 0)),
    "m": ((192, 256, 320, 384), (5, 8.33, 11.67, 15), (0, 0.067, 0.133, 0.2)),
    "l": ((192, 256, 320, 384), (5, 10, 15, 20), (0, 0.167, 0.333, 0.5)),
    "xl": ((192, 256, 320, 384), (5, 10, 15, 20), (0, 0.167, 0.333, 0.5)),
}


def recipe(name: str, **given: object) -> Run:
    return find_recipe(name)(**{"data": "imagenet", **given})


def magnitude(notation: str) -> float:
    first, told, layers = notation.split("-")
    assert (first, layers) == ("augreg", "l2")
    return float(told[1:])


@pytest.mark.parametrize("size", PAPER)
def test_the_papers_stages(size: str) -> None:
    sizes, magnitudes, mixup, dropout = PAPER[size]
    run = recipe("efficientnet_v2_in1k", model=f"efficientnet_v2_{size}")
    course = Course(run, STEPS)
    assert course.sizes == sizes
    assert [magnitude(s.augment.randaugment) for s in course.stages] == pytest.approx(
        magnitudes, abs=0.01
    )
    assert [s.augment.mixup for s in course.stages] == pytest.approx(mixup, abs=1e-3)
    assert [s.dropout for s in course.stages] == pytest.approx(dropout, abs=1e-3)
    assert {s.augment.cutmix for s in course.stages} == {0.0}
    assert [start / STEPS for start in course.starts] == pytest.approx(
        [0, 0.25, 0.5, 0.75], abs=1e-5
    )


@pytest.mark.parametrize("size", CODE)
def test_the_released_codes_stages(size: str) -> None:
    sizes, magnitudes, mixup = CODE[size]
    run = recipe("efficientnet_v2_in1k_code", model=f"efficientnet_v2_{size}")
    stages = Course(run, STEPS).stages
    assert tuple(s.image_size for s in stages) == sizes
    assert [magnitude(s.augment.randaugment) for s in stages] == pytest.approx(magnitudes, abs=0.01)
    for mixed in ([s.augment.mixup for s in stages], [s.augment.cutmix for s in stages]):
        assert mixed == pytest.approx(mixup, abs=1e-3)
    assert {s.dropout for s in stages} == {None}


@pytest.mark.parametrize(
    ("name", "ratio"),
    [("in1k", {"s": 0.555, "m": 0.508}), ("in1k_code", {"s": 0.642, "m": 0.597})],
)
def test_what_the_stages_cost_over_full_size(name: str, ratio: dict[str, float]) -> None:
    """A7: the mean of the squared sizes over that of the last stage."""
    for size, expected in ratio.items():
        run = recipe(f"efficientnet_v2_{name}", model=f"efficientnet_v2_{size}")
        sizes = Course(run, STEPS).sizes
        cost = sum((side / sizes[-1]) ** 2 for side in sizes) / 4
        assert cost == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("name", ["efficientnet_v2_in1k", "efficientnet_v2_in1k_code"])
def test_the_rest_of_the_training_from_nothing(name: str) -> None:
    run = recipe(name)
    assert (run.epochs, run.batch_size, run.drop_path) == (350, 4096, 0.2)
    optim = run.optim
    assert isinstance(optim, RmspropTf)
    assert optim.lr == pytest.approx(0.256)
    assert (optim.weight_decay, optim.decay, optim.momentum, optim.eps) == (1e-5, 0.9, 0.9, 1e-3)
    assert (run.ema, run.ema_rule, run.loss.label_smoothing) == (0.9999, "tensorflow", 0.1)
    assert run.augment.randaugment == "augreg-l2-m15"
    assert (run.augment.crop, run.augment.crop_area, run.augment.flip) == (
        "inception", (0.05, 1.0), 0.5
    )  # fmt: skip
    assert run.preprocess == preset_of("efficientnet_v2_s").preprocess
    assert run.preprocess.image_size == 384
    assert recipe(name, batch_size=512).optim.lr == pytest.approx(0.032)


def test_the_rate_warms_up_over_five_epochs_and_falls_every_2_4_counted_from_the_first() -> None:
    schedule = recipe("efficientnet_v2_in1k").schedule
    rates = {epoch: factor(schedule, epoch / 350) for epoch in (0, 2.5, 5, 7.1, 7.2, 240, 349)}
    assert rates[0] == 0.0
    assert rates[2.5] == pytest.approx(0.5)
    assert rates[5] == rates[7.1] == pytest.approx(0.97**2)
    assert rates[7.2] == pytest.approx(0.97**3)
    assert rates[240] == pytest.approx(0.97**100)
    assert rates[349] == pytest.approx(0.97**145)


def test_the_small_ones_have_no_stages_and_others_have_sizes_in_proportion() -> None:
    assert recipe("efficientnet_v2_in1k", model="efficientnet_v2_b0").stages == Stages()
    vit = recipe("efficientnet_v2_in1k", model="vit_b16")
    assert Course(vit, 400).sizes == (96, 128, 192, 224)
    assert vit.stages.dropout == ()
    swin = recipe("efficientnet_v2_in1k", model="swin_tiny", image_size=384)
    assert Course(swin, 400).sizes == (160, 224, 320, 384)
    assert swin.preprocess.image_size == 384
    assert recipe("efficientnet_v2_in1k", augment="none").stages.magnitude == ()


@pytest.mark.parametrize(
    ("model", "sizes"), [("vit_s14", (98, 140, 182, 224)), ("vit_atto", (24, 40, 48, 64))]
)
def test_sizes_are_whole_patches_of_any_transformer(model: str, sizes: tuple[int, ...]) -> None:
    run = recipe("efficientnet_v2_in1k", model=model)
    assert Course(run, 400).sizes == sizes
    patch = preset_of(model).options["patch_size"]
    assert not any(size % patch for size in sizes)


def test_the_released_code_grows_the_small_ones_under_autoaugment() -> None:
    sizes = {"b0": (144, 160, 176, 192), "b2": (148, 168, 188, 208), "b3": (156, 184, 212, 240)}
    for size, expected in sizes.items():
        run = recipe("efficientnet_v2_in1k_code", model=f"efficientnet_v2_{size}")
        assert Course(run, STEPS).sizes == expected
        assert (run.augment.policy, run.augment.randaugment) == ("autoaugment", "")
        assert (run.stages.magnitude, run.stages.mixup) == ((), ())


def test_21k_and_what_follows_it() -> None:
    first = recipe("efficientnet_v2_in21k")
    assert (first.epochs, first.optim.lr) == (60, pytest.approx(0.008 * 16))
    assert (first.preprocess.image_size, first.drop_path, first.stages) == (224, 0.0, Stages())
    assert first.model_options == ("dropout=0",)
    tuned = recipe("finetune_efficientnet_v2_in21k", weights="old.pth", model="efficientnet_v2_s")
    assert (tuned.epochs, tuned.batch_size, tuned.ema) == (15, 512, 0.9996)
    assert tuned.optim.lr == pytest.approx(0.001)
    assert factor(tuned.schedule, 1.0) == factor(tuned.schedule, 1 / 15) == 1.0
    assert (tuned.augment.crop, tuned.augment.cutout) == ("none", 192)
    odd = recipe("finetune_efficientnet_v2_in21k", weights="old.pth", image_size=300)
    assert (odd.preprocess.image_size, odd.augment.cutout) == (288, 144)


def test_transfer_is_ten_thousand_steps_without_decay() -> None:
    run = recipe("finetune_efficientnet_v2")
    assert (run.steps, run.batch_size, run.weights) == (10_000, 512, "pretrained")
    assert (run.optim.lr, run.optim.weight_decay) == (pytest.approx(0.001), 0.0)
    assert factor(run.schedule, 1.0) == pytest.approx(0.0)


def test_the_square_of_a_transfer_is_half_of_whatever_side_is_asked_for() -> None:
    for given, side in (({}, 384), ({"image_size": 32}, 32)):
        run = recipe("finetune_efficientnet_v2", **given)
        assert (run.preprocess.image_size, run.augment.cutout) == (side, side // 2)


def test_another_optimizer_brings_its_own_numbers() -> None:
    assert recipe("efficientnet_v2_in1k", optim="sgd").optim == Sgd()
    assert recipe("efficientnet_v2_in1k", optim=Sgd(lr=0.3)).optim.lr == 0.3


def test_evaluation_keeps_the_size_of_the_preset_or_the_one_asked_for() -> None:
    run = recipe("efficientnet_v2_in1k", image_size=320)
    assert run.preprocess == preset_of(run.model).preprocess.changed(image_size=320)
    assert isinstance(run.preprocess, Preprocess)
    assert Course(run, STEPS).sizes[-1] == 300
