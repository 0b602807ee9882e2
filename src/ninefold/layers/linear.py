"""Linear layers with what surrounds them, and the one place that chooses what computes them.

Three ways to the same numbers:

* `public`: torch's own functions; always possible, and always used where gradients are needed in a
  precision that the processor knows, on other devices, in compiled and exported code, and wherever
  somebody watches or replaces a layer (hooks, parametrizations, subclasses, `vmap`, FLOP counters);
* `onednn`: oneDNN with weights packed once, and GELU and residual as parts of the product;
* `widened`: bfloat16 computed in float32, for processors without bfloat16 products, where the
  public functions take ten times as long.

The choice is a rule about the processor and not a measurement, so that two processes on one machine
give the same bits. `NINEFOLD_LINEAR=public` in the environment turns the other two off: packed
weights take the memory of the weights once more.

Shapes: c input channels, d output channels, `*b` any leading axes.
"""

import os
from contextlib import suppress
from functools import lru_cache
from typing import Literal
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules import module as _modules

from ninefold.core.errors import Refused

Way = Literal["public", "onednn", "widened"]
Gelu = Literal["exact", "tanh"]
"""By the error function, or its approximation by the hyperbolic tangent, flax's GELU."""
_APPROXIMATE = {"exact": "none", "tanh": "tanh"}
SAMPLE = 61
"""Values by which a change of a weight behind autograd's back (`weight.data`) is noticed."""


def linear(
    x: Float[Tensor, "*b c"],
    layer: nn.Module,
    *,
    gelu: Gelu | None = None,
    residual: Float[Tensor, "*b d"] | None = None,
) -> Float[Tensor, "*b d"]:
    """`residual + gelu(layer(x))`, by the fastest way that gives these numbers.

    Args:
        x: Any precision; under autocast the product has that of autocast.
        layer: An `nn.Linear`, or what a user put in its place, which is then called.
        gelu: Which GELU is applied, if any.
        residual: Added last; it is not changed.

    Departs: ways differ by rounding (float32: 1e-6 of the scale of the output). A change of a
    weight through `weight.data` in fewer than one value in sixty may go unnoticed by packed weights
    until the layer is trained, loaded or converted.
    """
    if not (is_plain(x, layer) and isinstance(layer, nn.Linear)):
        y = layer(x)
        y = _gelu(y, gelu)
        return y if residual is None else residual + y
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    way = way_of(dtype)
    if way == "widened":
        return _widened(x, layer, dtype, gelu, residual)
    learns = torch.is_grad_enabled()
    if way == "onednn" and learns:
        _packed.pop(layer, None)  # it is about to change
    elif way == "onednn" and (packed := _pack(layer, dtype)) is not None:
        return _onednn(x.to(dtype), packed, gelu, residual)
    y = F.linear(x, layer.weight, layer.bias)
    if learns:
        y = _gelu(y, gelu)
        return y if residual is None else residual + y
    return _finish(y, gelu, residual)


def project(
    x: Float[Tensor, "*b c"],
    layer: nn.Module,
    drop: nn.Dropout,
    residual: Float[Tensor, "*b d"] | None,
) -> Float[Tensor, "*b d"]:
    """`residual + drop(layer(x))`, as one step where nothing is dropped and nobody watches."""
    if not (drop.training and drop.p) and not is_watched(drop):
        return linear(x, layer, residual=residual)
    y = drop(linear(x, layer))
    return y if residual is None else residual + y


def is_watched(*modules: nn.Module) -> bool:
    """Whether any of these has hooks: then it must be called, once, with the whole batch."""
    everywhere = _modules._global_forward_hooks or _modules._global_forward_pre_hooks
    return bool(everywhere) or any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
        for m in modules
    )


def is_eager(x: Tensor) -> bool:
    """Whether this is a plain tensor on the CPU, and nothing traces, maps or counts operations."""
    return (
        not torch.compiler.is_compiling()
        and type(x) is Tensor
        and x.device.type == "cpu"
        and torch._C._functorch.maybe_current_level() is None  # pyright: ignore[reportAttributeAccessIssue]: no public way
        and not torch._C._len_torch_dispatch_stack()
        and not torch._C._is_tracing()
    )


def is_plain(x: Tensor, layer: nn.Module) -> bool:
    """Whether torch's own functions on the weights are what calling this layer would be."""
    if not is_eager(x) or type(layer) is not nn.Linear or "forward" in vars(layer):
        return False
    weight, bias = layer.weight, layer.bias
    parts = (weight,) if bias is None else (weight, bias)
    return (
        all(type(p) in (nn.Parameter, Tensor) and p.device.type == "cpu" for p in parts)
        and x.numel() > 0
        and weight.numel() > 0
        and not is_watched(layer)
    )


def is_widened(x: Tensor) -> bool:
    """Whether products of such tensors are better computed in float32."""
    return x.dtype == torch.bfloat16 and is_eager(x) and way_of(x.dtype) == "widened"


def way_of(dtype: torch.dtype) -> Way:
    """How products of this precision are computed in this process, where nothing forbids it."""
    return _ways().get(dtype, "public")


