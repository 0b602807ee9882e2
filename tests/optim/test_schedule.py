"""The learning rate over time."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler

from ninefold.core.errors import Refused
from ninefold.optim.config import Schedule
from ninefold.optim.schedule import factor


def sgd(lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_swins_schedule_is_timms_at_every_step() -> None:
    """Paper: 300 epochs, 20 of warm-up, 1e-3 at batch 1024, from 1e-6 and down to 1e-5."""
    steps, warm, peak = 600, 40, 1e-3
    optimizer = sgd(peak)
    theirs = CosineLRScheduler(
        optimizer,
        t_initial=steps - warm,
        lr_min=1e-5,
        warmup_t=warm,
        warmup_lr_init=1e-6,
        warmup_prefix=True,
        t_in_epochs=False,
    )
    ours = Schedule(warmup=20 / 300, start=1e-6 / peak, final=1e-5 / peak)
    for step in range(steps):
        theirs.step_update(step)
        expected = optimizer.param_groups[0]["lr"]
        assert peak * factor(ours, step / steps) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_torchs_cosine_and_line_are_followed_without_warm_up() -> None:
    steps = 50
    for kind, make in [
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps, eta_min=0.1)),
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, steps)),
    ]:
        optimizer = sgd(1.0)
        theirs = make(optimizer)
        schedule = Schedule.model_validate({"kind": kind, "warmup": 0.0, "final": 0.1})
        for step in range(steps + 1):
            expected = optimizer.param_groups[0]["lr"]
            assert factor(schedule, step / steps) == pytest.approx(expected, rel=1e-6)
            optimizer.step()
            theirs.step()


def test_steps_drop_at_their_shares() -> None:
    schedule = Schedule(kind="steps", warmup=0.1, start=0.0, drops=(0.3, 0.6), drop_factor=0.2)
    shares = [0.0, 0.05, 0.1, 0.29, 0.3, 0.59, 0.6, 1.0]
    expected = [0.0, 0.5, 1.0, 1.0, 0.2, 0.2, 0.04, 0.04]
    assert [factor(schedule, share) for share in shares] == pytest.approx(expected)


def test_periodic_drops_fall_at_whole_periods_counted_from_the_first_step() -> None:
    """EfficientNetV2: 0.97 every 2.4 epochs, two of which lie within the warm-up."""
    schedule = Schedule(kind="steps", warmup=0.25, start=0.0, period=0.1, drop_factor=0.5)
    found = [factor(schedule, step / 10) for step in range(11)]
    assert found == pytest.approx([0.0, 0.4, 0.8, *(0.5**n for n in range(3, 11))])


def test_a_constant_rate_stays_at_its_peak_after_warm_up() -> None:
    schedule = Schedule(kind="constant", warmup=0.5, start=0.5)
    assert [factor(schedule, d) for d in (0.0, 0.25, 0.5, 1.0)] == [0.5, 0.75, 1.0, 1.0]


@given(
    st.sampled_from(["cosine", "linear"]),
    st.floats(0, 0.9),
    st.floats(0, 1),
    st.floats(0, 1),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_the_rate_rises_to_its_peak_and_then_never_rises_again(
    kind: str, warmup: float, start: float, final: float, shares: list[float]
) -> None:
    schedule = Schedule.model_validate(
        {"kind": kind, "warmup": warmup, "start": start, "final": final}
    )
    early, late = sorted(shares)
    first, second = factor(schedule, early), factor(schedule, late)
    if late < warmup:
        assert first <= second + 1e-12
    if early >= warmup:
        assert first >= second - 1e-12
    assert factor(schedule, warmup) == pytest.approx(1.0)
    assert factor(schedule, 1.0) == pytest.approx(final)


def test_steps_without_drops_and_drops_outside_the_training_are_refused() -> None:
    with pytest.raises(Refused, match="kind 'steps' needs drops"):
        Schedule.parse({"kind": "steps"}, where="schedule")
    with pytest.raises(Refused, match="or a period; both are given"):
        Schedule.parse({"kind": "steps", "drops": (0.5,), "period": 0.1}, where="schedule")
    with pytest.raises(Refused, match="above 0 and below 1"):
        Schedule.parse({"kind": "steps", "drops": (30, 60)}, where="schedule")


def test_a_warm_up_in_steps_gives_big_visions_rate_at_every_step() -> None:
    """Half a cosine of what is left after the warm-up, times the share of it that is done."""
    total, warm = 700, 90
    ours = Schedule(warmup_steps=warm, start=0.0).over(total)
    for step in range(total):
        course = min(max((step - warm) / (total - warm), 0.0), 1.0)
        expected = 0.5 * (1.0 + math.cos(math.pi * course)) * min(1.0, step / warm)
        assert factor(ours, step / total) == pytest.approx(expected, abs=1e-12)
    assert Schedule(warmup=0.3).over(total) == Schedule(warmup=0.3)


def test_a_warm_up_as_long_as_the_training_is_refused_with_a_fitting_one() -> None:
    with pytest.raises(Refused, match=r"10000 are not fewer than the 366 steps .* 36 would be"):
        Schedule(warmup_steps=10_000).over(366)


def test_a_schedule_is_plain_python() -> None:
    code = "import sys, ninefold.optim.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
