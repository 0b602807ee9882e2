"""Branches with other scales forwards than backwards, against the formulas."""

import pytest
import torch

from ninefold.layers.shake import ShakeDrop, ShakeShake, shake_drop, shake_shake


def test_mixing_is_by_alpha_forwards_and_by_beta_backwards() -> None:
    x1, x2 = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64).requires_grad_().unbind()
    alpha, beta = torch.rand(2, 3)
    out = shake_shake(x1, x2, alpha, beta)
    up = torch.randn_like(out)
    g1, g2 = torch.autograd.grad(out, (x1, x2), up)
    for i in range(3):
        a, b = float(alpha[i]), float(beta[i])
        torch.testing.assert_close(out[i], a * x1[i] + (1 - a) * x2[i])
        torch.testing.assert_close(g1[i], b * up[i])
        torch.testing.assert_close(g2[i], (1 - b) * up[i])


def test_a_branch_that_is_kept_passes_to_the_bit_and_others_are_scaled() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    alpha, beta = torch.tensor([-0.5, 0.7, 0.2, -1.0]), torch.tensor([0.3, 0.0, 0.9, 0.1])
    kept = torch.tensor([True, False, True, False])
    out = shake_drop(x, alpha, beta, kept)
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out))
    assert torch.equal(out[kept], x[kept])
    torch.testing.assert_close(out[~kept], alpha[~kept, None] * x[~kept])
    assert gradient[:, 0].tolist() == pytest.approx([1.0, 0.0, 1.0, 0.1])


def test_evaluation_is_the_mean_of_training() -> None:
    torch.manual_seed(0)
    x1, x2 = torch.full((40_000, 1), 2.0), torch.full((40_000, 1), 6.0)
    mix, drop = ShakeShake(), ShakeDrop(0.3, per_sample=True)
    assert float(mix(x1, x2).mean()) == pytest.approx(4.0, abs=0.02)
    assert float(drop(x1).mean()) == pytest.approx(1.4, abs=0.02)
    assert set(mix.eval()(x1, x2).unique().tolist()) == {4.0}
    assert drop.eval()(x1).unique().tolist() == pytest.approx([1.4])


def test_one_gate_holds_for_the_batch_unless_each_sample_has_its_own() -> None:
    torch.manual_seed(0)
    x = torch.ones(50, 1)
    whole = [float((ShakeDrop(0.5)(x) == 1).float().mean()) for _ in range(40)]
    assert set(whole) == {0.0, 1.0}
    assert 0 < float((ShakeDrop(0.5, per_sample=True)(x) == 1).float().mean()) < 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_of_values_is_kept(dtype: torch.dtype) -> None:
    x = torch.randn(4, 3, dtype=dtype)
    assert ShakeDrop(0.9)(x).dtype == dtype
    assert ShakeShake()(x, x).dtype == dtype
