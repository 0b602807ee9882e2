"""Linear layers: every way gives the public functions' numbers, and yields to whoever watches."""

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ninefold.layers import linear as module
from ninefold.layers.linear import Gelu, Way, activate, linear, onednn_works
from ninefold.layers.mlp import Mlp
from ninefold.layers.pieces import in_pieces

ONEDNN = onednn_works(torch.float32)
needs_onednn = pytest.mark.skipif(not ONEDNN, reason="torch without the operators of oneDNN")
DTYPES = {torch.float32: 1e-5, torch.bfloat16: 4e-2}
CASES: list[tuple[Way, torch.dtype]] = [
    ("public", torch.float32), ("widened", torch.bfloat16), ("public", torch.bfloat16),
]  # fmt: skip
CASES += [("onednn", d) for d in DTYPES if onednn_works(d)]


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not ONEDNN:
        pytest.skip("torch without the operators of oneDNN")
    monkeypatch.setattr(module, "way_of", lambda dtype: "onednn")
    yield
    module._packed.clear()


def by_torch(x: Tensor, layer: nn.Linear, gelu: Gelu | None, residual: Tensor | None) -> Tensor:
    y = F.linear(x, layer.weight, layer.bias)
    if gelu is not None:
        y = F.gelu(y, approximate="tanh" if gelu == "tanh" else "none")
    return y if residual is None else y + residual