@lru_cache(maxsize=1)
def _ways() -> dict[torch.dtype, Way]:
    """The rule. MKL takes a narrower path than oneDNN on AMD's AVX-512 processors, and gains
    nothing from packing with AVX2, where its products already run near the peak."""
    asked = os.environ.get("NINEFOLD_LINEAR", "auto")
    if asked not in ("auto", "public"):
        raise Refused(f"NINEFOLD_LINEAR: is {asked!r}; auto or public")
    ways: dict[torch.dtype, Way] = {}
    if asked == "public":
        return ways
    wide = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    if wide and "AMD" in _processor() and onednn_works(torch.float32):
        ways[torch.float32] = "onednn"
    if torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        ways[torch.bfloat16] = "widened"
    elif torch.cpu._is_avx512_bf16_supported() and onednn_works(torch.bfloat16):
        ways[torch.bfloat16] = "onednn"
    return ways


def _processor() -> str:
    with suppress(AttributeError):
        return str(torch.cpu.get_capabilities().get("cpu_name", ""))
    return ""


def onednn_works(dtype: torch.dtype) -> bool:
    """Whether torch's private operators are there and compute what is expected of them."""
    if not torch.backends.mkldnn.is_available():
        return False
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        x, residual = torch.randn(9, 32, dtype=dtype), torch.randn(9, 24, dtype=dtype)
        layer = nn.Linear(32, 24, dtype=dtype)
        expected = residual + F.gelu(layer(x))
        try:
            packed = _reorder(layer.weight), layer.bias
            given = residual + _onednn(x, packed, "exact", None)
            added = _onednn(x, packed, None, residual)
        except (RuntimeError, AttributeError, TypeError):
            return False
        rough = 1e-4 if dtype == torch.float32 else 0.1
        return all(
            bool(((a - b).abs() < rough).all())
            for a, b in ((given, expected), (added, residual + layer(x)))
        )


def _reorder(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight)


_Packed = tuple[Tensor, Tensor | None]
_packed: WeakKeyDictionary[nn.Linear, tuple[tuple[object, ...], Tensor, Tensor, _Packed]] = (
    WeakKeyDictionary()
)
"""Beside the layers and not in them: copies and files of a layer hold its parameters only."""


def _pack(layer: nn.Linear, dtype: torch.dtype) -> _Packed | None:
    """Weight and bias for oneDNN, remembered as long as they are the same."""
    weight, bias = layer.weight, layer.bias
    if weight.is_inference() or (bias is not None and bias.is_inference()):
        return None
    with torch.inference_mode(False), torch.no_grad():
        versions = weight._version, None if bias is None else bias._version
        key = (id(bias), *versions, weight.data_ptr(), weight.dtype, dtype)
        values = weight.detach().flatten()
        sample = values[:: max(1, values.numel() // SAMPLE)]
        entry = _packed.get(layer)
        if entry and entry[0] == key and entry[1] is weight and torch.equal(entry[2], sample):
            return entry[3]
        # The bias is cheap, and read anew where it needs no conversion.
        narrow = None if bias is None else bias.detach().to(dtype)
        packed = _reorder(weight.detach().to(dtype).contiguous()), narrow
        _packed[layer] = (key, weight, sample.clone(), packed)
        return packed


def _onednn(x: Tensor, packed: _Packed, gelu: Gelu | None, residual: Tensor | None) -> Tensor:
    weight, bias = packed
    if residual is not None and residual.dtype == x.dtype and gelu is None:
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
    attribute = "none" if gelu is None else "gelu"
    algorithm = "none" if gelu is None else _APPROXIMATE[gelu]
    y = torch.ops.mkldnn._linear_pointwise(x, weight, bias, attribute, [], algorithm)
    return y if residual is None else _finish(y, None, residual)


def _widened(
    x: Tensor, layer: nn.Linear, dtype: torch.dtype, gelu: Gelu | None, residual: Tensor | None
) -> Tensor:
    """One rounding at the end. The residual keeps its precision, as in torch's own sum."""
    with torch.autocast("cpu", enabled=False):
        bias = None if layer.bias is None else layer.bias.float()
        y = F.linear(x.float(), layer.weight.float(), bias)
        if torch.is_grad_enabled():
            y = _gelu(y, gelu)
            y = y if residual is None else residual.float() + y
        else:
            y = _finish(y, gelu, residual)
        return y.to(dtype if residual is None else torch.promote_types(dtype, residual.dtype))


def _gelu(y: Tensor, gelu: Gelu | None) -> Tensor:
    return y if gelu is None else F.gelu(y, approximate=_APPROXIMATE[gelu])


def activate(y: Tensor, gelu: Gelu | None) -> Tensor:
    """GELU of what nobody else holds: `y` is overwritten where no gradients are needed."""
    if gelu is None or torch.is_grad_enabled():
        return _gelu(y, gelu)
    if gelu == "exact" or not is_eager(y) or y.dtype != torch.float32:
        return torch.ops.aten.gelu_(y, approximate=_APPROXIMATE[gelu])
    # 0.5 (1 + tanh(u / 2)) is the sigmoid of u, which takes half as long.
    u = torch.addcmul(y.new_tensor(_SLOPE), y, y, value=_SLOPE * 0.044715)
    return y.mul_(u.mul_(y).sigmoid_())


_SLOPE = 2 * (2 / torch.pi) ** 0.5


def _finish(y: Tensor, gelu: Gelu | None, residual: Tensor | None) -> Tensor:
    """In the memory of `y`, which nobody else holds, where precisions allow."""
    y = activate(y, gelu)
    if residual is None:
        return y
    return (
        y.add_(residual)
        if y.dtype == torch.promote_types(y.dtype, residual.dtype)
        else y + residual
    )
