"""Recipes of Patch AutoAugment: the specification's table, and what stands beside it."""

import pytest

from ninefold.core.errors import Refused
from ninefold.engine.config import Run
from ninefold.optim.config import Sgd
from ninefold.recipes import find_recipe

# efficientnetv2-paa specification, section B6: rate, decay, epochs; then the agents' rate.
TABLE = {
    ("paa_cifar10", "wide_resnet28_10"): (0.1, 5e-4, 200, 1e-3),
    ("paa_cifar10", "shake_shake26_2x32d"): (0.2, 1e-4, 600, 1e-3),
    ("paa_cifar10", "shake_shake26_2x96d"): (0.2, 1e-4, 600, 1e-3),
    ("paa_cifar10", "shake_shake26_2x112d"): (0.2, 1e-4, 600, 1e-3),
    ("paa_cifar10", "pyramidnet272_a200_shakedrop"): (0.1, 1e-4, 600, 1e-4),
    ("paa_cifar10", "pyramidnet110_a270"): (0.1, 1e-4, 600, 1e-4),
    ("paa_cifar100", "wide_resnet28_10"): (0.1, 5e-4, 200, 1e-3),
    ("paa_cifar100", "shake_shake26_2x96d"): (0.1, 5e-4, 1200, 1e-3),
    ("paa_cifar100", "pyramidnet110_a270"): (0.5, 1e-4, 1200, 1e-4),
}


def recipe(name: str, **given: object) -> Run:
    return find_recipe(name)(**{"data": "photos", **given})


@pytest.mark.parametrize(("name", "model"), TABLE)
def test_cifar_is_trained_by_the_table(name: str, model: str) -> None:
    lr, decay, epochs, agents = TABLE[name, model]
    run = recipe(name, model=model)
    assert run.optim == Sgd(lr=lr, weight_decay=decay, momentum=0.9, nesterov=True)
    assert (run.epochs, run.batch_size, run.augment.patches.lr) == (epochs, 128, agents)
    assert (run.schedule.kind, run.schedule.warmup, run.schedule.final) == ("cosine", 0.0, 0.0)
    assert (run.augment.crop, run.augment.patches.grid) == ("reflect", 2)
    assert (run.preprocess.mean[0], run.preprocess.std[0]) == (125.3 / 255, 63.0 / 255)


def test_rates_follow_the_batch_and_ones_own_agents_keep_theirs() -> None:
    assert recipe("paa_cifar10", batch_size=64).optim.lr == pytest.approx(0.05)
    own = recipe("paa_cifar10").augment.changed(patches={"grid": 4, "lr": 0.02})
    run = recipe("paa_cifar10", model="pyramidnet110_a270", augment=own)
    assert run.augment == own


def test_photos_are_trained_by_the_configuration_of_their_model() -> None:
    found = {
        name: (run.batch_size, run.epochs, run.augment.patches.lr)
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
        if (run := recipe("finetune_paa", model=name))
    }
    assert found == {
        "resnet18": (96, 400, 1e-3),
        "resnet34": (64, 120, 1e-4),
        "resnet50": (64, 300, 1e-3),
        "resnet101": (48, 300, 1e-3),
        "resnet152": (32, 300, 1e-3),
    }
    run = recipe("finetune_paa", batch_size=32)
    assert run.optim == Sgd(lr=1e-3, weight_decay=1e-4, momentum=0.9, nesterov=True)
    patches = run.augment.patches
    assert (patches.grid, patches.fade, patches.trunk) == (4, True, "resnet18")
    assert patches.leave_out == ("equalize", "sharpness")
    assert (run.batch_size, run.augment.crop, run.preprocess.crop_fraction) == (32, "random", 0.875)
    assert (run.weights, run.reset_head) == ("pretrained", True)
    assert recipe("finetune_paa", image_size=448).preprocess.image_size == 448


def test_imagenet_is_trained_in_steps() -> None:
    run = recipe("paa_imagenet")
    assert (run.model, run.epochs, run.batch_size) == ("resnet50", 270, 256)
    assert run.optim.lr == pytest.approx(0.1)
    assert [round(270 * drop) for drop in run.schedule.drops] == [90, 180, 240]
    assert run.schedule.warmup * 270 == pytest.approx(5)
    assert (run.augment.patches.grid, run.augment.patches.fade) == (4, False)


def test_the_data_that_is_asked_for_is_the_recipes() -> None:
    with pytest.raises(Refused, match=r"--data FOLDER .* torchvision://CIFAR100\?root"):
        find_recipe("paa_cifar100")()
