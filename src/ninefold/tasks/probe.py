"""Probes of frozen features: a linear classifier, and votes of the nearest neighbours.

Features stay where they are and in one copy; a part of the rows at a time is brought to the device.
Shapes: n training rows, m queries, d features, c classes, k neighbours.
"""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

ROWS = 65_536
"""Training rows on the device at a time."""
QUERIES = 1024
"""Queries likewise; a block of similarities has `ROWS * QUERIES` numbers, 256 MiB."""
ITERATIONS = 500
"""Of L-BFGS for one strength of regularisation, at the most."""
TEMPERATURE = 0.07


@dataclass(frozen=True)
class Linear:
    """A linear classifier of features as they are: the standardisation is folded into it.

    Args:
        weight: One row a class.
        bias: One number a class.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]

    def logits(self, x: Float[Tensor, "m d"]) -> Float[Tensor, "m c"]:
        """Of any rows, a part at a time."""
        device = self.weight.device
        return torch.cat([F.linear(rows.to(device), self.weight, self.bias).cpu()
                          for rows in x.split(ROWS)])  # fmt: skip


def fit_linear(
    x: Float[Tensor, "n d"],
    y: Integer[Tensor, " n"] | Integer[Tensor, "n c"],
    *,
    num_classes: int,
    strengths: Sequence[float],
    device: torch.device,
) -> Iterator[tuple[float, Linear]]:
    """Logistic regression on standardised features, once a strength, each from the one before.

    Minimises the mean cross-entropy (with several labels a sample: the sum over classes of the
    yes-or-no cross-entropies, so each class on its own) plus `strength / 2 * |weight|^2`, by
    full-batch L-BFGS from zero: nothing is drawn. The bias is not regularised. scikit-learn's `C`
    is `1 / (n * strength)`.

    Args:
        x: Features, float32.
        y: Class ids, or for several labels 0 and 1 a class.
        strengths: Of the regularisation; the strongest first is the quickest.

    Source: Liu and Nocedal 1989 (L-BFGS); torch.optim.LBFGS with a strong-Wolfe search.
    """
    mean, std = _moments(x)
    mean, std = mean.to(device), std.to(device)
    weight = torch.zeros(num_classes, x.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(num_classes, device=device, requires_grad=True)
    for strength in strengths:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=ITERATIONS, history_size=20, tolerance_grad=1e-5,
            line_search_fn="strong_wolfe",
        )  # fmt: skip

        def closure(strength: float = strength, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            penalty = 0.5 * strength * weight.square().sum()
            penalty.backward()
            total = penalty.detach()
            for rows, truth in zip(x.split(ROWS), y.split(ROWS), strict=True):
                z = (rows.to(device) - mean) / std
                loss = _cross_entropy(F.linear(z, weight, bias), truth.to(device)) / len(x)
                loss.backward()
                total += loss.detach()
            return total

        with torch.enable_grad():
            optimizer.step(closure)
        folded = weight.detach() / std
        yield strength, Linear(folded, bias.detach() - folded @ mean)


def _cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    if truth.ndim == 1:
        return F.cross_entropy(logits, truth, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="sum")


def _moments(x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and standard deviation of each feature; 1 for the latter where it is constant."""
    parts = x.split(ROWS)
    mean = torch.stack([part.double().sum(dim=0) for part in parts]).sum(dim=0) / len(x)
    squares = torch.stack([(part.double() - mean).square().sum(dim=0) for part in parts])
    std = (squares.sum(dim=0) / len(x)).sqrt()
    constant = std <= 1e-6 * mean.abs().clamp(min=1e-6)
    return mean.float(), std.masked_fill(constant, 1.0).float()


def neighbours(
    queries: Float[Tensor, "m d"], x: Float[Tensor, "n d"], *, k: int, device: torch.device
) -> tuple[Float[Tensor, "m k"], Integer[Tensor, "m k"]]:
    """Cosines and rows of the `k` nearest of `x` to every query, the nearest first; `k <= n`."""
    assert 1 <= k <= len(x), (k, len(x))
    found = [_nearest(F.normalize(part.to(device)), x, k) for part in queries.split(QUERIES)]
    return torch.cat([cosine for cosine, _ in found]), torch.cat([row for _, row in found])


def _nearest(queries: Tensor, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    best = queries.new_empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for start in range(0, len(x), ROWS):
        part = x[start : start + ROWS].to(queries.device)
        cosine = queries @ F.normalize(part).T
        near = cosine.topk(min(k, len(part)), dim=1)
        best, rows = torch.cat([best, near.values], 1), torch.cat([rows, near.indices + start], 1)
        kept = best.topk(min(k, best.shape[1]), dim=1)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return best.cpu(), rows.cpu()


def votes(
    cosine: Float[Tensor, "m k"],
    labels: Integer[Tensor, "m k"] | Integer[Tensor, "m k c"],
    *,
    num_classes: int,
    temperature: float = TEMPERATURE,
) -> Float[Tensor, "m c"]:
    """Share of the neighbours' votes that each class has; a neighbour's is `exp(cosine / t)`.

    Args:
        labels: Of the neighbours: class ids, or for several labels 0 and 1 a class.

    Source: Wu et al. 2018, arXiv 1805.01978, section 3.4; temperature 0.07 as there and in DINO.
    Departs: votes are divided by their sum, which changes no order.
    """
    weight = (cosine / temperature).softmax(dim=1)
    if labels.ndim == 3:
        return (weight[:, :, None] * labels).sum(dim=1)
    return weight.new_zeros(len(weight), num_classes).scatter_add_(1, labels, weight)
