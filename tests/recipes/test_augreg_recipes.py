"""AugReg's recipes: the specification's constants, the 28 settings, the grid of fine-tuning."""

import pytest
from torch import nn

from ninefold.augment.config import Augment
from ninefold.core.errors import Refused
from ninefold.core.options import read_options
from ninefold.engine.config import Run
from ninefold.models.augreg import FileName
from ninefold.models.create import create_model
from ninefold.optim.config import AdamW, Schedule, Sgd
from ninefold.recipes.augreg import (
    SETTINGS,
    Setting,
    augreg_in1k,
    augreg_in21k,
    find_setting,
    finetune_augreg,
    finetuning_grid,
)

# vit-augreg-sam specification, section 6.1: paper's name, layers, magnitude, Mixup, file's name.
LEVELS = (
    ("none", 0, 0, 0.0, "none"),
    ("light1", 2, 0, 0.0, "light0"),
    ("light2", 2, 10, 0.2, "light1"),
    ("medium1", 2, 15, 0.2, "medium1"),
    ("medium2", 2, 15, 0.5, "medium2"),
    ("strong1", 2, 20, 0.5, "strong1"),
    ("strong2", 2, 20, 0.8, "strong2"),
)


def pretrained(**given: object) -> Run:
    return augreg_in1k(**{"data": "imagenet", **given})


def test_there_are_28_settings() -> None:
    told = {(s.augment, s.weight_decay, s.dropout, s.drop_path) for s in SETTINGS.values()}
    assert told == {
        (level[0], decay, rate, rate)
        for level in LEVELS
        for decay in (0.1, 0.03)
        for rate in (0.0, 0.1)
    }
    assert len(SETTINGS) == 28


@pytest.mark.parametrize(("paper", "layers", "magnitude", "alpha", "file"), LEVELS)
def test_a_setting_is_found_by_the_papers_name_and_by_files(
    paper: str, layers: int, magnitude: int, alpha: float, file: str
) -> None:
    rest = "wd_0.03-do_0.1-sd_0.1"
    names = (
        f"{paper}-{rest}",
        f"aug_{file}-{rest}",
        f"R26_S_32-i21k-300ep-lr_0.001-aug_{file}-{rest}.npz",
        f"B_16-i1k-300ep-lr_0.001-aug_{file}-{rest}--cifar100-steps_10k-lr_0.003-res_224",
    )
    assert {find_setting(name) for name in names} == {Setting(paper, 0.03, 0.1, 0.1)}
    assert find_setting(paper) == Setting(paper, 0.1, 0.0, 0.0)
    run = pretrained(augreg=names[1])
    assert run.augment == Augment(
        crop="inception", crop_area=(0.05, 1.0), crop_aspect=(0.75, 1.33), flip=0.5,
        randaugment=f"augreg-l{layers}-m{magnitude}" if layers else "", mixup=alpha,
        mix_with="previous",
    )  # fmt: skip
    assert (run.model_options, run.drop_path) == (("drop_rate=0.1",), 0.1)
    assert isinstance(run.optim, AdamW)
    assert run.optim.weight_decay == 0.03


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("midium1", "did you mean 'medium1'"),
        ("light0", "did you mean 'light1'"),
        ("aug_light2-wd_0.1-do_0.0-sd_0.0", "'aug_light2-wd_0.1-do_0.0-sd_0.0' is no part of a"),
        ("aug_light0", "^augreg: 'aug_light0' is no part of a file's name"),
        ("B_16-i21k-aug_light0", "is no name of AugReg's"),
        ("medium1-wd_0.1-do_0.0-sd_0.1", "did you mean 'medium1-wd_0.1-do_0.1-sd_0.1'"),
    ],
)
def test_a_setting_that_is_none_is_told_with_the_nearest(name: str, told: str) -> None:
    with pytest.raises(Refused, match=told):
        pretrained(augreg=name)


@pytest.mark.parametrize("family", ["vit", "vit_r", "swin", "focal", "efficientnet_v2"])
def test_a_settings_dropout_reaches_each_family_by_its_own_option(family: str) -> None:
    run = pretrained(model=f"{family}_atto", augreg="medium1-wd_0.03-do_0.1-sd_0.1")
    assert run.drop_path == 0.1
    model = create_model(run.model, **read_options(run.model_options, where="test"))
    assert 0.1 in {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)}


def test_a_model_without_dropout_refuses_a_setting_with_it_and_takes_the_others() -> None:
    with pytest.raises(Refused, match=r"mixer_b16 has no dropout.* --augreg medium1-wd_0.1-do_0.0"):
        pretrained(model="mixer_b16", augreg="medium1-wd_0.1-do_0.1-sd_0.1")
    assert pretrained(model="mixer_b16", augreg="medium1").model_options == ()


def test_pretraining_has_the_specifications_constants() -> None:
    for run, bias in ((pretrained(), -6.9), (augreg_in21k(data="in21k"), -10.0)):
        assert run.optim == AdamW(lr=1e-3, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-8)
        assert (run.batch_size, run.epochs, run.clip_norm) == (4096, 300, 1.0)
        assert (run.loss.sigmoid, run.loss.label_smoothing, run.head_bias) == (True, 0.0, bias)
        assert (run.schedule.kind, run.schedule.warmup_steps) == ("cosine", 10_000)
        assert (run.schedule.start, run.schedule.final) == (0.0, 0.0)
        assert (run.preprocess.mean, run.preprocess.std) == ((0.5,), (0.5,))
        assert run.preprocess.image_size / run.preprocess.crop_fraction == 256
        assert run.preprocess.interpolation == "bilinear"


