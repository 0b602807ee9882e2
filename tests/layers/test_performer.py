"""Performer attention: what it approximates, and its numerics."""

from math import ceil, log

import pytest
import torch
from torch import Tensor

from ninefold.layers.performer import PerformerAttention, favor, orthogonal_features


def features_and_sums(q: Tensor, k: Tensor, v: Tensor, features: Tensor, scale: float) -> Tensor:
    """The paper's form, written out: positive features of either side, then two sums."""

    def phi(x: Tensor) -> Tensor:
        x = x * scale**0.5
        rows = [[(w @ row - row @ row / 2).exp() for w in features] for row in x]
        return torch.tensor(rows, dtype=x.dtype) / len(features) ** 0.5

    a, b = phi(q), phi(k)
    out = torch.zeros(len(q), v.shape[-1], dtype=v.dtype)
    for i in range(len(q)):
        weights = torch.stack([a[i] @ b[j] for j in range(len(k))])
        out[i] = (weights[:, None] * v).sum(0) / weights.sum()
    return out


def sample(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_it_equals_the_ratio_of_sums_over_positive_features() -> None:
    torch.manual_seed(0)
    q, k, v = sample(5, 4), sample(7, 4), sample(7, 3)
    features = orthogonal_features(9, 4).double()
    expected = features_and_sums(q, k, v, features, 0.5)
    torch.testing.assert_close(favor(q, k, v, features, scale=0.5), expected)


def test_the_error_to_softmax_attention_falls_as_features_grow() -> None:
    torch.manual_seed(0)
    q, k, v = sample(20, 8) / 2, sample(30, 8) / 2, sample(30, 8)
    exact = (q @ k.T * 8**-0.5).softmax(-1) @ v
    errors = []
    for count in (32, 512, 8192):
        draws = [orthogonal_features(count, 8).double() for _ in range(10)]
        squares = [(favor(q, k, v, f, scale=8**-0.5) - exact).square().mean() for f in draws]
        errors.append(torch.stack(squares).mean().sqrt().item())
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    assert errors[2] < 0.05 * exact.std()


def test_features_are_orthogonal_in_blocks_with_the_lengths_of_normal_vectors() -> None:
    torch.manual_seed(0)
    features = orthogonal_features(111, 32)
    assert features.shape == (111, 32)
    first = features[:32] / features[:32].norm(dim=1, keepdim=True)
    torch.testing.assert_close(first @ first.T, torch.eye(32), atol=1e-5, rtol=0)
    many = orthogonal_features(3200, 32)
    assert many.square().mean().item() == pytest.approx(1, abs=0.03)
    small = orthogonal_features(8000, 4)
    torch.testing.assert_close(small.mean(0), torch.zeros(4), atol=0.05, rtol=0)
    assert small[::4].mean(0).abs().max() < 0.1, "nor does any place in a block lean"


def test_no_input_overflows() -> None:
    """Logits in the thousands: the plain form would divide nothing by nothing."""
    torch.manual_seed(0)
    features = orthogonal_features(111, 32)
    q, k, v = (torch.randn(3, 50, 32) * s for s in (300, 300, 1))
    leaves = [t.requires_grad_() for t in (q, k, v)]
    y = favor(*leaves, features, scale=32**-0.5)
    y.sum().backward()
    assert y.isfinite().all()
    assert y.abs().max() <= v.abs().max() + 1e-4, "outputs are averages of values"
    assert all(t.grad is not None and bool(t.grad.isfinite().all()) for t in leaves)


@pytest.mark.parametrize("size", [(5,), (4, 7), (2, 3, 4)])
def test_a_layer_serves_maps_of_any_number_of_axes(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    module, x = PerformerAttention(64, 2), torch.randn(2, *size, 64)
    assert module.features.shape == (ceil(32 * log(32)), 32) == (111, 32)
    q, k, v = module.qkv(x.flatten(1, -2)).unflatten(-1, (3, 2, 32)).unbind(2)
    heads = [
        favor(q[:, :, h], k[:, :, h], v[:, :, h], module.features, scale=32**-0.5) for h in (0, 1)
    ]
    torch.testing.assert_close(module(x), module.proj(torch.cat(heads, -1)).unflatten(1, size))
    module(x).sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_checkpoints_keep_the_features() -> None:
    a, b, x = PerformerAttention(8, 2), PerformerAttention(8, 2), torch.randn(1, 3, 3, 8)
    assert not torch.equal(a.features, b.features)
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))


def test_autocast_leaves_the_exponents_in_float32() -> None:
    torch.manual_seed(0)
    module, x = PerformerAttention(64, 2), torch.randn(2, 6, 6, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)
    assert (y - module(x)).abs().max() < 0.05
