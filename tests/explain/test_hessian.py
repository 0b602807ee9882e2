"""Eigenvalues of the Hessian: against dense matrices, explicit Hessians, and curvlinops."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ninefold.explain.hessian import hessian_product, largest_eigenvalues
from ninefold.models.create import create_model

Losses = Any


def symmetric(values: list[float], seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64)).Q
    return turn @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ turn.T


def net() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, torch.randn(12, 4, dtype=torch.float64), torch.arange(12) % 3


def losses_of(model: nn.Module, x: Tensor, y: Tensor, parts: int = 1) -> Losses:
    def losses() -> Iterator[tuple[Tensor, float]]:
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            yield F.cross_entropy(model(a), b), len(a) / len(x)

    return losses


def explicit(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    names = [name for name, _ in model.named_parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])
    sizes = [p.numel() for p in model.parameters()]
    forms = [p.shape for p in model.parameters()]

    def loss(vector: Tensor) -> Tensor:
        pieces = [v.view(s) for v, s in zip(vector.split(sizes), forms, strict=True)]
        values = dict(zip(names, pieces, strict=True))
        return F.cross_entropy(torch.func.functional_call(model, values, (x,)), y)

    found = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(found, Tensor)
    return found


def start(model: nn.Module) -> Tensor:
    count = sum(p.numel() for p in model.parameters())
    draws = torch.Generator().manual_seed(0)
    return torch.randn(count, generator=draws).to(next(model.parameters()).dtype)


@pytest.mark.parametrize("seed", range(5))
def test_the_largest_values_of_any_symmetric_matrix_are_found_within_their_errors(
    seed: int,
) -> None:
    torch.manual_seed(seed)
    a = torch.randn(60, 60, dtype=torch.float64)
    a = a + a.T
    found = largest_eigenvalues(lambda v: a @ v, torch.randn(60).double(), count=3, steps=60)
    truth = torch.linalg.eigvalsh(a)
    for value, error, true in zip(found.values, found.errors, truth.flip(0), strict=False):
        assert abs(value - float(true)) <= error + 1e-9
        assert error <= 1e-3 * abs(value)
    assert found.converged
    assert found.products < 60


def test_negative_and_small_spectra_have_a_largest_value_too() -> None:
    for values in ([-3.0, -2.0, -1.0], [0.0, 0.0], [5.0]):
        a = symmetric(values)
        found = largest_eigenvalues(lambda v, a=a: a @ v, torch.ones(len(values)).double())
        assert found.values[0] == pytest.approx(max(values), abs=1e-9)


def test_more_values_than_the_start_reaches_are_found_by_a_fresh_one() -> None:
    a = symmetric([4.0, 2.0, 2.0, 1.0])
    begin = torch.linalg.eigh(a).eigenvectors[:, -1]
    found = largest_eigenvalues(lambda v: a @ v, begin, count=3)
    assert found.values == pytest.approx((4.0, 2.0, 1.0), abs=1e-6) or found.values[:2] == (
        pytest.approx((4.0, 2.0), abs=1e-6)
    )


def test_too_few_products_are_told() -> None:
    a = symmetric([float(i) for i in range(40)])
    found = largest_eigenvalues(lambda v: a @ v, torch.ones(40).double(), steps=4)
    assert not found.converged
    assert found.products == 4


@pytest.mark.parametrize("parts", [1, 3])
def test_products_are_those_of_the_explicit_hessian(parts: int) -> None:
    model, x, y = net()
    product = hessian_product(losses_of(model, x, y, parts), list(model.parameters()))
    dense = explicit(model, x, y)
    for _ in range(3):
        v = torch.randn(len(dense), dtype=torch.float64)
        torch.testing.assert_close(product(v), dense @ v)
    found = largest_eigenvalues(product, start(model), count=4, tolerance=1e-6)
    truth = torch.linalg.eigvalsh(dense).flip(0)[:4]
    torch.testing.assert_close(torch.tensor(found.values).double(), truth, rtol=1e-6, atol=1e-9)


def test_a_part_of_the_model_has_its_diagonal_block() -> None:
    model, x, y = net()
    last = list(model[2].parameters())  # type: ignore[index]
    count = sum(p.numel() for p in last)
    found = largest_eigenvalues(
        hessian_product(losses_of(model, x, y), last), torch.ones(count).double(), tolerance=1e-8
    )
    block = explicit(model, x, y)[-count:, -count:]
    assert found.values[0] == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-6)


def test_a_loss_that_is_linear_and_a_parameter_without_influence_have_no_curvature() -> None:
    w, idle = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    product = hessian_product(lambda: [(w.sum(), 1.0)], [w, idle])
    assert product(torch.ones(5)).tolist() == [0.0] * 5
    assert largest_eigenvalues(product, torch.ones(5)).values == (0.0,)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # of its imports
def test_the_hessian_and_its_eigenvalues_are_those_of_curvlinops() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    linalg = pytest.importorskip("scipy.sparse.linalg")
    model, x, y = net()
    oracle = curvlinops.HessianLinearOperator(
        model, nn.CrossEntropyLoss(), list(model.parameters()), [(x[:8], y[:8]), (x[8:], y[8:])]
    )
    product = hessian_product(losses_of(model, x, y, 3), list(model.parameters()))
    v = torch.randn(oracle.shape[1], dtype=torch.float64)
    torch.testing.assert_close(product(v), oracle @ v, rtol=1e-6, atol=1e-9)
    expected = linalg.eigsh(oracle.to_scipy(), k=2, which="LA", return_eigenvectors=False)
    found = largest_eigenvalues(product, start(model), count=2, tolerance=1e-6)
    assert found.values == pytest.approx(sorted(expected, reverse=True), rel=1e-6)


TINY = {
    "vit_atto": {"image_size": 96, "dim": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16},
    "mixer_atto": {"image_size": 16, "dim": 8, "depth": 1},
    "resnet_atto": {"blocks": (1, 1), "width_factor": 0.125, "image_size": 32},
    "swin_atto": {
        "image_size": 40, "embed_dim": 8, "depths": (2, 1), "num_heads": (1, 2), "drop_path": 0.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_every_family_is_differentiated_twice(name: str) -> None:
    """Against differences of gradients. The ViT has 145 tokens, for which its attention would be
    fused; Swin's windows are padded and shifted."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, **TINY[name]).double().eval()  # type: ignore[arg-type]
    for p in model.parameters():
        nn.init.normal_(p, std=0.2)
    size = int(TINY[name]["image_size"])  # type: ignore[call-overload]
    x, y = torch.randn(4, 3, size, size).double(), torch.arange(4) % 3
    parameters = list(model.parameters())
    losses = losses_of(model, x, y)
    v = start(model)
    found = hessian_product(losses, parameters)(v)

    def slope(step: float) -> Tensor:
        pieces = v.split([p.numel() for p in parameters])
        with torch.no_grad():
            for p, piece in zip(parameters, pieces, strict=True):
                p.add_(piece.view_as(p), alpha=step)
        ((loss, _),) = losses()
        flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
        with torch.no_grad():
            for p, piece in zip(parameters, pieces, strict=True):
                p.sub_(piece.view_as(p), alpha=step)
        return flat

    near = (slope(1e-5) - slope(-1e-5)) / 2e-5
    torch.testing.assert_close(found, near, rtol=1e-3, atol=1e-4 * float(near.abs().max()))
