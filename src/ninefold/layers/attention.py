"""The one attention function, and a place from which its probabilities can be watched.

Source: Vaswani et al. 2017, arXiv 1706.03762, equation 1; the additive bias as in Liu et al. 2021,
arXiv 2103.14030, equation 4.
Shapes: h heads, n queries, m keys, d channels a head of queries and keys, e of values; `*b` any
leading axes (images, windows).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ninefold.layers.linear import is_widened

EXPLICIT_KEYS = 128
"""Up to so many keys, two matrix products and a softmax beat the fused kernel on a CPU."""

Observer = Callable[[Tensor], None]
_observers: list[Observer] = []  # a plain list: compiled code guards on its length


@contextmanager
def observe_attention(observer: Observer) -> Iterator[None]:
    """Within the block, `observer` is called with every attention's probabilities `(*b, h, n, m)`.

    They come in the order of the forward pass, before dropout, and are part of the graph where
    gradients are on, so that `retain_grad` works on them. Observation holds for the whole process
    and not for one thread.
    """
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


def is_observed() -> bool:
    """Whether somebody watches: then attention is computed once, for the whole batch."""
    return bool(_observers)


def attend(
    q: Float[Tensor, "*b h n d"],
    k: Float[Tensor, "*b h m d"],
    v: Float[Tensor, "*b h m e"],
    bias: Float[Tensor, "... n m"] | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "*b h n e"]:
    """`dropout(softmax(scale * q k^T + bias)) v`.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        bias: Added to the logits; broadcasts to `(*b, h, n, m)`. Minus infinity forbids a key;
            every query needs at least one key that is allowed.
        scale: Factor of the dot products; nothing for `d ** -0.5`.
        dropout: Probability of dropping a probability; the caller passes 0 in evaluation.

    Departs: which kernel computes it depends on shape and device, so results differ by rounding.
    """
    factor: float = q.shape[-1] ** -0.5 if scale is None else scale
    # A bias that learns has no fused kernel on a CPU; torch then looks for rows of -inf besides.
    learns = bias is not None and bias.requires_grad
    on_cpu = q.device.type == "cpu" and (k.shape[-2] <= EXPLICIT_KEYS or learns)
    compute = _explicit if _observers or on_cpu else _fused
    if is_widened(v):
        with torch.autocast("cpu", enabled=False):
            parts = q.float(), k.float(), v.float(), None if bias is None else bias.float()
            return compute(*parts, factor, dropout).to(v.dtype)
    return compute(q, k, v, bias, factor, dropout)


def attend_by_bias(
    bias: Float[Tensor, "... n m"], v: Float[Tensor, "*b h m e"], *, dropout: float = 0.0
) -> Float[Tensor, "*b h n e"]:
    """`dropout(softmax(bias)) v`: attention whose probabilities no input changes.

    Args:
        bias: The logits; as for `attend`.
        v: Values.
        dropout: Probability of dropping a probability; drawn for every image alone.
    """
    probabilities = bias.softmax(-1).to(v.dtype)
    if _observers or dropout:
        probabilities = probabilities.expand(*v.shape[:-2], *bias.shape[-2:])
    for observer in _observers:
        observer(probabilities)
    if dropout:
        probabilities = F.dropout(probabilities, dropout)
    return torch.einsum("...nm,...me->...ne", probabilities, v)


def _explicit(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout: float
) -> Tensor:
    logits = (q * scale) @ k.transpose(-2, -1)
    if bias is not None:
        # Under autocast the bias is float32: then the sum is, too, as softmax would make it anyway.
        logits = logits.add_(bias) if logits.dtype == bias.dtype else logits + bias
    probabilities = logits.softmax(-1)
    for observer in _observers:
        observer(probabilities)
    if dropout:
        probabilities = F.dropout(probabilities, dropout)
    return probabilities.to(v.dtype) @ v


def _fused(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout: float
) -> Tensor:
    """The kernels take four axes. The leading ones join the batch where the bias does not vary
    over them; all but the first join the heads where it does, so that it is never repeated."""
    *lead, heads = q.shape[:-2]
    if bias is not None:
        bias = bias.to(q.dtype)[(None,) * (q.dim() - bias.dim())]
    if bias is not None and any(size != 1 for size in bias.shape[:-3]):
        bias = bias.expand(bias.shape[0], *lead[1:], heads, *bias.shape[-2:]).flatten(1, -3)
        q, k, v = (t.flatten(1, -3) for t in (q, k, v))
    else:
        bias = None if bias is None else bias.reshape(1, *bias.shape[-3:])
        q, k, v = (t.reshape(-1, *t.shape[-3:]) for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, bias, dropout_p=dropout, scale=scale)
    return out.reshape(*lead, heads, *out.shape[-2:])
