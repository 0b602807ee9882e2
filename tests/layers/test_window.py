"""Windows: geometry against loops over tokens, the gather against rolling, gradients."""

import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ninefold.layers.attention import observe_attention
from ninefold.layers.partition import (
    WindowPolicy,
    cut,
    fit_windows,
    join,
    places,
    relative_index,
    window_mask,
)
from ninefold.layers.window import WindowAttention

CPU = torch.device("cpu")
GEOMETRIES = [
    ((8, 8), (4, 4), (2, 2)),
    ((8, 8), (4, 4), (0, 0)),
    ((13, 19), (4, 4), (2, 2)),
    ((1, 1), (7, 7), (3, 3)),
    ((5, 17), (3, 4), (1, 2)),
    ((40, 3), (4, 4), (2, 2)),
    ((6, 9), (4, 4), (0, 2)),
    ((3, 7, 6), (2, 3, 4), (1, 1, 2)),
    ((4, 6, 6), (4, 3, 3), (0, 1, 1)),
]


def attention(dim: int = 8, window: tuple[int, ...] = (4, 4), heads: int = 2) -> WindowAttention:
    torch.manual_seed(0)
    module = WindowAttention(dim, window, heads)
    torch.nn.init.normal_(module.relative_position_bias_table)
    return module


def loop_over_tokens(
    module: WindowAttention, x: Tensor, window: tuple[int, ...], shift: tuple[int, ...]
) -> Tensor:
    """Each query looks at every place of the rolled and padded map and decides for itself."""
    size, rank, heads = x.shape[1:-1], len(window), module.num_heads
    padded = [-(-length // w) * w for length, w in zip(size, window, strict=True)]
    full = x.new_zeros(x.shape[0], *padded, x.shape[-1])
    full[(slice(None), *(slice(0, length) for length in size))] = x
    q, k, v = module.qkv(full).unflatten(-1, (3, heads, -1)).unbind(-3)
    out = torch.zeros_like(x)
    everywhere = list(itertools.product(*(range(length) for length in padded)))

    def rolled(place: tuple[int, ...]) -> list[int]:
        return [(p - s) % length for p, s, length in zip(place, shift, padded, strict=True)]

    def region(place: tuple[int, ...]) -> list[int]:
        """Which side of the seam that rolling made."""
        return [int(p < s) for p, s in zip(place, shift, strict=True)]

    for query in itertools.product(*(range(length) for length in size)):
        here, keys, rows = rolled(query), [], []
        for key in everywhere:
            there = rolled(key)
            same = [a // w == b // w for a, b, w in zip(here, there, window, strict=True)]
            if all(same) and region(query) == region(key):
                row = 0
                for a in range(rank):
                    reach = module.window[a]
                    row = row * (2 * reach - 1) + here[a] - there[a] + reach - 1
                keys.append(key)
                rows.append(row)
        logits = torch.stack([(q[:, *query] * k[:, *key]).sum(-1) for key in keys], -1)
        logits = logits * module.scale + module.relative_position_bias_table[rows].T
        values = torch.stack([v[:, *key] for key in keys], 2)
        y = (logits.softmax(-1)[..., None] * values).sum(2)
        out[:, *query] = module.proj(y.flatten(1))
    return out


@pytest.mark.parametrize(("size", "window", "shift"), [g for g in GEOMETRIES if g[0] != (40, 3)])
def test_windowed_attention_equals_a_loop_over_tokens(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    module, x = attention(window=window), torch.randn(2, *size, 8)
    with torch.no_grad():
        expected = loop_over_tokens(module, x, window, shift)
        torch.testing.assert_close(module(x, window, shift), expected)


@pytest.mark.parametrize(("size", "window", "shift"), GEOMETRIES)
def test_gathering_equals_padding_rolling_and_cutting(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    x, where = torch.randn(2, *size, 3), places(size, window, shift, CPU)
    windows = cut(x, window, shift)
    assert torch.equal(where.cut(x), windows)
    assert torch.equal(where.join(windows, size), x)
    assert torch.equal(join(windows, size, window, shift), x)


@pytest.mark.parametrize(("size", "window", "shift"), GEOMETRIES)
def test_gathering_equals_padding_and_cutting(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    x, where = torch.randn(2, *size, 3), places(size, window, shift, CPU, "padding")
    windows = cut(x, window, shift, "padding")
    assert torch.equal(where.cut(x), windows)
    assert torch.equal(where.join(windows, size), x)
    assert torch.equal(join(windows, size, window, shift, "padding"), x)
    grid = [-(-n // w) + (s > 0) for n, w, s in zip(size, window, shift, strict=True)]
    assert windows.shape[1] == math.prod(grid), "one window more along each axis that shifts"


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_shifting_by_padding_equals_shifting_by_rolling(data: st.DataObject) -> None:
    """At any size, divisible or not, in any number of axes, under every policy."""
    rank = data.draw(st.integers(1, 3), "axes")
    window = data.draw(st.tuples(*[st.integers(1, 5)] * rank), "window")
    size = data.draw(st.tuples(*[st.integers(1, 11 if rank < 3 else 6)] * rank), "size")
    policy: Any = data.draw(st.sampled_from(["classification", "dense", "torchvision"]), "policy")
    relative, app = data.draw(st.sampled_from([(True, True), (True, False), (False, True)]))
    fitted, shift = fit_windows(size, window, shifted=True, policy=policy)
    rolled = WindowAttention(8, window, 2, relative=relative, app=app)
    padded = WindowAttention(8, window, 2, relative=relative, app=app, shift_impl="padding")
    for parameter in rolled.parameters():
        torch.nn.init.normal_(parameter)
    padded.load_state_dict(rolled.state_dict())
    x = torch.randn(2, *size, 8)
    with torch.no_grad():
        expected = rolled(x, fitted, shift)
        torch.testing.assert_close(padded(x, fitted, shift), expected, atol=1e-5, rtol=1e-5)


def test_without_appearance_the_weights_are_those_of_the_bias_for_every_input() -> None:
    torch.manual_seed(0)
    module, seen = WindowAttention(8, (4, 4), 2, app=False), list[Tensor]()
    assert module.relative_position_bias_table is not None
    torch.nn.init.normal_(module.relative_position_bias_table)
    with torch.no_grad():
        bias = module._bias((4, 4), window_mask((8, 8), (4, 4), (2, 2), CPU))
        assert bias is not None
        x = torch.randn(2, 8, 8, 8)
        v = cut(module.qkv(x)[..., 16:], (4, 4), (2, 2)).unflatten(-1, (2, 4)).transpose(2, 3)
        y = join((bias.softmax(-1) @ v).transpose(2, 3).flatten(3), (8, 8), (4, 4), (2, 2))
        with observe_attention(seen.append):
            torch.testing.assert_close(module(x, (4, 4), (2, 2)), module.proj(y))
            module(torch.randn(2, 8, 8, 8), (4, 4), (2, 2))
        torch.testing.assert_close(module(x, (4, 4), (2, 2)), module.proj(y))  # unobserved
    assert torch.equal(seen[0], seen[1])
    assert seen[0].shape == (2, 4, 2, 16, 16)


def test_without_appearance_queries_and_keys_have_weights_but_no_gradients() -> None:
    module = WindowAttention(8, (4, 4), 2, app=False, attn_drop=0.5)
    whole = WindowAttention(8, (4, 4), 2)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (module, whole)]
    assert shapes[0] == shapes[1]
    module(torch.randn(2, 5, 8, 8), (4, 4), (2, 2)).pow(2).sum().backward()
    assert module.qkv.weight.grad is not None
    assert (module.qkv.weight.grad[:16] == 0).all()
    assert (module.qkv.weight.grad[16:] != 0).any()
    assert module.relative_position_bias_table is not None
    assert module.relative_position_bias_table.grad is not None


@pytest.mark.parametrize(("size", "window", "shift"), [g for g in GEOMETRIES if g[0] != (40, 3)])
def test_without_a_table_only_dot_products_count(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    bare, zero = WindowAttention(8, window, 2, relative=False), attention(window=window)
    torch.nn.init.zeros_(zero.relative_position_bias_table)
    zero.load_state_dict(bare.state_dict(), strict=False)
    assert not [name for name in bare.state_dict() if "table" in name]
    x = torch.randn(2, *size, 8)
    torch.testing.assert_close(bare(x, window, shift), zero(x, window, shift))
    with torch.no_grad():
        torch.testing.assert_close(bare.eval()(x, window, shift), zero(x, window, shift))


@pytest.mark.parametrize(("size", "window", "shift"), GEOMETRIES[1:6:2])
def test_gradients_of_both_gathers_are_exact_twice_over(
    size: tuple[int, ...], window: tuple[int, ...], shift: tuple[int, ...]
) -> None:
    where = places(size, window, shift, CPU)
    x = torch.randn(1, *size, 2, dtype=torch.float64, requires_grad=True)
    windows = torch.randn_like(where.cut(x)).requires_grad_()
    assert torch.autograd.gradcheck(where.cut, (x,))
    assert torch.autograd.gradcheck(lambda w: where.join(w, size), (windows,))
    assert torch.autograd.gradgradcheck(lambda x: where.cut(x).sin(), (x,))


def test_gradients_of_attention_are_those_of_the_plain_path() -> None:
    module, x = attention().double(), torch.randn(1, 5, 6, 8, dtype=torch.float64)
    table = module.relative_position_bias_table

    def of(table: Tensor, x: Tensor) -> Tensor:
        changed = {"relative_position_bias_table": table}
        return torch.func.functional_call(module, changed, (x, (4, 4), (2, 2)))

    inputs = (table.detach().requires_grad_(), x.requires_grad_())
    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)


def test_the_mask_keeps_apart_what_was_not_adjacent() -> None:
    mask = window_mask((8, 8), (4, 4), (2, 2), CPU)
    assert mask.shape == (4, 1, 16, 16)
    assert (mask[0] == 0).all(), "the first window holds one region"
    regions = [len({tuple(row) for row in window.tolist()}) for window in mask[:, 0]]
    assert regions == [1, 2, 2, 4]
    assert mask.diagonal(dim1=-2, dim2=-1).eq(0).all(), "every token sees itself"


def test_smaller_windows_use_the_biases_of_their_offsets() -> None:
    small, whole = relative_index((3, 3), (7, 7), CPU), relative_index((7, 7), (7, 7), CPU)
    corner = torch.tensor([r * 7 + c for r in range(3) for c in range(3)])
    assert torch.equal(small, whole[corner][:, corner])
    assert whole.min() == 0
    assert whole.max() == 13 * 13 - 1


CASES: list[tuple[WindowPolicy, tuple[int, int], tuple[int, int], tuple[int, int]]] = [
    ("classification", (14, 14), (7, 7), (3, 3)),
    ("classification", (7, 14), (7, 7), (0, 0)),
    ("classification", (4, 20), (4, 4), (0, 0)),
    ("dense", (7, 7), (7, 7), (3, 3)),
    ("dense", (4, 20), (7, 7), (3, 3)),
    ("torchvision", (7, 14), (7, 7), (0, 3)),
    ("torchvision", (4, 20), (7, 7), (0, 3)),
]


@pytest.mark.parametrize(("policy", "size", "window", "shift"), CASES)
def test_policies_differ_where_windows_do_not_fit(
    policy: WindowPolicy, size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]
) -> None:
    assert fit_windows(size, (7, 7), shifted=True, policy=policy) == (window, shift)
    assert fit_windows(size, (7, 7), shifted=False, policy=policy) == (window, (0, 0))


def remembered(module: WindowAttention, x: Tensor) -> Tensor:
    return module(x, (4, 4), (2, 2))


def descend(module: WindowAttention) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    remembered(module, torch.randn(1, 8, 8, 8)).pow(2).sum().backward()
    optimizer.step()


def load(module: WindowAttention) -> None:
    module.load_state_dict({k: torch.randn_like(v) for k, v in module.state_dict().items()})


def assign(module: WindowAttention) -> None:
    state = {k: torch.randn_like(v) for k, v in module.state_dict().items()}
    module.load_state_dict(state, assign=True)


def write_behind_autograd(module: WindowAttention) -> None:
    module.relative_position_bias_table.data.normal_()


def convert_twice(module: WindowAttention) -> None:
    module.to(torch.bfloat16).to(torch.float32)


@pytest.mark.parametrize("change", [descend, load, assign, write_behind_autograd, convert_twice])
def test_a_remembered_bias_is_forgotten_when_the_table_changes(change: Any) -> None:
    module, x = attention().eval(), torch.randn(1, 8, 8, 8)
    with torch.inference_mode():
        before = remembered(module, x)
        assert torch.equal(remembered(module, x), before)
    change(module)
    with torch.inference_mode():
        after = remembered(module, x)
    expected = remembered(module, x)  # with gradients, nothing is remembered
    assert not torch.equal(after, before)
    torch.testing.assert_close(after, expected, atol=0, rtol=0)


def test_what_inference_remembers_serves_training() -> None:
    module, x = attention(window=(2, 3)).eval(), torch.randn(1, 4, 7, 8)
    with torch.inference_mode():
        module(x, (2, 3), (1, 1))
    module(x.requires_grad_(), (2, 3), (1, 1)).sum().backward()
    module.requires_grad_(False)
    with torch.inference_mode():
        module(x, (2, 3), (1, 1))
    module(x, (2, 3), (1, 1)).sum().backward()
    assert x.grad is not None


def test_copies_and_pickles_carry_parameters_only() -> None:
    module, x = attention().eval(), torch.randn(1, 8, 8, 8)
    with torch.no_grad():
        expected = remembered(module, x)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert twin._last._entry is None
            assert torch.equal(remembered(twin, x), expected)
    assert len(pickle.dumps(module)) < 2 * sum(4 * p.numel() for p in module.parameters()) + 6000
    names = {name.split(".")[0] for name in module.state_dict()}
    assert names == {"relative_position_bias_table", "qkv", "proj"}


def test_ensembles_map_over_parameters() -> None:
    """`vmap` over stacked weights, as ensembles and per-sample gradients do, equals a loop."""
    members = [WindowAttention(8, (4, 4), 2).eval() for _ in range(3)]
    x = torch.randn(1, 6, 8, 8)
    parameters, buffers = torch.func.stack_module_state(list(members))

    def one(p: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(members[0], (p, b), (x, (4, 4), (2, 2)))

    together = torch.vmap(one)(parameters, buffers)
    torch.testing.assert_close(together, torch.stack([remembered(m, x) for m in members]))


def test_a_map_on_the_meta_device_has_its_shape() -> None:
    module = attention().to("meta")
    out = module(torch.empty(2, 7, 9, 8, device="meta"), (4, 4), (2, 2))
    assert out.shape == (2, 7, 9, 8)
