"""Recipes: the specification's constants, parts by name and as objects, errors."""

import inspect
import sys
from pathlib import Path

import pytest
import torch
import yaml

import ninefold
from ninefold.augment.config import Augment
from ninefold.core.errors import Refused
from ninefold.core.objects import find
from ninefold.engine.config import Run
from ninefold.optim.config import AdamW, Asam, Custom, Gsam, RmspropTf, Sam, Sgd
from ninefold.recipes import RECIPES, find_recipe
from ninefold.recipes.parts import finish

WANTED = {"data": "photos", "weights": "old.pth"}

# hierarchical-transformers specification, section 1.12: epochs, warm-up epochs, then for 512
# images peak, warm-up and least learning rate, weight decay and the batch of the docs.
TABLE = {
    "swin_in1k": (300, 20, 5e-4, 5e-7, 5e-6, 0.05, 1024),
    "swin_in22k": (90, 5, 1.25e-4, 1.25e-7, 1.25e-6, 0.05, 4096),
    "swin_in22k_to_1k": (30, 5, 2e-5, 2e-8, 2e-7, 1e-8, 1024),
    "swin_384": (30, 5, 2e-5, 2e-8, 2e-7, 1e-8, 1024),
}

# Section 1.1, drop path.
DROP_PATH = {
    "swin_in1k": {"swin_tiny": 0.2, "swin_small": 0.3, "swin_base": 0.5},
    "swin_in22k": {"swin_tiny": 0.1, "swin_small": 0.2, "swin_base": 0.2, "swin_large": 0.2},
    "swin_in22k_to_1k": {
        "swin_tiny": 0.1,
        "swin_small": 0.2,
        "swin_base": 0.2,
        "swin_large": 0.2,
        "swin_base_384": 0.2,
        "swin_large_384": 0.2,
    },
    "swin_384": {"swin_base_384": 0.5},
}


def swin(name: str, **changes: object) -> Run:
    given = {"data": "imagenet", **changes}
    if name in ("swin_in22k_to_1k", "swin_384"):
        given = {"weights": "old.pth", **given}
    return find_recipe(name)(**given)


@pytest.mark.parametrize("name", TABLE)
def test_length_rates_and_decay_are_those_of_the_table(name: str) -> None:
    epochs, warmup, peak, first, least, decay, batch = TABLE[name]
    run = swin(name)
    assert (run.epochs, run.batch_size) == (epochs, batch)
    assert isinstance(run.optim, AdamW)
    assert run.optim.lr == pytest.approx(peak * batch / 512)
    assert run.optim.lr * run.schedule.start == pytest.approx(first * batch / 512)
    assert run.optim.lr * run.schedule.final == pytest.approx(least * batch / 512)
    assert run.schedule.warmup * epochs == pytest.approx(warmup)
    assert (run.optim.weight_decay, run.optim.betas, run.optim.eps) == (decay, (0.9, 0.999), 1e-8)
    assert run.schedule.kind == "cosine"


@pytest.mark.parametrize("name", TABLE)
def test_shared_constants_are_those_of_the_specification(name: str) -> None:
    run = swin(name)
    assert (run.clip_norm, run.loss.label_smoothing, run.ema) == (5.0, 0.1, 0.0)
    assert run.augment == Augment(
        crop="random_resized",
        crop_area=(0.08, 1.0),
        crop_aspect=(3 / 4, 4 / 3),
        flip=0.5,
        randaugment="rand-m9-mstd0.5-inc1",
        color_jitter=0.4,
        mixup=0.8,
        cutmix=1.0,
        mix_probability=1.0,
        cutmix_share=0.5,
        erase=0.25,
        erase_mode="pixel",
        erase_count=1,
    )
    assert run.preprocess.mean == (0.485, 0.456, 0.406)
    assert run.preprocess.std == (0.229, 0.224, 0.225)
    assert run.preprocess.interpolation == "bicubic"


@pytest.mark.parametrize(
    ("recipe", "model"), [(recipe, model) for recipe in DROP_PATH for model in DROP_PATH[recipe]]
)
def test_drop_path_follows_recipe_and_model(recipe: str, model: str) -> None:
    assert swin(recipe, model=model).drop_path == DROP_PATH[recipe][model]


def test_224_crops_the_centre_of_256_and_384_is_resized_straight() -> None:
    small, large = swin("swin_in1k"), swin("swin_384")
    assert small.preprocess.image_size / small.preprocess.crop_fraction == 256
    assert (large.preprocess.image_size, large.preprocess.squash) == (384, True)


def test_22k_to_1k_at_384_takes_the_model_with_the_larger_window() -> None:
    run = swin("swin_in22k_to_1k", image_size=384)
    assert (run.model, run.preprocess.image_size) == ("swin_base_384", 384)
    assert run.preprocess.squash
    assert swin("swin_in22k_to_1k").model == "swin_base"