@pytest.mark.parametrize(("way", "dtype"), CASES)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_way_gives_the_numbers_of_torch(
    way: Way, dtype: torch.dtype, data: st.DataObject
) -> None:
    lead = data.draw(st.lists(st.integers(0, 7), min_size=0, max_size=3))
    width, out = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    bias, grad = (data.draw(st.booleans()) for _ in range(2))
    gelu = data.draw(st.sampled_from([None, *get_args(Gelu)]))
    torch.manual_seed(data.draw(st.integers(0, 99)))
    layer = nn.Linear(width, out, bias=bias, dtype=dtype)
    x = torch.randn(*lead, width, dtype=dtype)
    residual = torch.randn(*lead, out, dtype=dtype) if data.draw(st.booleans()) else None
    before = None if residual is None else residual.clone()
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(grad):
        patch.setattr(module, "way_of", lambda dtype: way)
        y = linear(x, layer, gelu=gelu, residual=residual)
    assert y.dtype == dtype
    if residual is not None:
        assert torch.equal(residual, before), "what is added is left alone"
    tolerance = DTYPES[dtype]
    expected = by_torch(x, layer, gelu, residual)
    torch.testing.assert_close(y, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("way", ["public", "widened"])
def test_gradients_are_those_of_torch_twice_over(way: Way, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "way_of", lambda dtype: way)
    layer, x = nn.Linear(6, 4, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    residual = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    if way == "widened":
        layer, x, residual = layer.float(), x.float(), residual.detach().float().requires_grad_()
    x.requires_grad_()
    ours, theirs = (
        linear(x, layer, gelu="exact", residual=residual),
        by_torch(x, layer, True, residual),
    )
    for y in (ours, theirs):
        inputs = (x, layer.weight, residual)
        first = torch.autograd.grad(y.pow(2).sum(), inputs, create_graph=True)
        second = torch.autograd.grad(first[0].pow(2).sum(), (x, layer.weight))
        if y is ours:
            kept = [*first, *second]
    torch.testing.assert_close(kept, [*first, *second])


def test_autocast_decides_the_precision_of_the_product() -> None:
    layer, x, residual = nn.Linear(16, 8), torch.randn(5, 16), torch.randn(5, 8)
    for grad in (False, True):
        with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16):
            assert linear(x, layer, gelu="exact").dtype == torch.bfloat16
            both = linear(x, layer, residual=residual)
        assert both.dtype == torch.float32
        torch.testing.assert_close(both, residual + layer(x), atol=0.03, rtol=0.03)


def write_behind_autograd(layer: nn.Linear) -> None:
    layer.weight.data.normal_()


def write_bias_behind_autograd(layer: nn.Linear) -> None:
    layer.bias.data.normal_()


def step(layer: nn.Linear) -> None:
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    linear(torch.randn(3, 16), layer).pow(2).sum().backward()
    assert layer not in module._packed, "training frees the packed weights"
    optimizer.step()


def load(layer: nn.Linear) -> None:
    layer.load_state_dict({k: torch.randn_like(v) for k, v in layer.state_dict().items()})


def assign(layer: nn.Linear) -> None:
    state = {k: torch.randn_like(v) for k, v in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


def convert(layer: nn.Linear) -> None:
    layer.to(torch.bfloat16).to(torch.float32)


CHANGES = [write_behind_autograd, write_bias_behind_autograd, step, load, assign, convert]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.usefixtures("packing")
def test_packed_weights_are_forgotten_when_the_weights_change(change: Any) -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    with torch.inference_mode():
        before = linear(x, layer)
        assert layer in module._packed
    change(layer)
    with torch.inference_mode():
        after = linear(x, layer)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, by_torch(x, layer, None, None))


@pytest.mark.usefixtures("packing")
def test_packed_weights_are_no_part_of_a_layer_and_die_with_it() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    with torch.inference_mode():
        expected = linear(x, layer)
        for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert twin not in module._packed
            torch.testing.assert_close(linear(x, twin), expected)
    del twin, layer
    assert not module._packed


@pytest.mark.usefixtures("packing")
def test_threads_share_a_layer() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    expected, wrong = by_torch(x, layer, "exact", None), list[float]()

    def serve() -> None:
        with torch.inference_mode():
            for _ in range(50):
                y = linear(x, layer, gelu="exact")
                wrong.extend([1.0] if (y - expected).abs().max() > 1e-5 else [])

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize("way", ["public", "onednn"])
def test_what_users_do_to_a_layer_holds(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks, parametrizations, subclasses and forward methods of their own."""
    if way == "onednn" and not ONEDNN:
        pytest.skip("torch without the operators of oneDNN")
    monkeypatch.setattr(module, "way_of", lambda dtype: way)
    x = torch.randn(4, 16)
    hooked, normed, patched = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(16, 8)
    hooked.register_forward_hook(lambda module, inputs, output: 2 * output)
    normed = nn.utils.parametrizations.spectral_norm(normed).eval()
    patched.forward = lambda input: input[..., :8]
    with torch.no_grad():
        for layer in (hooked, normed, patched, Doubled(16, 8)):
            assert torch.equal(linear(x, layer, gelu="exact"), F.gelu(layer(x)))


@pytest.mark.usefixtures("packing")
def test_operations_can_be_counted_and_mapped() -> None:
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            linear(x, layer, gelu="exact")
        assert counter.get_total_flops() == 2 * 4 * 16 * 8
        mapped = torch.vmap(lambda row: linear(row, layer))(x)
    torch.testing.assert_close(mapped, layer(x))


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_a_perceptron_in_pieces_is_the_whole(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ninefold.layers.mlp.PIECE", rows * 32 * 4)
    mlp, x, residual = Mlp(8, 32), torch.randn(3, 7, 8), torch.randn(3, 7, 8)
    expected = residual + mlp(x)
    with torch.no_grad():
        torch.testing.assert_close(mlp(x, residual), expected)
        seen: list[tuple[int, ...]] = []
        mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
        torch.testing.assert_close(mlp(x, residual), expected)
    assert seen == [(3, 7, 32)], "who watches sees everything at once"


def test_a_perceptron_takes_any_leading_axes() -> None:
    mlp = Mlp(8, 32)
    for shape in [(8,), (0, 8), (2, 0, 8), (3, 8)]:
        x = torch.randn(shape)
        expected = mlp(x)
        with torch.no_grad():
            torch.testing.assert_close(mlp(x), expected)


@pytest.mark.parametrize("state", ["inference", "gradients", "training", "watched"])
def test_a_batch_is_cut_only_where_nobody_can_tell(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ninefold.layers.pieces.PIECE", 2 * 6 * 4)
    layer, x, sizes = nn.Sequential(nn.Linear(6, 3)).eval(), torch.randn(5, 6), list[int]()
    if state == "watched":
        layer[0].register_forward_hook(lambda *_: None)
    layer.train(state == "training")

    def run(piece: Tensor) -> Tensor:
        sizes.append(len(piece))
        return layer(piece)

    with torch.set_grad_enabled(state == "gradients"):
        torch.testing.assert_close(in_pieces(run, x, layer), layer(x))
    assert sizes == ([2, 2, 1] if state == "inference" else [5])


@pytest.mark.parametrize("gelu", ["exact", "tanh"])
@pytest.mark.parametrize("learns", [False, True])
def test_a_perceptron_across_tokens_is_that_of_the_transposed(gelu: Gelu, learns: bool) -> None:
    mlp, x, residual = Mlp(7, 12, gelu=gelu), torch.randn(3, 7, 8), torch.randn(3, 7, 8)
    x.requires_grad_(learns)
    with torch.set_grad_enabled(learns):
        expected = residual + mlp(x.mT).mT
        found = mlp.across(x, residual)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(mlp.across(x), mlp(x.mT).mT)
    if learns:
        inputs = [x, *mlp.parameters()]
        for a, b in zip(
            torch.autograd.grad(found.square().sum(), inputs),
            torch.autograd.grad(expected.square().sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    seen: list[tuple[int, ...]] = []
    mlp.fc1.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    mlp.across(x)
    assert seen == [(3, 8, 12)], "who watches a layer sees it called"


def test_the_tanh_gelu_by_a_sigmoid_is_that_of_torch() -> None:
    values = torch.cat([torch.linspace(-30, 30, 6001), torch.tensor([-1e4, 1e4, 0.0])])
    expected = F.gelu(values.double(), approximate="tanh")
    with torch.no_grad():
        found = activate(values.clone(), "tanh")
    torch.testing.assert_close(found.double(), expected, atol=4e-7, rtol=2e-6)
