"""Which optimizer and which schedule: numbers only."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ninefold.core.config import Config
from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import is_reference
from ninefold.core.options import read_options


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


class RmspropTf(Config):
    """RMSProp as in TensorFlow, for EfficientNets; decay is added to the gradient."""

    kind: Literal["rmsprop_tf"] = "rmsprop_tf"
    lr: PositiveFloat = 0.01
    """Peak learning rate."""
    weight_decay: NonNegativeFloat = 1e-5
    """Applied to weights only."""
    decay: float = Field(default=0.9, ge=0, lt=1)
    """Share of the running square that a step keeps."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last update that is kept; the rate stands inside of it."""
    eps: PositiveFloat = 1e-3
    """Added to the running square, below the root."""


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


class _Climbing(Config):
    """What SAM and its variants have in common."""

    base: str = "adamw"
    """What steps by the gradient found uphill: `adamw`, `sgd`, `rmsprop_tf`, or your own as
    `package.module:Name`."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of the base."""
    weight_decay: NonNegativeFloat = 0.05
    """Applied to weights only, by the base's rule."""
    options: tuple[str, ...] = ()
    """Further values of the base as `KEY=VALUE`: `momentum=0.9 nesterov=true`."""
    every: PositiveInt = 1
    """Climb in each such step only; the others are plain steps of the base."""
    shards: PositiveInt = 1
    """Parts of a process's share of the batch that climb each by its own gradient."""
    local: bool = True
    """Whether each process climbs by its own gradient, or all by their common one."""
    decay_in_loss: bool = False
    """Take the decay for a part of the loss: it then bends the climb, and is taken at its end."""
    same_noise: bool = True
    """Draw the noise (dropout) of the first pass in the second one again."""

    @model_validator(mode="after")
    def _base_takes_the_options(self) -> Self:
        self.base_optim()
        return self

    def base_optim(self) -> "AdamW | Sgd | RmspropTf | Custom":
        """The base's own configuration.

        Raises:
            Refused: no such base, or an option that it does not have.
        """
        numbers: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        kinds = {"adamw": AdamW, "sgd": Sgd, "rmsprop_tf": RmspropTf}
        if self.base in kinds:
            kind, options = kinds[self.base], read_options(self.options, where="options")
            known = [name for name in kind.model_fields if name not in ("kind", *numbers)]
            for name in options:
                if name in numbers:
                    raise Refused(f"options: {name} is a field of its own; --optim.{name} sets it")
                if name not in known:
                    hint = nearest(name, known, f"it has {', '.join(known)}")
                    raise Refused(f"options: {self.base} has no {name!r}{hint}")
            return kind.parse({**options, **numbers}, where=f"options of {self.base}")
        if not is_reference(self.base):
            raise Refused(
                f"base: no optimizer is called {self.base!r}{nearest(self.base, kinds) or ';'} "
                f"there are {', '.join(kinds)} and your own as package.module:Name"
            )
        return Custom(name=self.base, options=self.options, **numbers)


class Sam(_Climbing):
    """Any optimizer, given the gradient where the loss is worst nearby: two passes a step."""

    kind: Literal["sam"] = "sam"
    rho: PositiveFloat = 0.05
    """Radius of the climb, in weight space (l2)."""


class Asam(_Climbing):
    """SAM with the radius in units of each weight."""

    kind: Literal["asam"] = "asam"
    rho: PositiveFloat = 0.5
    """Radius of the climb, in units of the weights."""
    eta: NonNegativeFloat = 0.0
    """Smallest unit."""


class Gsam(_Climbing):
    """SAM that also lowers the surrogate gap; the radius falls with the learning rate."""

    kind: Literal["gsam"] = "gsam"
    rho: PositiveFloat = 0.6
    """Radius of the climb at the peak rate, in weight space (l2)."""
    rho_min: NonNegativeFloat = 0.1
    """Radius at the rate `lr_min`; not above `rho`."""
    alpha: NonNegativeFloat = 0.6
    """Weight of the clean gradient's part across the one uphill."""
    lr_min: NonNegativeFloat = 0.0
    """Rate at which the radius is `rho_min`; below `lr`."""

    @model_validator(mode="after")
    def _ends_in_order(self) -> Self:
        if self.rho_min > self.rho:
            raise ValueError(f"rho_min {self.rho_min:g} is above rho {self.rho:g}")
        if self.lr_min >= self.lr:
            raise ValueError(f"lr_min {self.lr_min:g} is not below lr {self.lr:g}")
        return self


Optim = Annotated[AdamW | Sgd | RmspropTf | Sam | Asam | Gsam | Custom, Field(discriminator="kind")]


class Schedule(Config):
    """The learning rate as a function of the share of training that is done."""

    kind: Literal["cosine", "linear", "constant", "steps"] = "cosine"
    """How the rate falls after warm-up, to `final` times the peak."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the whole training with a linearly rising rate, so that it scales with `epochs`."""
    warmup_steps: NonNegativeInt = 0
    """Steps of warm-up, in place of that share; 0 for the share."""
    start: NonNegativeFloat = 1e-3
    """Rate at step 0, as a share of the peak."""
    final: NonNegativeFloat = 0.0
    """Rate at the end, as a share of the peak."""
    drops: tuple[float, ...] = ()
    """For `steps`: shares of training at which the rate is multiplied by `drop_factor`."""
    period: float = Field(default=0.0, ge=0, lt=1)
    """For `steps`, in place of drops: share of training from each to the next; the first ones may
    fall into the warm-up, and count."""
    drop_factor: PositiveFloat = 0.1
    """For `steps`."""

    @model_validator(mode="after")
    def _steps_have_drops(self) -> Self:
        if self.kind == "steps" and bool(self.drops) == bool(self.period):
            which = "both are" if self.period else "neither is"
            raise ValueError(
                f"kind 'steps' needs drops, such as 0.5 0.75, or a period; {which} given"
            )
        if not all(0 < drop < 1 for drop in self.drops):
            raise ValueError(f"drops {self.drops} are shares of the training, above 0 and below 1")
        return self

    def over(self, steps: int) -> "Schedule":
        """In shares of a training of so many steps.

        Raises:
            Refused: a warm-up that does not end before the training does.
        """
        if not self.warmup_steps:
            return self
        if self.warmup_steps >= steps:
            raise Refused(
                f"schedule.warmup_steps: {self.warmup_steps} are not fewer than the {steps} steps "
                f"of the run; {max(1, steps // 10)} would be a tenth, and 0 leaves it to the share "
                f"schedule.warmup, {self.warmup:g}"
            )
        return self.changed(warmup=self.warmup_steps / steps, warmup_steps=0)
