"""Claims of Patch AutoAugment: arms that share runs, and what a step costs."""

from pathlib import Path

import pytest
import torch

from ninefold.augment.patch_ops import OPERATIONS
from ninefold.augment.patches import augment_patches
from ninefold.core.errors import Refused
from ninefold.study.experiments import EXPERIMENTS
from ninefold.study.paa_claims import ARMS
from ninefold.study.patch_cost import PARTS, one_by_one, patch_cost, step_cost
from ninefold.study.plan import Timed, Trained
from ninefold.study.reproduce import reproduce
from ninefold.study.search_cost import hours, hours_of, search_cost

COSTS = ("paa_cost", "paa_search_cost")
NAMES = [name for name in EXPERIMENTS if name.startswith("paa_") and name not in COSTS]


def test_arms_differ_in_their_augmentation_alone_and_claims_share_them() -> None:
    arms = []
    for name in NAMES:
        pair = EXPERIMENTS[name]("laptop", "cifar").comparisons[0]
        arms += [pair.subject, pair.against]
    assert all(isinstance(arm, Trained) and arm.picks for arm in arms)
    plain = {arm.run.changed(augment=ARMS["none"]).model_dump_json() for arm in arms}
    assert len(plain) == 1
    assert len({arm.run.model_dump_json() for arm in arms}) == len(ARMS)


def test_a_claim_is_measured_at_the_smoke_scale(tmp_path: Path) -> None:
    (found,) = reproduce("paa/learned", scale="smoke", out=tmp_path, seeds=1)
    assert list(found.differs) == ["augment"]
    assert found.differs["augment"]["patches"]["credit"] == "uniform"
    (other,) = reproduce("paa/random-patches", scale="smoke", out=tmp_path, seeds=1)
    assert other.subject == found.against
    assert len(list(tmp_path.glob("*/measured.json"))) == 3


def test_a_cost_of_data_of_ones_own_is_refused_and_accuracy_asks_for_cifar() -> None:
    with pytest.raises(Refused, match="has no use"):
        patch_cost("smoke", "photos")
    with pytest.raises(Refused, match="this needs CIFAR-10"):
        EXPERIMENTS["paa_or_none"]("laptop", "")


def test_a_step_and_its_pieces_are_timed_side_by_side() -> None:
    found = step_cost(model="wide_resnet_atto", batch_size=4, rounds=1, seed=1)
    assert set(found) == {"plain", "patches", "uniform", *PARTS}
    assert all(value > 0 for value in found.values())


def test_one_patch_after_another_gives_the_same() -> None:
    torch.manual_seed(0)
    fixed = [OPERATIONS.index(name) for name in ("gray", "invert", "equalize", "cutmix", "shear")]
    operations = torch.tensor(fixed)[torch.randint(len(fixed), (6, 2, 2))]
    executed = torch.rand(6, 2, 2) < 0.6
    pixels = torch.randint(256, (6, 3, 16, 16)) / 255
    expected = augment_patches(pixels, operations, executed)
    torch.testing.assert_close(one_by_one(pixels, operations, executed), expected)


def test_hours_of_a_search_are_those_of_its_children_and_of_the_training_after_it() -> None:
    """7.2 thousand million images of children; 10 million of the network that is wanted."""
    found = hours_of(child=0.001, plain=0.01, patches=0.0125)
    assert found["search"] == pytest.approx(7.2e9 * 0.001 / 3600)
    assert found["training"] == pytest.approx(1e7 * 0.01 / 3600)
    assert found["search and training"] == found["search"] + found["training"]
    assert found["co-training"] == pytest.approx(1.25 * found["training"])


def test_the_cost_of_a_search_is_measured_at_the_smoke_scale() -> None:
    pair = search_cost("smoke", "").comparisons[0]
    assert isinstance(pair.subject, Timed)
    assert isinstance(pair.against, Timed)
    found = hours(**pair.subject.options, seed=0)
    assert found[pair.subject.reading] < found[pair.against.reading]
    assert pair.tables is not None
    assert [row[0] for row in pair.tables([found])[0].rows][-1] == "co-training"
    with pytest.raises(Refused, match="has no use"):
        search_cost("laptop", "photos")
