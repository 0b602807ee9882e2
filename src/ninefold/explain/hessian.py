"""The largest eigenvalues of a loss's Hessian, by Lanczos' method on Hessian-vector products.

Source: Lanczos 1950; reorthogonalisation and error bound as in Parlett 1998, "The Symmetric
Eigenvalue Problem", chapter 13; products by differentiating twice, Pearlmutter 1994.
Departs: the SAM paper takes a power iteration, which needs more products, finds an eigenvalue of
largest magnitude, whatever its sign, and does not say how far off it is.
Shapes: n parameters in all, m products so far.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

Product = Callable[[Float[Tensor, " n"]], Float[Tensor, " n"]]
"""From a vector to a symmetric matrix times it."""


@dataclass(frozen=True)
class Spectrum:
    """The upper end of a symmetric matrix's spectrum.

    Args:
        values: Eigenvalues, the largest first. One that is there several times is found once.
        errors: By how much each may be off: some eigenvalue lies so near.
        products: Products with a vector that were taken.
        converged: Whether all errors are within the tolerance.
    """

    values: tuple[float, ...]
    errors: tuple[float, ...]
    products: int
    converged: bool


@torch.no_grad()
def largest_eigenvalues(
    product: Product,
    start: Float[Tensor, " n"],
    *,
    count: int = 1,
    steps: int = 50,
    tolerance: float = 1e-3,
) -> Spectrum:
    """The `count` largest eigenvalues of a symmetric matrix, of a smaller one all.

    Every new vector is made orthogonal to all before it, twice, so no rounding brings an eigenvalue
    a second time. They are kept: `steps` times the memory of the parameters, at the most.

    Args:
        product: The matrix, as its product with a vector.
        start: Where to begin; random values reach every eigenvalue. Its precision is what all is
            computed in.
        steps: Products at the most.
        tolerance: It ends when each error is at most so much of its eigenvalue.
    """
    assert 1 <= count <= steps, (count, steps)
    count = min(count, len(start))
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        rest = _orthogonal(image, basis)
        length, size = float(rest.norm()), float(image.norm())
        if length <= 1e-6 * size or not size:
            length = 0.0  # what was reached so far is all that the start reaches
        values, errors = _ritz(diagonal, beside, length)
        top, off = values[:count], errors[:count]
        enough = len(values) >= count
        fits = all(e <= tolerance * abs(v) for v, e in zip(top, off, strict=True))
        if enough and (fits or len(basis) >= min(steps, len(start))):
            return Spectrum(tuple(top), tuple(off), len(basis), fits)
        if not length:
            fresh = torch.randn(len(start), generator=torch.Generator().manual_seed(len(basis)))
            rest = _orthogonal(fresh.to(start), basis)
        beside.append(length)
        basis.append(rest / rest.norm())


def _orthogonal(vector: Tensor, basis: Sequence[Tensor]) -> Tensor:
    for _ in range(2):
        for other in basis:
            vector = vector.sub(other, alpha=float(vector @ other))
    return vector


def _ritz(
    diagonal: Sequence[float], beside: Sequence[float], length: float
) -> tuple[list[float], list[float]]:
    """Eigenvalues of the tridiagonal matrix, the largest first, and the bounds of their errors."""
    along = torch.tensor(beside, dtype=torch.float64)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    matrix = matrix + torch.diag(along, 1) + torch.diag(along, -1)
    values, vectors = torch.linalg.eigh(matrix)
    errors = length * vectors[-1].abs()
    return values.flip(0).tolist(), errors.flip(0).tolist()


def hessian_product(
    losses: Callable[[], Iterable[tuple[Float[Tensor, ""], float]]],
    parameters: Sequence[nn.Parameter],
) -> Product:
    """The Hessian of a weighted sum of losses by some of a model's parameters.

    Attention is computed without fused kernels, which cannot be differentiated twice.

    Args:
        losses: Computes them anew, one after the other, each with its weight.
        parameters: What is differentiated by; of a part of the model, its diagonal block.
    """
    sizes = [p.numel() for p in parameters]

    def product(vector: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        total = torch.zeros_like(vector)
        along = [v.view_as(p) for v, p in zip(vector.split(sizes), parameters, strict=True)]
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            for loss, weight in losses():
                first = _derivatives(loss, parameters, again=True)
                slope = torch.stack([(g * v).sum() for g, v in zip(first, along, strict=True)])
                if not slope.requires_grad:
                    continue  # the loss is linear in them
                second = _derivatives(slope.sum(), parameters, again=False)
                parts = [g.reshape(-1) for g in second]
                total.add_(torch.cat(parts).to(total), alpha=weight)
        return total

    return product


def _derivatives(value: Tensor, parameters: Sequence[nn.Parameter], *, again: bool) -> list[Tensor]:
    """Zeros for what has no influence."""
    found = torch.autograd.grad(
        value, parameters, create_graph=again, allow_unused=True, materialize_grads=True
    )
    return list(found)
