"""Looks at a finished model: the curvature of its loss."""

from typing import TYPE_CHECKING

from ninefold.core.lazy import lazily

if TYPE_CHECKING:
    from ninefold.explain.hessian import Spectrum as Spectrum
    from ninefold.explain.hessian import hessian_product as hessian_product
    from ninefold.explain.hessian import largest_eigenvalues as largest_eigenvalues

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Spectrum": "hessian",
        "hessian_product": "hessian",
        "largest_eigenvalues": "hessian",
    },
)
