"""From a configuration to an optimizer."""

import pytest
import torch
from torch import nn

from ninefold.core.errors import Refused
from ninefold.core.objects import name_of
from ninefold.optim.build import make_optimizer
from ninefold.optim.config import AdamW, Custom, Optim, Sgd


class Signs(torch.optim.Optimizer):
    """A user's own optimizer."""

    def __init__(self, params: object, lr: float, weight_decay: float = 0.0, power: float = 1.0):
        if power < 0:
            raise ValueError("power must not be negative")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "power": power})


class Bare(torch.optim.Optimizer):
    """One that knows no weight decay."""

    def __init__(self, params: object, lr: float):
        super().__init__(params, {"lr": lr})


def listed(groups: list[object], **_: object) -> list[object]:
    return groups


def steps(optimizer: torch.optim.Optimizer, model: nn.Module, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(4, 3, generator=generator)).square().sum().backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


@pytest.mark.parametrize(
    ("optim", "make"),
    [
        (
            AdamW(lr=0.01, weight_decay=0.3, betas=(0.8, 0.9), eps=1e-6),
            lambda groups: torch.optim.AdamW(
                groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6, foreach=False
            ),
        ),
        (
            Sgd(lr=0.01, weight_decay=0.3, momentum=0.7, nesterov=True),
            lambda groups: torch.optim.SGD(
                groups, lr=0.01, momentum=0.7, nesterov=True, foreach=False
            ),
        ),
    ],
)
def test_steps_equal_torchs_with_decay_on_weights_alone(optim: Optim, make: object) -> None:
    ours, theirs = model(), model()
    weights = [p for p in theirs.parameters() if p.ndim > 1]
    biases = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [
        {"params": weights, "weight_decay": 0.3},
        {"params": biases, "weight_decay": 0.0},
    ]
    assert callable(make)
    found = steps(make_optimizer(ours, optim), ours, 5)
    expected = steps(make(groups), theirs, 5)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("optim", [AdamW(), Sgd()])
def test_one_fused_pass_is_taken_where_the_device_has_it(optim: Optim) -> None:
    assert make_optimizer(model(), optim).defaults["fused"] is True
    with torch.device("meta"):
        elsewhere = model()
    assert not make_optimizer(elsewhere, optim).defaults["fused"]


def test_a_model_without_trainable_parameters_is_refused() -> None:
    with pytest.raises(Refused, match="Linear has no trainable parameter"):
        make_optimizer(nn.Linear(2, 2).requires_grad_(False), AdamW())


def test_the_users_own_optimizer_gets_groups_rate_and_options() -> None:
    optim = Custom(name=name_of(Signs), lr=0.2, weight_decay=0.1, options=("power=5e-1",))
    optimizer = make_optimizer(model(), optim)
    assert isinstance(optimizer, Signs)
    assert optimizer.defaults == {"lr": 0.2, "weight_decay": 0.1, "power": 0.5}
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.1, 0.0]
    assert all(g["lr_scale"] == 1.0 for g in optimizer.param_groups)


def test_torchs_own_optimizers_serve_as_custom_ones() -> None:
    optim = Custom(name="torch.optim:RMSprop", options=("alpha=0.9", "centered=true"))
    assert make_optimizer(model(), optim).defaults["centered"] is True


def test_an_optimizer_without_weight_decay_gets_none() -> None:
    assert isinstance(make_optimizer(model(), Custom(name=name_of(Bare))), Bare)


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (Custom(name=name_of(Signs), options=("powr=1",)), "keyword 'powr'; did you mean 'power'"),
        (Custom(name=name_of(Signs), options=("zeta=1",)), "keyword 'zeta'; it takes power"),
        (Custom(name=name_of(Signs), options=("power=-1",)), "power must not be negative"),
        (Custom(name=name_of(Signs), options=("power",)), "optim.options: cannot read .*KEY=VALUE"),
        (Custom(name=name_of(Bare), weight_decay=0.1), "takes no keyword 'weight_decay'"),
        (Custom(name="math:pi"), "math:pi: a float; an optimizer class would be right"),
        (Custom(name=name_of(model)), "takes no keyword 'lr'"),
        (Custom(name=name_of(listed)), "made a list; a torch.optim.Optimizer is wanted"),
        (Custom(name="builtins:dict"), "no signature"),
        (Custom(name="torch.optim:AdamWW"), "did you mean 'AdamW'"),
    ],
)
def test_what_cannot_be_an_optimizer_is_refused_in_one_line(optim: Custom, message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        make_optimizer(model(), optim)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "adamw", "betas": (0.9, 1.0)}, "betas"),
        ({"kind": "sgd", "nesterov": True, "momentum": 0.0}, "nesterov"),
    ],
)
def test_numbers_that_torch_would_reject_are_refused(
    values: dict[str, object], message: str
) -> None:
    kind = AdamW if values["kind"] == "adamw" else Sgd
    with pytest.raises(Refused, match=message):
        kind.parse(values, where="optim")
