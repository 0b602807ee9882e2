"""SAM and its variants, and every known fault of the popular implementation."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import ninefold
from ninefold.core.errors import Refused
from ninefold.optim import ASAM, GSAM, SAM, make_optimizer
from ninefold.optim.config import AdamW, Asam, Gsam, Optim, RmspropTf, Sam, Sgd

KINDS = [SAM, ASAM, GSAM]


def vector(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def stretched(w: nn.Parameter) -> Callable[[], Tensor]:
    """`0.5 (w0^2 + 4 w1^2)`: its gradient is (w0, 4 w1)."""

    def closure() -> Tensor:
        loss = 0.5 * (w[0] ** 2 + 4 * w[1] ** 2)
        loss.backward()
        return loss

    return closure


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3))


def trained(optimizer: SAM, model: nn.Module, steps: int, start: int = 0) -> list[Tensor]:
    for step in range(start, start + steps):
        torch.manual_seed(step)
        x, y = torch.randn(6, 4), torch.randint(3, (6,))

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)
    return [p.detach().clone() for p in model.parameters()]


# What it computes


def test_a_step_is_that_of_the_base_with_the_gradient_uphill() -> None:
    w = vector(3.0, 1.0)
    optimizer = SAM([w], base=torch.optim.SGD, rho=0.5, lr=0.1)
    assert optimizer.step(stretched(w)).item() == 6.5
    # g = (3, 4), |g| = 5: uphill is (3.3, 1.4), and the gradient there (3.3, 5.6).
    torch.testing.assert_close(w.detach(), torch.tensor([2.67, 0.44], dtype=torch.float64))


def test_asam_climbs_in_units_of_the_weights() -> None:
    w = vector(3.0, 1.0)
    optimizer = ASAM([w], rho=0.5, eta=0.5, lr=0.1)
    optimizer.step(stretched(w))
    unit, g = torch.tensor([3.5, 1.5]).double(), torch.tensor([3.0, 4.0]).double()
    uphill = torch.tensor([3.0, 1.0]).double() + 0.5 * unit**2 * g / (unit * g).norm()
    expected = torch.tensor([3.0, 1.0]).double() - 0.1 * uphill * torch.tensor([1.0, 4.0])
    torch.testing.assert_close(w.detach(), expected)


def test_gsam_takes_away_what_of_the_clean_gradient_is_across_the_one_uphill() -> None:
    w = vector(3.0, 1.0)
    optimizer = GSAM([w], rho=0.5, rho_min=0.5, alpha=0.25, lr=0.1)
    optimizer.step(stretched(w))
    g, uphill = torch.tensor([3.0, 4.0]).double(), torch.tensor([3.3, 5.6]).double()
    across = g - (g @ uphill) / (uphill @ uphill) * uphill
    expected = torch.tensor([3.0, 1.0]).double() - 0.1 * (uphill - 0.25 * across)
    torch.testing.assert_close(w.detach(), expected)


def test_gsam_without_alpha_and_with_one_radius_is_sam() -> None:
    one, other = net(), net()
    found = trained(GSAM(one.parameters(), rho=0.1, rho_min=0.1, alpha=0, lr=0.1), one, 3)
    expected = trained(SAM(other.parameters(), rho=0.1, lr=0.1), other, 3)
    torch.testing.assert_close(found, expected)


def test_the_radius_of_gsam_follows_the_rate_of_the_group() -> None:
    optimizer = GSAM([vector(1.0)], rho=0.6, rho_min=0.1, lr=0.3, lr_min=0.1)
    group = optimizer.param_groups[0]
    radii = []
    for rate in (0.3, 0.2, 0.1, 0.05):
        group["lr"] = rate
        radii.append(optimizer._radius(group))
    assert radii == pytest.approx([0.6, 0.35, 0.1, 0.1])
    group["lr"], group["lr_scale"] = 0.1, 0.5
    assert optimizer._radius(group) == pytest.approx(0.35)


def test_one_norm_is_taken_over_all_groups_whose_radii_may_differ() -> None:
    a, b = vector(3.0, 0.0), vector(0.0, 1.0)
    optimizer = SAM([{"params": [a], "rho": 1.0}, {"params": [b]}], rho=0.5, lr=1.0)
    seen = []

    def closure() -> Tensor:
        seen.append((a.detach().clone(), b.detach().clone()))
        loss = 0.5 * (a[0] ** 2 + 4 * b[1] ** 2)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert seen[1][0].tolist() == pytest.approx([3.6, 0.0])
    assert seen[1][1].tolist() == pytest.approx([0.0, 1.4])


def test_every_third_step_climbs_also_after_a_resume() -> None:
    calls = []
    w = vector(3.0, 1.0)
    optimizer = SAM([w], every=3, lr=0.01)

    def closure() -> Tensor:
        calls.append((optimizer.climbing, optimizer.climbed))
        return stretched(w)()

    optimizer.step(closure)
    optimizer.step(closure)
    other = SAM([w], every=3, lr=0.01)
    other.load_state_dict(optimizer.state_dict())
    optimizer = other
    for _ in range(2):
        optimizer.step(closure)
    climb, up, plain = (True, False), (False, True), (False, False)
    assert calls == [climb, up, plain, plain, climb, up]


def test_the_norm_of_bf16_gradients_is_taken_in_float32() -> None:
    w = nn.Parameter(torch.zeros(40_000, dtype=torch.bfloat16))
    seen = []

    def closure() -> Tensor:
        seen.append(w.detach().float().norm())
        w.grad = torch.full_like(w, 1.0)
        return torch.zeros(())

    SAM([w], rho=1.0, lr=0.1).step(closure)
    assert float(seen[1]) == pytest.approx(1.0, rel=5e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_of_zero_moves_nothing(kind: type[SAM]) -> None:
    w = vector(0.0, 0.0)
    kind([w], lr=0.1).step(stretched(w))
    assert w.tolist() == [0.0, 0.0]


# Noise


@pytest.mark.parametrize("kind", KINDS)
def test_both_passes_draw_the_same_dropout_and_steps_draw_others(kind: type[SAM]) -> None:
    model, drop = nn.Linear(4, 4), nn.Dropout(0.5)
    masks: list[Tensor] = []

    def closure() -> Tensor:
        masks.append(drop(torch.ones(50)))
        loss = model(torch.ones(4)).square().sum()
        loss.backward()
        return loss

    optimizer = kind(model.parameters(), lr=0.1)
    optimizer.step(closure)
    optimizer.step(closure)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])
    masks.clear()
    kind(model.parameters(), lr=0.1, same_noise=False).step(closure)
    assert not torch.equal(masks[0], masks[1])


# Faults of the popular implementation, specification section 10


def test_a_parameter_with_a_gradient_in_the_first_pass_alone_is_put_back() -> None:
    """There it stays uphill for ever."""
    w, v = vector(3.0, 1.0), vector(1.0)
    optimizer = SAM([w, v], rho=0.5, lr=0.1)

    def closure() -> Tensor:
        loss = stretched(w)()
        if optimizer.climbing:
            (3 * v).sum().backward()
        return loss

    optimizer.step(closure)
    assert v.tolist() == [1.0]


def test_a_parameter_with_a_gradient_in_the_second_pass_alone_is_trained() -> None:
    """There it is a KeyError."""
    for kind in KINDS:
        w, v = vector(3.0, 1.0), vector(1.0)
        optimizer = kind([w, v], rho=0.5, lr=0.1)

        def closure(w: Any = w, v: Any = v, optimizer: Any = optimizer) -> Tensor:
            loss = stretched(w)()
            if optimizer.climbed:
                (3 * v).sum().backward()
            return loss

        optimizer.step(closure)
        assert v.item() < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_holds_the_moments_of_the_base_and_no_copy_of_weights(kind: type[SAM]) -> None:
    """There it holds the weights instead of the moments, so a resume loses these in silence."""
    model = net()
    optimizer = kind(model.parameters(), base=torch.optim.AdamW, lr=0.01)
    trained(optimizer, model, 2)
    state = optimizer.state_dict()
    assert {name for entry in state["state"].values() for name in entry} == {
        "step", "exp_avg", "exp_avg_sq",
    }  # fmt: skip
    weights = model.state_dict()
    straight = trained(optimizer, model, 3, start=2)

    again = net()
    again.load_state_dict({name: value.clone() for name, value in weights.items()})
    other = kind(again.parameters(), base=torch.optim.AdamW, lr=0.01)
    # The weights moved on with `model`; go back to where the state was taken.
    fresh = net()
    first = kind(fresh.parameters(), base=torch.optim.AdamW, lr=0.01)
    trained(first, fresh, 2)
    again.load_state_dict(fresh.state_dict())
    other.load_state_dict(first.state_dict())
    assert other.base.param_groups is other.param_groups
    assert other.base.state is other.state
    for one, two in zip(trained(other, again, 3, start=2), straight, strict=True):
        assert torch.equal(one, two)


def test_the_storage_of_weights_stays() -> None:
    """There each step puts another tensor in its place."""
    w = vector(3.0, 1.0)
    place = w.data_ptr()
    SAM([w], lr=0.1).step(stretched(w))
    assert w.data_ptr() == place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", ["climbing", "climbed"])
def test_an_infinite_gradient_in_either_pass_changes_nothing(kind: type[SAM], bad: str) -> None:
    """There it writes NaN into the weights."""
    w = vector(3.0, 1.0)
    optimizer = kind([w], lr=0.1, momentum=0.9)
    optimizer.step(stretched(w))
    before, moment = w.detach().clone(), optimizer.state[w]["momentum_buffer"].clone()

    def closure() -> Tensor:
        loss = stretched(w)()
        if getattr(optimizer, bad):
            assert w.grad is not None
            w.grad[0] = float("inf")
        return loss

    optimizer.step(closure)
    assert torch.equal(w, before)
    assert torch.equal(optimizer.state[w]["momentum_buffer"], moment)
    assert optimizer.skipped == 1


def test_an_error_uphill_leaves_the_weights_where_they_were() -> None:
    w = vector(3.0, 1.0)
    optimizer = SAM([w], lr=0.1)

    def closure() -> Tensor:
        if optimizer.climbed:
            raise KeyError
        return stretched(w)()

    with pytest.raises(KeyError):
        optimizer.step(closure)
    assert w.tolist() == [3.0, 1.0]
    assert not optimizer.climbed


def test_restoring_is_exact_where_subtracting_would_drift() -> None:
    w = nn.Parameter(torch.full((100,), 1e-3, dtype=torch.bfloat16))
    before = w.detach().clone()

    def closure() -> Tensor:
        loss = (w.float() * 3).sum()
        loss.backward()
        return loss

    optimizer = SAM([w], rho=10.0, lr=0.0)
    optimizer.step(closure)
    assert torch.equal(w, before)


# Around it


def test_clipping_before_the_base_sees_the_gradient_that_is_taken() -> None:
    w = vector(3.0, 1.0)
    optimizer = GSAM([w], rho=0.5, lr=1.0)
    optimizer.base.register_step_pre_hook(
        lambda *_: nn.utils.clip_grad_norm_([w], 0.25) and None  # a hook may return arguments
    )
    optimizer.step(stretched(w))
    moved = (w.detach() - torch.tensor([3.0, 1.0])).norm()
    assert float(moved) == pytest.approx(0.25, rel=1e-5)


def test_schedules_of_torch_see_the_rate_of_the_base() -> None:
    w = vector(3.0, 1.0)
    optimizer = SAM([w], lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.step(stretched(w))
    schedule.step()
    assert optimizer.base.param_groups[0]["lr"] == 0.05
    optimizer.add_param_group({"params": [vector(1.0)]})
    assert len(optimizer.base.param_groups) == 2


def test_the_public_names_are_optimizers_over_any_base() -> None:
    for kind in (ninefold.SAM, ninefold.ASAM, ninefold.GSAM):
        optimizer = kind([vector(1.0)], base=torch.optim.Adagrad, lr=0.1, rho=0.7)
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(optimizer.base, torch.optim.Adagrad)
        assert optimizer.param_groups[0]["rho"] == 0.7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SAM([vector(1.0)], lr=0.1).step(), "needs a closure"),
        (lambda: SAM([vector(1.0)], lr=0.1, rho=-1.0), "rho -1 and eta 0 must not be below 0"),
        (lambda: SAM([vector(1.0)], lr=0.1, every=0), "every 0 and shards 1 must be 1"),
        (lambda: GSAM([vector(1.0)], lr=0.1, rho_min=1.0), "rho_min 1 is not between 0 and rho"),
        (lambda: GSAM([vector(1.0)], lr=0.1, lr_min=0.1), "lr_min 0.1 is not below the peak 0.1"),
        (lambda: SAM([nn.Parameter(torch.ones(2).half())], lr=0.1), "weights are float16"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        make()
    assert "\n" not in str(refusal.value)


# From a configuration


@pytest.mark.parametrize(
    ("optim", "kind", "base"),
    [
        (Sam(rho=0.2), SAM, torch.optim.AdamW),
        (Asam(base="sgd", options=("momentum=0.8",), same_noise=False), ASAM, torch.optim.SGD),
        (Gsam(base="torch.optim:Adamax"), GSAM, torch.optim.Adamax),
    ],
)
def test_a_configuration_makes_it_over_the_groups_of_the_base(
    optim: Optim, kind: type, base: type
) -> None:
    made = make_optimizer(net(), optim)
    assert isinstance(made, kind)
    assert isinstance(made, SAM)
    assert isinstance(made.base, base)
    assert made.same_noise == (kind is not ASAM)
    assert [g["weight_decay"] for g in made.param_groups] == [0.05, 0.0]
    assert {g["rho"] for g in made.param_groups} == {made.defaults["rho"]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "sam", "base": "sdg"}, "no optimizer is called 'sdg'; did you mean 'sgd'"),
        (
            {"kind": "sam", "options": ("momentum=0.9",)},
            "options: adamw has no 'momentum'; it has betas, eps",
        ),
        (
            {"kind": "sam", "base": "sgd", "options": ("momentun=0.9",)},
            "sgd has no 'momentun'; did you mean 'momentum'",
        ),
        ({"kind": "sam", "options": ("lr=0.1",)}, "lr is a field of its own; --optim.lr sets it"),
        ({"kind": "sam", "options": ("eps=0",)}, "options of adamw: eps: input should be greater"),
        ({"kind": "sam", "rho": 0}, "rho: input should be greater than 0"),
        ({"kind": "gsam", "rho": 0.1, "rho_min": 0.2}, "rho_min 0.2 is above rho 0.1"),
        ({"kind": "gsam", "lr": 0.1, "lr_min": 0.1}, "lr_min 0.1 is not below lr 0.1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    kind = {"sam": Sam, "gsam": Gsam}[values["kind"]]
    with pytest.raises(Refused, match=message) as refusal:
        kind.parse(values, where="optim")
    assert "\n" not in str(refusal.value)


def test_rmsprop_as_in_tensorflow_is_made_from_its_configuration() -> None:
    w = nn.Linear(1, 1, bias=False).double()
    nn.init.ones_(w.weight)
    optimizer = make_optimizer(w, RmspropTf(lr=0.5, weight_decay=0.1, decay=0.8, eps=0.01))
    moment, square, weight = 0.0, 1.0, 1.0
    for _ in range(3):
        optimizer.zero_grad()
        (2 * w.weight).sum().backward()
        optimizer.step()
        g = 2 + 0.1 * weight
        square = 0.8 * square + 0.2 * g * g
        moment = 0.9 * moment + 0.5 * g / (square + 0.01) ** 0.5
        weight -= moment
    assert w.weight.item() == pytest.approx(weight)


def test_the_bases_of_recipes_are_told_by_name() -> None:
    run = ninefold.recipes.quickstart(optim="sam")
    plain = ninefold.recipes.quickstart()
    assert isinstance(run.optim, Sam)
    assert isinstance(plain.optim, AdamW)
    assert (run.optim.lr, run.optim.weight_decay) == (plain.optim.lr, plain.optim.weight_decay)
    assert isinstance(Sam(base="sgd").base_optim(), Sgd)
