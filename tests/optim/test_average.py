"""The moving average of the weights."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ninefold.optim.average import Ema


def model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(2))


def built(seed: int = 0) -> nn.Module:
    made = model(seed)
    made(torch.randn(2, 3, 6, 6))
    return made


def walk(trained: nn.Module) -> None:
    """Another point in weight space, and other statistics."""
    with torch.no_grad():
        for p in trained.parameters():
            p.add_(torch.randn_like(p))
    trained(torch.randn(2, 3, 6, 6))


def test_it_is_torchs_averaged_model_with_the_start_corrected() -> None:
    decay, trained = 0.9, built()

    def corrected(average: nn.Module, current: nn.Module, count: torch.Tensor) -> torch.Tensor:
        share = (1 - decay) / (1 - decay ** (int(count) + 1))
        return average + share * (current - average)

    ours, theirs = Ema(trained, decay), AveragedModel(trained, avg_fn=corrected)
    for _ in range(12):
        walk(trained)
        ours.update(trained)
        theirs.update_parameters(trained)
    found, expected = list(ours.module.parameters()), list(theirs.module.parameters())
    torch.testing.assert_close(found, expected)


def test_weights_count_by_their_age_and_the_first_ones_not_at_all() -> None:
    decay, trained = 0.8, nn.Linear(2, 1)
    ema, seen = Ema(trained, decay), []
    for _ in range(7):
        with torch.no_grad():
            trained.weight.normal_()
        seen.append(trained.weight.detach().clone())
        ema.update(trained)
    shares = torch.tensor([decay**age for age in range(6, -1, -1)])
    expected = sum(w * s for w, s in zip(seen, shares, strict=True)) / shares.sum()
    torch.testing.assert_close(ema.module.weight, expected)


def test_after_one_update_the_average_is_the_model() -> None:
    trained = built()
    ema = Ema(trained, 0.999)
    walk(trained)
    ema.update(trained)
    trained.eval()
    images = torch.randn(3, 3, 6, 6)
    assert torch.equal(ema(images), trained(images))


def test_buffers_are_those_of_the_last_update() -> None:
    trained = built()
    ema = Ema(trained, 0.9)
    for _ in range(3):
        walk(trained)
        ema.update(trained)
    mine, theirs = dict(ema.module.named_buffers()), dict(trained.named_buffers())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_it_stays_in_evaluation_mode_and_asks_for_no_gradient() -> None:
    ema = Ema(built().train(), 0.9).train()
    assert not any(module.training for module in ema.module.modules())
    assert not any(p.requires_grad for p in ema.parameters())


def test_an_average_that_was_saved_goes_on_to_the_bit() -> None:
    trained = built()
    ema = Ema(trained, 0.9)
    for _ in range(3):
        walk(trained)
        ema.update(trained)
    again = Ema(built(5), 0.9)
    again.load_state_dict(ema.state_dict())
    walk(trained)
    ema.update(trained)
    again.update(trained)
    for (name, mine), theirs in zip(
        ema.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_a_model_of_another_form_does_not_pass_unseen() -> None:
    with pytest.raises((RuntimeError, ValueError)):
        Ema(nn.Linear(2, 2), 0.9).update(built())


def test_tensorflows_rule_starts_at_the_first_weights_and_averages_statistics_too() -> None:
    """Update n keeps min(decay, (1 + n) / (10 + n)): 2/11, 3/12, ... of weights and statistics."""
    decay, trained = 0.5, built()
    ema = Ema(trained, decay, rule="tensorflow")
    expected = {name: value.clone() for name, value in trained.state_dict().items()}
    for n in range(1, 13):
        walk(trained)
        ema.update(trained)
        kept = min(decay, (1 + n) / (10 + n))
        for name, value in trained.state_dict().items():
            if value.is_floating_point():
                expected[name] = kept * expected[name] + (1 - kept) * value
            else:
                expected[name] = value.clone()
    found = ema.module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
