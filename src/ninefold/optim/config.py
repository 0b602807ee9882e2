"""Which optimizer and which schedule: numbers only."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from ninefold.core.config import Config


class AdamW(Config):
    """Adam with decoupled weight decay."""

    kind: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.05
    """Applied to weights only: not to biases, norms, position tables (see `optim.groups`)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the running mean and of the running square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the running square."""

    @model_validator(mode="after")
    def _betas_are_shares(self) -> Self:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {self.betas} must lie in [0, 1)")
        return self


class Sgd(Config):
    """Stochastic gradient descent with momentum; decay is added to the gradient, as in torch."""

    kind: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.1
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 5e-4
    """Applied to weights only."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last update that is kept."""
    nesterov: bool = False
    """Look ahead along the momentum."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov looks ahead along a momentum, but momentum is 0")
        return self


class Custom(Config):
    """A `torch.optim.Optimizer` of the user's own."""

    kind: Literal["custom"] = "custom"
    name: str
    """`package.module:Name`, called with parameter groups, `lr`, `weight_decay` and `options`."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """Set on the groups that decay."""
    options: tuple[str, ...] = ()
    """Further keywords as `KEY=VALUE`, values read as YAML."""


Optim = Annotated[AdamW | Sgd | Custom, Field(discriminator="kind")]


class Schedule(Config):
    """The learning rate as a function of the share of training that is done."""

    kind: Literal["cosine", "linear", "constant", "steps"] = "cosine"
    """How the rate falls after warm-up, to `final` times the peak."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the whole training with a linearly rising rate, so that it scales with `epochs`."""
    start: NonNegativeFloat = 1e-3
    """Rate at step 0, as a share of the peak."""
    final: NonNegativeFloat = 0.0
    """Rate at the end, as a share of the peak."""
    drops: tuple[float, ...] = ()
    """For `steps`: shares of training at which the rate is multiplied by `drop_factor`."""
    drop_factor: PositiveFloat = 0.1
    """For `steps`."""

    @model_validator(mode="after")
    def _steps_have_drops(self) -> Self:
        if self.kind == "steps" and not self.drops:
            raise ValueError("kind 'steps' needs drops, such as 0.5 0.75")
        if not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"drops {self.drops} are shares of the training, above 0 and below 1")
        return self
