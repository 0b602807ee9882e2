"""Wide, Shake-Shake and Pyramid networks beside what every model is asked."""

import pytest
import torch

from ninefold.core.errors import Refused
from ninefold.layers.shake import ShakeDrop
from ninefold.models.create import create_model


def count(name: str, **options: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name, **options).parameters())


def test_the_other_form_has_its_own_published_counts() -> None:
    assert count("wide_resnet28_10", form="fast_autoaugment") == 36_489_290
    assert count("wide_resnet40_2", form="fast_autoaugment") == 2_246_474


def test_shake_drop_rises_linearly_to_a_half_at_the_last_unit() -> None:
    with torch.device("meta"):
        model = create_model("pyramidnet272_a200_shakedrop")
    rates = [m.rate for m in model.modules() if isinstance(m, ShakeDrop)]
    assert len(rates) == 90
    assert rates == pytest.approx([0.5 * i / 90 for i in range(1, 91)])


def test_channels_of_a_pyramid_grow_by_rounded_shares() -> None:
    """Specification, part C: 864 features; a half goes to the even number."""
    with torch.device("meta"):
        model = create_model("pyramidnet272_a200_shakedrop")
        small = create_model("pyramidnet", depth=8, alpha=1.5, bottleneck=False)
    assert model.num_features == 864
    assert [small.get_submodule(f"layer{i}.0.conv1").out_channels for i in (1, 2, 3)] == [
        16, 17, 18,
    ]  # fmt: skip


def test_training_shakes_and_evaluation_does_not() -> None:
    image = torch.randn(2, 3, 32, 32)
    for name in ("shake_shake_atto", "pyramidnet_atto"):
        torch.manual_seed(0)
        model = create_model(name)
        assert not torch.equal(model(image), model(image))
        model.eval()
        assert torch.equal(model(image), model(image))


def test_idle_projections_of_shake_shake_do_not_train() -> None:
    model = create_model("shake_shake26_2x32d")
    idle = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert sum(p.numel() for n, p in model.named_parameters() if n in idle) == 65_856
    assert all(".shortcut." in name and ".0.shortcut" not in name for name in idle)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wide_resnet", {"depth": 27}, "depth 27 is not 4 and a multiple of 6; 22 fits"),
        ("wide_resnet", {"form": "orginal"}, "did you mean 'original'"),
        ("shake_shake", {"depth": 25}, "depth 25 is not 2 and a multiple of 6; 20 fits"),
        ("shake_shake", {"width": 31}, "width 31 is odd; 32 fits"),
        ("pyramidnet", {"depth": 111}, "depth 111 is not 2 and a multiple of 9; 110 fits"),
    ],
)
def test_depths_and_widths_that_there_are_not_are_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        create_model(name, **options)
