"""Attention: one formula, whatever kernel computes it."""

import pytest
import torch
from torch import Tensor

from ninefold.layers import attention
from ninefold.layers.attention import attend, observe_attention


def by_the_book(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    out = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=q.dtype)
    full = None if bias is None else bias.expand(*q.shape[:-1], k.shape[-2])
    for place in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:-1])).tolist():
        *lead, i = place
        logits = torch.stack([scale * (q[(*lead, i)] * key).sum() for key in k[tuple(lead)]])
        weights = logits if full is None else logits + full[(*lead, i)]
        weights = (weights - weights.max()).exp()
        out[(*lead, i)] = (weights / weights.sum()) @ v[tuple(lead)]
    return out


BIASES = [None, (5, 7), (2, 5, 7), (3, 1, 5, 7), (3, 2, 5, 7), (4, 1, 1, 5, 7), (4, 3, 2, 5, 7)]


@pytest.mark.parametrize("shape", BIASES)
@pytest.mark.parametrize("explicit_keys", [0, 128])
def test_both_kernels_equal_the_formula(
    shape: tuple[int, ...] | None, explicit_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "EXPLICIT_KEYS", explicit_keys)
    q, k, v = torch.randn(4, 3, 2, 5, 8), torch.randn(4, 3, 2, 7, 8), torch.randn(4, 3, 2, 7, 6)
    bias = None if shape is None else torch.randn(shape)
    if bias is not None:
        bias = bias.masked_fill(torch.arange(7) == 3, -torch.inf)
    expected = by_the_book(q, k, v, bias, scale=0.3)
    torch.testing.assert_close(attend(q, k, v, bias, scale=0.3), expected)


@pytest.mark.parametrize("explicit_keys", [0, 128])
@pytest.mark.parametrize("rank", [3, 4])
def test_any_number_of_leading_axes_will_do(
    rank: int, explicit_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "EXPLICIT_KEYS", explicit_keys)
    q, k, v = torch.randn(3, 2, 5, 2, 4).unbind(0) if rank == 3 else torch.randn(3, 4, 2, 5, 4)
    bias = torch.randn(q.shape[-3], q.shape[-2], k.shape[-2])
    torch.testing.assert_close(attend(q, k, v, bias), by_the_book(q, k, v, bias, 4**-0.5))


@pytest.mark.parametrize("explicit_keys", [0, 128])
def test_gradients_reach_queries_keys_values_and_bias(
    explicit_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "EXPLICIT_KEYS", explicit_keys)
    parts = [torch.randn(2, 2, 1, 3, 4, dtype=torch.float64) for _ in range(3)]
    parts.append(torch.randn(2, 1, 3, 3, dtype=torch.float64))
    forbidden = torch.zeros(3, 3, dtype=torch.float64)
    forbidden[0, 1] = -torch.inf
    inputs = [part.requires_grad_() for part in parts]
    assert torch.autograd.gradcheck(lambda q, k, v, b: attend(q, k, v, b + forbidden), inputs)


@pytest.mark.parametrize("keys", [6, 200])
def test_an_observer_sees_probabilities_and_changes_nothing(keys: int) -> None:
    q = torch.randn(2, 3, 4, 8, requires_grad=True)
    k, v = torch.randn(2, 2, 3, keys, 8)
    seen: list[Tensor] = []
    with observe_attention(seen.append):
        watched = attend(q, k, v)
    torch.testing.assert_close(watched, attend(q, k, v))
    assert len(seen) == 1
    assert seen[0].shape == (2, 3, 4, keys)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 3, 4))
    assert seen[0].requires_grad


def test_an_observer_is_gone_after_its_block_even_on_an_error() -> None:
    q = torch.randn(1, 1, 2, 4)
    seen: list[Tensor] = []
    with pytest.raises(KeyError), observe_attention(seen.append):
        raise KeyError
    attend(q, q, q)
    assert not seen


def test_dropout_drops_probabilities_and_keeps_their_mean() -> None:
    torch.manual_seed(0)
    q = torch.randn(1, 1, 4, 8)
    k, v = torch.randn(1, 1, 100, 8), torch.ones(1, 1, 100, 1)
    out = torch.stack([attend(q, k, v, dropout=0.5) for _ in range(200)])
    assert out.std() > 0.01
    torch.testing.assert_close(out.mean(), torch.tensor(1.0), atol=0.02, rtol=0)