def test_without_a_setting_the_model_brings_the_one_of_section_6_2() -> None:
    in1k = {"ti16": "light1", "s32": "medium1", "s16": "medium2", "b32": "medium2",
            "b16": "medium2", "l16": "medium2"}  # fmt: skip
    in21k = {"ti16": "none", "s32": "none", "s16": "light1", "b32": "light2", "b16": "light2",
             "l16": "medium2"}  # fmt: skip
    for size in in1k:
        name = f"vit_{size}"
        dropping = 0.1 if size in ("b32", "b16", "l16") else 0.0
        run = pretrained(model=name)
        assert run == pretrained(
            model=name, augreg=f"{in1k[size]}-wd_0.1-do_{dropping}-sd_{dropping}"
        )
        other = augreg_in21k(model=name, data="in21k")
        assert other == augreg_in21k(model=name, data="in21k", augreg=in21k[size])
        assert other.drop_path == 0.0


def test_a_shorter_pretraining_warms_up_for_less_but_30_epochs_of_21k_do_not() -> None:
    assert pretrained(epochs=30).schedule.warmup_steps == 1000
    assert augreg_in21k(data="in21k", epochs=30).schedule.warmup_steps == 10_000
    by_steps = pretrained(steps=1000)
    assert (by_steps.steps, by_steps.epochs, by_steps.schedule.warmup_steps) == (1000, 0, 0)
    assert by_steps.schedule.warmup == pytest.approx(10_000 / 92_897, rel=1e-4)


def test_the_rate_follows_the_batch() -> None:
    assert pretrained(batch_size=512).optim.lr == pytest.approx(1.25e-4)
    assert tuned(batch_size=64).optim.lr == pytest.approx(0.003 / 8)


def tuned(**given: object) -> Run:
    return finetune_augreg(**{"data": "pets", "weights": "B_16.npz", **given})


def test_finetuning_has_the_specifications_constants() -> None:
    run = tuned(optim=Sgd(lr=0.01, weight_decay=0.0))
    assert tuned().optim == Sgd(lr=0.003, momentum=0.9, weight_decay=0.0, nesterov=False)
    assert (run.batch_size, run.clip_norm, run.drop_path, run.model_options) == (512, 1.0, 0.0, ())
    assert (run.loss.sigmoid, run.loss.label_smoothing, run.head_bias) == (False, 0.0, 0.0)
    assert run.augment == pretrained(augreg="none").augment.changed(mix_with="reversed")
    assert run.reset_head
    assert run.preprocess.image_size / run.preprocess.crop_fraction == pytest.approx(448)
    small = tuned(image_size=224)
    assert small.preprocess.image_size / small.preprocess.crop_fraction == 256


@pytest.mark.parametrize(
    ("steps", "warmup"), [(500, 100), (2_500, 200), (10_000, 500), (20_000, 500), (1_000, 100)]
)
def test_warm_up_of_finetuning_is_that_of_table_4(steps: int, warmup: int) -> None:
    schedule = tuned(steps=steps).schedule
    assert schedule.over(steps) == Schedule(warmup=warmup / steps, start=0.0)


def test_a_finetuning_of_few_steps_or_of_epochs_warms_up_for_a_share() -> None:
    assert tuned(steps=100).schedule == Schedule(warmup=0.2, start=0.0)
    assert tuned(epochs=3).schedule == Schedule(warmup=0.08, start=0.0)


@pytest.mark.parametrize(
    ("like", "rates", "lengths", "hold_out"),
    [
        ("imagenet", (0.01, 0.03), (20_000,), "0.01"),
        ("pets", (0.001, 0.003, 0.01), (500, 2_500), "0.1"),
        ("kitti", (0.001, 0.003, 0.01), (500, 2_500), "0.1"),
        ("cifar", (0.001, 0.003, 0.01), (2_500, 10_000), "0.02"),
        ("resisc45", (0.001, 0.003, 0.01), (2_500, 10_000), "0.02"),
    ],
)
def test_the_grid_is_table_4_with_its_validation_parts(
    like: str, rates: tuple[float, ...], lengths: tuple[int, ...], hold_out: str
) -> None:
    runs = finetuning_grid(like, data="photos", weights="S_16.npz", image_size=224)
    assert {(run.steps, run.optim.lr) for run in runs} == {(s, r) for s in lengths for r in rates}
    assert len(runs) == len(rates) * len(lengths)
    assert {run.data for run in runs} == {f"photos?hold_out={hold_out}"}
    assert {run.preprocess.image_size for run in runs} == {224}


def test_a_share_that_is_given_is_kept_and_an_unknown_grid_is_told() -> None:
    (first, *_) = finetuning_grid("pets", data="x?per_class=9&hold_out=0.5", weights="w.npz")
    assert first.data == "x?per_class=9&hold_out=0.5"
    with pytest.raises(Refused, match="did you mean 'cifar'"):
        finetuning_grid("cifar10", data="x", weights="w.npz")


def test_names_of_files_and_of_settings_agree() -> None:
    for setting in SETTINGS.values():
        file = FileName("B/16", "i21k", 300, 0.001, setting.augment, setting.weight_decay,
                        setting.dropout, setting.drop_path)  # fmt: skip
        assert find_setting(str(file)) == setting == find_setting(str(setting))
