"""The learning rate over time, as a pure function of the share of training that is done.

Source: timm's `CosineLRScheduler` with `warmup_prefix`, as Swin uses it; big_vision's schedules.
"""

import math

from ninefold.optim.config import Schedule


def factor(schedule: Schedule, done: float) -> float:
    """Share of the peak learning rate.

    Args:
        done: Share of all steps that are behind, from 0 (first step) to 1 (after the last).

    The rate rises linearly from `start` to 1 while `done` is below `warmup`; what is left of the
    training is then the whole course of a cosine or a line down to `final`.
    """
    assert 0.0 <= done <= 1.0, done
    if done < schedule.warmup:
        return schedule.start + (1.0 - schedule.start) * done / schedule.warmup
    if schedule.kind == "constant":
        return 1.0
    if schedule.kind == "steps":
        past = sum(done >= drop for drop in schedule.drops)
        if schedule.period:
            past = math.floor(done / schedule.period + 1e-9)  # 0.3 / 0.1 is below 3
        return schedule.drop_factor**past
    course = (done - schedule.warmup) / (1.0 - schedule.warmup)
    left = 1.0 - course if schedule.kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * course))
    return schedule.final + (1.0 - schedule.final) * left