def test_learning_rate_follows_the_batch() -> None:
    assert swin("swin_in1k", batch_size=256).optim.lr == pytest.approx(2.5e-4)
    assert ninefold.recipes.quickstart(batch_size=128).optim.lr == pytest.approx(
        2 * ninefold.recipes.quickstart().optim.lr
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_its_yaml(name: str, tmp_path) -> None:
    run = find_recipe(name)(**WANTED)
    run.write(tmp_path / "run.yaml")
    assert Run.read(tmp_path / "run.yaml") == run
    assert run.recipe == name
    assert yaml.safe_load((tmp_path / "run.yaml").read_text())["data"] == "photos"


def test_the_kind_of_optimizer_brings_the_recipes_numbers_for_it() -> None:
    adamw, sgd = ninefold.recipes.quickstart(), ninefold.recipes.quickstart(optim="sgd")
    assert isinstance(sgd.optim, Sgd)
    assert sgd.optim.lr > adamw.optim.lr
    own = ninefold.recipes.quickstart(optim=torch.optim.RMSprop).optim
    assert isinstance(own, Custom)
    assert find(own.name) is torch.optim.RMSprop
    assert own.lr == adamw.optim.lr


@pytest.mark.parametrize("name", RECIPES)
def test_sam_and_its_variants_stand_on_the_recipes_own_optimizer(name: str) -> None:
    own = find_recipe(name)(**WANTED).optim
    own = own if isinstance(own, AdamW | Sgd | RmspropTf) else own.base_optim()
    for kind, build in (("sam", Sam), ("asam", Asam), ("gsam", Gsam)):
        found = find_recipe(name)(**WANTED, optim=kind).optim
        assert isinstance(found, build)
        assert found.base_optim() == own
        assert found.rho == build().rho or (name, kind) == ("sam_in1k", "sam")


def test_sam_stands_on_what_a_written_run_was_trained_with() -> None:
    own = Sgd(lr=0.3, weight_decay=0.0, momentum=0.5, nesterov=True)
    run = ninefold.recipes.quickstart(optim=own)
    once = finish(run, {"optim": "sam"})
    assert once.optim.base_optim() == own
    assert finish(once, {"optim": "asam"}).optim.base_optim() == own
    assert finish(once, {"optim": "sgd"}).optim == own
    mine = ninefold.recipes.quickstart(optim=torch.optim.RMSprop)
    assert finish(mine, {"optim": "sam"}).optim.base_optim() == mine.optim


def test_objects_stand_in_a_run_by_name() -> None:
    def soft(logits, target):
        return logits.mean()

    run = ninefold.recipes.quickstart(model=torch.nn.Identity, loss=soft, augment=soft)
    assert find(run.model) is torch.nn.Identity
    assert find(run.loss.custom) is soft
    assert find(run.augment.custom) is soft
    assert run.loss.label_smoothing == ninefold.recipes.quickstart().loss.label_smoothing


def test_ones_own_augmentation_stands_alone_by_name_and_joins_as_a_field() -> None:
    alone = ninefold.recipes.quickstart(augment="mine:noise").augment
    assert (alone.crop, alone.flip, alone.custom) == ("none", 0.0, "mine:noise")


def test_finetune_resets_a_head_whose_classes_differ_and_others_do_not() -> None:
    assert ninefold.recipes.finetune(data="photos").reset_head
    assert all(find_recipe(n)(**WANTED).reset_head == n.startswith("finetune") for n in RECIPES)


def test_epochs_and_steps_replace_each_other() -> None:
    assert ninefold.recipes.quickstart(steps=7).epochs == 0
    with pytest.raises(Refused, match="exclude each other"):
        ninefold.recipes.quickstart(steps=7, epochs=2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"optim": "sdg"}, "did you mean 'sgd'"),
        ({"augment": "swn"}, "did you mean 'swin'"),
        ({"model": "swin_tny"}, "did you mean 'swin_tiny'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"uncertainty": "sngp"}, "softmax"),
        ({"seed": -1}, "greater than or equal to 0, not -1"),
    ],
)
def test_a_wrong_argument_is_told_with_what_would_be_right(given: dict, told: str) -> None:
    with pytest.raises(Refused, match=told):
        ninefold.recipes.quickstart(**given)


def test_an_unknown_recipe_is_told_with_the_nearest_and_their_number() -> None:
    with pytest.raises(Refused, match=rf"did you mean 'quickstart'\? .* all {len(RECIPES)}"):
        find_recipe("quikstart")


@pytest.mark.parametrize(
    "name", ["finetune", "swin_cifar10", "swin_in1k", "swin_in22k", "swin_384", "sam_in1k"]
)
def test_a_recipe_without_data_of_its_own_asks_for_them(name: str) -> None:
    with pytest.raises(Refused, match="no data given; --data FOLDER"):
        find_recipe(name)()


def test_a_setting_of_augreg_is_told_to_recipes_that_take_none() -> None:
    with pytest.raises(Refused, match=r"^sam_in1k: takes no --augreg.*--augment augreg_medium1"):
        find_recipe("sam_in1k")(data="photos", augreg="medium1")


@pytest.mark.parametrize("name", RECIPES)
def test_the_line_of_the_list_is_a_whole_sentence(name: str) -> None:
    first = (inspect.getdoc(find_recipe(name)) or "").split("\n")[0]
    assert first.endswith("."), first


def test_recipes_are_reached_as_attributes_after_their_modules_were_imported() -> None:
    assert "ninefold.recipes.everyday" in sys.modules
    assert callable(ninefold.recipes.quickstart)
    assert callable(ninefold.recipes.finetune)
    with pytest.raises(AttributeError, match="did you mean 'finetune'"):
        _ = ninefold.recipes.finetun


@pytest.mark.parametrize("name", RECIPES)
def test_a_path_is_as_good_as_its_name(name: str) -> None:
    recipe = find_recipe(name)
    paths = {key: Path(value) for key, value in WANTED.items()}
    assert recipe(**paths, head_map=Path("rows")) == recipe(**WANTED, head_map="rows")
