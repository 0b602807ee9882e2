"""The recipe of SAM has the constants that the specification recalls, for each family."""

import pytest

from ninefold.core.errors import Refused
from ninefold.models.presets import PRESETS
from ninefold.optim.config import AdamW, Asam, Gsam, Sam, Sgd
from ninefold.recipes import find_recipe
from ninefold.recipes.sam import RADII, sam_in1k

# vit-augreg-sam specification, section 7: epochs, warm-up steps, peak, decay, weight decay, base.
TABLE = {
    "resnet50": (90, 5_000, 1.6, "cosine", 1e-3, "sgd"),
    "vit_b16": (300, 10_000, 3e-3, "cosine", 0.3, "adamw"),
    "mixer_b16": (300, 10_000, 3e-3, "linear", 0.3, "adamw"),
}
RHO = {
    "resnet50": 0.02, "resnet101": 0.05, "resnet152": 0.02, "resnet50x2": 0.05,
    "vit_s32": 0.05, "vit_s16": 0.1, "vit_s14": 0.1, "vit_s8": 0.15, "vit_b32": 0.15,
    "vit_b16": 0.2, "mixer_s32": 0.1, "mixer_s16": 0.15, "mixer_s8": 0.2, "mixer_b32": 0.35,
    "mixer_b16": 0.6, "mixer_b8": 0.6,
}  # fmt: skip


@pytest.mark.parametrize("model", TABLE)
def test_constants_are_those_of_the_models_family(model: str) -> None:
    epochs, warmup, peak, decay, weight_decay, base = TABLE[model]
    run = sam_in1k(model=model, data="imagenet")
    steps = run.epochs * 1_281_167 / run.batch_size
    assert (run.epochs, run.batch_size, run.clip_norm) == (epochs, 4096, 1.0)
    assert run.schedule.warmup * steps == pytest.approx(warmup)
    assert (run.schedule.kind, run.schedule.start, run.schedule.final) == (decay, 0.0, 0.0)
    assert isinstance(run.optim, Sam)
    assert (run.optim.base, run.optim.weight_decay) == (base, weight_decay)
    assert run.optim.lr == pytest.approx(peak)
    assert run.loss.label_smoothing == 0.0


def test_radii_are_those_of_the_models() -> None:
    for model, rho in RHO.items():
        optim = sam_in1k(model=model, data="imagenet").optim
        assert isinstance(optim, Sam)
        assert optim.rho == rho
    assert set(RADII) <= set(PRESETS)


def test_only_vits_drop_activations_and_only_mixers_drop_branches() -> None:
    runs = {model: sam_in1k(model=model, data="imagenet") for model in TABLE}
    assert [runs[m].model_options for m in TABLE] == [(), ("drop_rate=0.1",), ()]
    assert [runs[m].drop_path for m in TABLE] == [0.0, 0.0, 0.1]


def test_images_are_cropped_and_flipped_and_nothing_else() -> None:
    augment = sam_in1k(data="imagenet").augment
    assert (augment.crop, augment.crop_area, augment.flip) == ("inception", (0.05, 1.0), 0.5)
    assert (augment.randaugment, augment.mixup, augment.cutmix, augment.erase) == ("", 0, 0, 0)


def test_the_baseline_and_the_variants_keep_rate_decay_and_base() -> None:
    plain = sam_in1k(data="imagenet", optim="adamw").optim
    assert plain == AdamW(lr=3e-3, weight_decay=0.3)
    assert sam_in1k(model="resnet50", data="imagenet", optim="sgd").optim == Sgd(
        lr=0.1 * 4096 / 256, weight_decay=1e-3
    )
    for kind, build in (("asam", Asam), ("gsam", Gsam)):
        optim = sam_in1k(model="resnet50", data="imagenet", optim=kind, batch_size=256).optim
        assert isinstance(optim, build)
        assert (optim.base, optim.lr) == ("sgd", pytest.approx(0.1))


def test_a_family_that_the_paper_does_not_train_is_refused() -> None:
    with pytest.raises(Refused, match=r"no constants for swin_tiny.* resnet, vit, mixer"):
        find_recipe("sam_in1k")(model="swin_tiny", data="imagenet")
