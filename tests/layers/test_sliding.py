"""Sliding windows against a loop over tokens and their neighbours."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ninefold.core.errors import Refused
from ninefold.layers.attention import observe_attention
from ninefold.layers.sliding import SlidingAttention
from ninefold.layers.window import WindowAttention


def sliding(window: tuple[int, ...], **options: Any) -> SlidingAttention:
    torch.manual_seed(0)
    module = SlidingAttention(8, window, 2, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module


def loop_over_neighbours(module: SlidingAttention, x: Tensor) -> Tensor:
    """Each query looks around itself, at what is on the map, with the bias of each offset."""
    size, window, heads = x.shape[1:-1], module.window, module.num_heads
    q, k, v = module.qkv(x).unflatten(-1, (3, heads, -1)).unbind(-3)
    out = torch.zeros_like(x)
    for query in itertools.product(*map(range, size)):
        logits, values = [], []
        for step in itertools.product(*(range(-(w // 2), w // 2 + 1) for w in window)):
            key = tuple(p + s for p, s in zip(query, step, strict=True))
            if not all(0 <= p < n for p, n in zip(key, size, strict=True)):
                continue
            logit = torch.zeros(len(x), heads)
            if module.app:
                logit = (q[:, *query] * k[:, *key]).sum(-1) * module.scale
            if module.relative_position_bias_table is not None:
                row = 0  # query minus key is minus the step
                for s, w in zip(step, window, strict=True):
                    row = row * (2 * w - 1) - s + w - 1
                logit = logit + module.relative_position_bias_table[row]
            logits.append(logit)
            values.append(v[:, *key])
        weights = torch.stack(logits).softmax(0)
        out[:, *query] = module.proj((weights[..., None] * torch.stack(values)).sum(0).flatten(1))
    return out


CASES = [
    ((6, 7), (3, 3)),
    ((9, 4), (3, 5)),
    ((3, 3), (3, 3)),
    ((2, 8), (5, 3)),
    ((1, 1), (7, 7)),
    ((5, 6), (1, 1)),
    ((11,), (5,)),
    ((3, 4, 5), (3, 1, 3)),
]


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize(("size", "window"), CASES)
def test_sliding_attention_equals_a_loop_over_neighbours(
    size: tuple[int, ...], window: tuple[int, ...], naive: bool
) -> None:
    x = torch.randn(2, *size, 8)
    for options in ({}, {"app": False}, {"relative": False}):
        module = sliding(window, naive=naive, **options)
        with torch.no_grad():
            torch.testing.assert_close(module(x), loop_over_neighbours(module, x))


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_tiles_of_any_size_compute_the_same(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    window = data.draw(st.tuples(*[st.sampled_from([1, 3, 5])] * rank), "window")
    size = data.draw(st.tuples(*[st.integers(1, 12 if rank < 3 else 5)] * rank), "size")
    module, x = sliding(window).double(), torch.randn(2, *size, 8, dtype=torch.float64)
    module.tile = data.draw(st.tuples(*[st.integers(1, 6)] * rank), "tile")
    x.requires_grad_()
    y = module(x)
    naive = sliding(window, naive=True).double()
    torch.testing.assert_close(y, naive(x))
    ours, theirs = (
        torch.autograd.grad(m(x).square().sum(), [x, *m.parameters()]) for m in (module, naive)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_a_window_over_the_whole_map_is_that_of_its_middle() -> None:
    """On a map as large as its window, a sliding window's middle token sees what a plain one does,
    with the same biases."""
    module, plain = sliding((5, 5)), WindowAttention(8, (5, 5), 2)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(2, 5, 5, 8)
    torch.testing.assert_close(module(x)[:, 2, 2], plain(x, (5, 5), (0, 0))[:, 2, 2])


def test_only_offsets_within_half_a_window_have_gradients() -> None:
    module = sliding((5, 3))
    module(torch.randn(1, 9, 9, 8)).square().sum().backward()
    assert module.relative_position_bias_table is not None
    gradient = module.relative_position_bias_table.grad
    assert gradient is not None
    used = (gradient != 0).all(-1).view(9, 5)
    assert used[2:7, 1:4].all()
    assert used.sum() == 5 * 3


def test_dropout_of_probabilities_acts_in_training_only() -> None:
    module, x = sliding((3, 3), attn_drop=0.5), torch.randn(1, 5, 5, 8)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_observed_probabilities_of_each_query_sum_to_one() -> None:
    module, seen = sliding((3, 3)), list[Tensor]()
    with observe_attention(seen.append):
        module(torch.randn(2, 6, 7, 8))
    assert seen[0].shape == (2, 6, 2, 9, 25)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 6, 2, 9))
    assert ((seen[0] > 0).sum(-1) <= 9).all()


def test_windows_without_a_middle_are_refused() -> None:
    with pytest.raises(Refused, match=r"window of 4 x 3 has no token in its middle.*5 x 3"):
        SlidingAttention(8, (4, 3), 2)
