"""Sharpness-aware minimisation: step by the gradient found uphill, where the loss is worst nearby.

Source: Foret et al. 2021, arXiv 2010.01412, equations 2 and 3 (SAM); Kwon et al. 2021, arXiv
2102.11600 (ASAM); Zhuang et al. 2022, arXiv 2203.08065, algorithm 1 (GSAM). What the reference
programs do beside that: vit-augreg-sam specification, sections 9 and 10.
"""
# pyright: reportPrivateImportUsage=false
# The `torch._foreach_` functions, which torch's own optimizers call, have no public names.

import logging
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from ninefold.core.errors import Refused

log = logging.getLogger(__name__)

TINY = 1e-12
"""Added to the norm that a climb is divided by, so that no gradient at all leads nowhere."""

_Saved = list[tuple[nn.Parameter, Tensor]]


class SAM(Optimizer):
    """Any optimizer, given the gradient at `w + rho g / |g|` instead of the one at `w`.

    `step(closure)` calls the closure once for g, climbs, calls it again, puts the weights back from
    a copy, to the bit and whatever happens, and lets the base take its step. The norm is one over
    all parameters of all groups, in float32 at the least. Gradients are cleared before each call.
    The second call draws the noise of the first (dropout), as generators are set back in between,
    unless `same_noise` is off.
    A step whose gradient is not finite is left out, counted by `skipped`.

    `param_groups` and `state` are the base's own, so schedules and checkpoints see one optimizer;
    copies of weights are never part of them. Clipping belongs behind the last call, where `norm` is
    known: `sam.base.register_step_pre_hook(...)`. Running statistics of normalisations are the
    closure's business: `layers.norm.keep_statistics` while `climbed`.

    Args:
        params: Tensors, or groups of them; `rho` may differ by group.
        base: A class of optimizers, or a function like one.
        rho: Radius of the climb, in weight space (l2).
        adaptive: Measure the radius in units of `|w| + eta` a weight (ASAM).
        eta: For `adaptive`: smallest unit.
        every: Climb in each such step only; the others are plain steps of the base.
        shards: Parts of a batch that climb each by its own gradient ("m-sharpness"). The closure
            is called twice for each, and is to compute the mean over the part number `shard`.
        local: Whether a process climbs by its own gradient, which the closure must see to:
            no gradient is averaged over processes while `climbing`.
        decay_in_loss: Take the decay of weights for a part of the loss: it then bends the climb,
            and is taken at the end of it; the base gets none.
        same_noise: Whether the second call draws the noise (dropout) of the first.
        keywords: What else the base takes, `lr` among them.

    Raises:
        Refused: values out of bounds; float16 weights, whose losses need scaling between the calls.

    Source: Foret et al. 2021, algorithm 1. `decay_in_loss` as in google-research/sam.
    Departs: from both references in that a step with an infinite gradient changes nothing.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        base: Callable[..., Optimizer] = torch.optim.SGD,
        rho: float = 0.05,
        adaptive: bool = False,
        eta: float = 0.0,
        every: int = 1,
        shards: int = 1,
        local: bool = True,
        decay_in_loss: bool = False,
        same_noise: bool = True,
        **keywords: Any,
    ) -> None:
        if rho < 0 or eta < 0:
            raise Refused(f"SAM: rho {rho:g} and eta {eta:g} must not be below 0; 0.05 and 0 fit")
        if every < 1 or shards < 1:
            raise Refused(f"SAM: every {every} and shards {shards} must be 1 at the least")
        self.base = base(params, **keywords)
        super().__init__(self.base.param_groups, {**self.base.defaults, "rho": rho})
        self.param_groups, self.state = self.base.param_groups, self.base.state
        self.adaptive, self.eta, self.local = adaptive, eta, local
        self.every, self.shards, self.decay_in_loss = every, shards, decay_in_loss
        self.same_noise = same_noise
        self.shard, self.skipped = 0, 0
        self.norm = torch.zeros(())
        """Of the gradient that the base steps by, before any clipping."""
        self.climbing = False
        """Whether the closure is being called for the gradient to climb by."""
        self.climbed = False
        """Whether the weights are uphill, as in every call after the first of a shard."""
        self.apart = False
        """Whether gradients uphill, too, must be each process's own: `average` is then called."""
        self.average: Callable[[list[Tensor]], None] | None = None
        """Gives all processes the mean of their gradients, in place; nothing for one process."""
        for group in self.param_groups:
            self._settle(group)
        _check_types(p for group in self.param_groups for p in group["params"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As ever; the base sees it too."""
        super().add_param_group(param_group)
        if hasattr(self, "every"):
            self._settle(self.param_groups[-1])

    def _settle(self, group: dict[str, Any]) -> None:
        group.setdefault("sam_steps", 0)  # kept with the group, so that `every` survives a resume
        if self.decay_in_loss:
            group.setdefault("loss_decay", group.get("weight_decay", 0.0))
            group["weight_decay"] = 0.0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As ever; the base reads it, by its own rules, and both share the result."""
        self.base.load_state_dict(state_dict)
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]: torch's stub has overloads
        """Take one step.

        Args:
            closure: Runs forward and backward pass once and returns the loss. Called twice a shard
                in a step that climbs, else once; `climbing`, `climbed` and `shard` tell the place.

        Returns:
            The loss before the step: the mean of each shard's first call.

        Raises:
            Refused: without a closure.
        """
        if closure is None:
            raise Refused("SAM: step() needs a closure that runs forward and backward pass")
        climbs = self.param_groups[0]["sam_steps"] % self.every == 0
        losses: list[Any] = []
        sums: dict[nn.Parameter, Tensor] = {}
        for shard in range(self.shards):
            self.shard = shard
            losses.append(self._gradients(closure, climbs))
            if self.shards > 1:
                _gather(sums, self._parameters())
        for parameter, total in sums.items():
            parameter.grad = total.div_(self.shards)
        self.shard = 0
        if climbs and self.apart and self.average is not None:
            self.average([p.grad for p in self._parameters() if p.grad is not None])
        for group in self.param_groups:
            group["sam_steps"] += 1
        self.norm = _norm([p.grad for p in self._parameters() if p.grad is not None])
        if bool(torch.isfinite(self.norm)):
            self.base.step()
        else:
            self.skipped += 1
            log.warning("SAM: a gradient is not finite; %d steps left out so far", self.skipped)
        return losses[0] if len(losses) == 1 else sum(losses) / len(losses)

    def _gradients(self, closure: Callable[[], Any], climbs: bool) -> Any:
        """The gradient that the base is to take, and the loss before the climb."""
        noise = _Noise(self._parameters())
        self.climbing = climbs
        try:
            loss = self._called(closure)
        finally:
            self.climbing = False
        if not climbs:
            return loss
        clean = self._before_climb()
        saved: _Saved = []
        try:
            self._climb(saved)
            if self.same_noise:
                noise.again()
            self.climbed = True
            self._called(closure)
        finally:
            self.climbed = False
            for parameter, weight in saved:
                parameter.copy_(weight)
        self._after_climb(clean)
        return loss

    def _called(self, closure: Callable[[], Any]) -> Any:
        self.zero_grad()
        with torch.enable_grad():
            loss = closure()
        if self.decay_in_loss:
            for group in self.param_groups:
                for p in group["params"]:
                    decay = p.detach() * group["loss_decay"]
                    p.grad = decay if p.grad is None else p.grad.add_(decay)
        return loss

    def _climb(self, saved: _Saved) -> None:
        """Move the weights uphill; what they were goes to `saved` before anything moves."""
        groups = [
            (self._radius(group), [p for p in group["params"] if p.grad is not None])
            for group in self.param_groups
        ]
        moves = [[p.grad for p in parameters] for _, parameters in groups]
        scaled = [gradient for group in moves for gradient in group]
        if self.adaptive:
            units = [[p.abs().add_(self.eta) for p in parameters] for _, parameters in groups]
            scaled = [
                g * u
                for gs, us in zip(moves, units, strict=True)
                for g, u in zip(gs, us, strict=True)
            ]
            for gradients, sizes in zip(moves, units, strict=True):
                for gradient, size in zip(gradients, sizes, strict=True):
                    gradient.mul_(size).mul_(size)
        share = 1.0 / (_norm(scaled) + TINY)
        saved.extend((p, p.clone()) for _, parameters in groups for p in parameters)
        for (radius, parameters), gradients in zip(groups, moves, strict=True):
            if parameters:
                torch._foreach_mul_(gradients, share)
                torch._foreach_add_(parameters, gradients, alpha=radius)

    def _radius(self, group: dict[str, Any]) -> float:
        return group["rho"]

    def _before_climb(self) -> dict[nn.Parameter, Tensor]:
        """What `_after_climb` needs of the gradient before the climb: nothing."""
        return {}

    def _after_climb(self, clean: dict[nn.Parameter, Tensor]) -> None:
        """Turn the gradient uphill into the one that the base takes: here it is that one."""

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (p for group in self.param_groups for p in group["params"])


class ASAM(SAM):
    """SAM with the radius in units of each weight: `eps = rho T^2 g / |T g|`, `T = |w| + eta`.

    Args and the rest as for `SAM`.

    Source: Kwon et al. 2021, equation 5; without `eta`, and on all tensors, as in davda54/sam.
    """

    def __init__(self, params: ParamsT, *, rho: float = 0.5, **keywords: Any) -> None:
        super().__init__(params, rho=rho, adaptive=True, **keywords)


class GSAM(SAM):
    """SAM that also lowers the surrogate gap, by the clean gradient's part across the other one.

    The base takes `g_p - alpha g_across`: g_p is the gradient uphill, g_across what of the clean
    gradient is orthogonal to it, all parameters as one vector. The radius falls with the learning
    rate, from `rho` at `lr_max` to `rho_min` at `lr_min`; a group's `lr_scale` is divided out.

    Args:
        rho: Radius at the peak rate.
        rho_min: Radius at `lr_min`; not above `rho`.
        alpha: Weight of the part across; 0 with `rho_min = rho` is SAM.
        lr_max: Peak rate; 0 for the base's `lr` as it is made.
        lr_min: Rate at the end of the schedule.
        keywords: As for `SAM`.

    Source: Zhuang et al. 2022, algorithm 1 and section 4.4; defaults of ViT-B/32 in big_vision
    (`configs/proj/gsam`).
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        rho: float = 0.6,
        rho_min: float = 0.1,
        alpha: float = 0.6,
        lr_max: float = 0.0,
        lr_min: float = 0.0,
        **keywords: Any,
    ) -> None:
        if not 0 <= rho_min <= rho:
            raise Refused(f"GSAM: rho_min {rho_min:g} is not between 0 and rho {rho:g}")
        super().__init__(params, rho=rho, **keywords)
        self.rho_min, self.alpha = rho_min, alpha
        self.lr_max, self.lr_min = lr_max or float(self.base.defaults["lr"]), lr_min
        if not self.lr_min < self.lr_max:
            raise Refused(f"GSAM: lr_min {lr_min:g} is not below the peak {self.lr_max:g}")
        self.apart = self.local  # both gradients that are taken apart are of the same images

    def _radius(self, group: dict[str, Any]) -> float:
        rate = float(group["lr"]) / group.get("lr_scale", 1.0)
        share = min(1.0, max(0.0, (rate - self.lr_min) / (self.lr_max - self.lr_min)))
        return self.rho_min + (group["rho"] - self.rho_min) * share

    def _before_climb(self) -> dict[nn.Parameter, Tensor]:
        return {p: p.grad.clone() for p in self._parameters() if p.grad is not None}

    def _after_climb(self, clean: dict[nn.Parameter, Tensor]) -> None:
        uphill = {p: p.grad for p in self._parameters() if p.grad is not None}
        both = [(clean[p], uphill[p]) for p in clean if p in uphill]
        wide = [(a.flatten().to(_wide(a)), b.flatten().to(_wide(b))) for a, b in both]
        dot = sum((torch.dot(a, b) for a, b in wide), torch.zeros(()))
        along = dot / (_norm(list(uphill.values())) ** 2 + TINY)
        for p in clean.keys() | uphill.keys():
            across = clean.get(p, torch.zeros_like(p))
            if p in uphill:
                across = across - (along * uphill[p]).to(across.dtype)
                p.grad = uphill[p] - self.alpha * across
            else:
                p.grad = -self.alpha * across


class _Noise:
    """Where the generators stood, on the CPU and on the parameters' devices."""

    def __init__(self, parameters: Iterator[nn.Parameter]) -> None:
        self._cpu = torch.get_rng_state()
        devices = {p.device for p in parameters}
        self._cuda = {d: torch.cuda.get_rng_state(d) for d in devices if d.type == "cuda"}
        mps = any(d.type == "mps" for d in devices)
        self._mps = torch.mps.get_rng_state() if mps else None

    def again(self) -> None:
        """Set the generators back."""
        torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
        if self._mps is not None:
            torch.mps.set_rng_state(self._mps)


def _check_types(parameters: Iterator[nn.Parameter]) -> None:
    if any(p.dtype == torch.float16 for p in parameters):
        raise Refused(
            "SAM: weights are float16, whose losses would need scaling between its two passes; "
            "float32 weights are right, with bf16 autocast where that is faster"
        )


def _wide(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)


def _norm(values: list[Tensor]) -> Tensor:
    """The l2 norm of all values as one vector, in float32 at the least."""
    wide = [value.to(_wide(value)) for value in values]
    norm: Any = torch.nn.utils.get_total_norm(wide)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def _gather(sums: dict[nn.Parameter, Tensor], parameters: Iterator[nn.Parameter]) -> None:
    """Add the gradients as they are now."""
    for p in parameters:
        if p.grad is not None:
            sums[p] = sums[p].add_(p.grad) if p in sums else p.grad.clone()
