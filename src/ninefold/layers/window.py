"""Attention within windows of a map of any number of axes (2 for images, 3 for clips).

Source: Liu et al. 2021, arXiv 2103.14030, section 3.2; the order of padding, rolling and cutting
as in the authors' detection backbone.
Shapes: b images, `*size` tokens along each axis of the map, c channels, w windows, n tokens a
window, h heads. Windows, and tokens within one, run row by row.

Padding, rolling and cutting into windows is one permutation with gaps. Eagerly it is one gather by
a remembered index (`Places`), whose backward pass is a gather by the inverse index; compiled and
exported code gets the plain form (`cut`, `join`), which compilers fuse and which knows no cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ninefold.layers.attention import attend

Axes = tuple[int, ...]
WindowPolicy = Literal["classification", "dense", "torchvision"]


def fit_windows(
    size: Axes, window: Axes, *, shifted: bool, policy: WindowPolicy
) -> tuple[Axes, Axes]:
    """Window and shift that a block uses on a map of this size.

    Args:
        size: Tokens along each axis.
        window: The window that the block was made for.
        shifted: Whether the block is one that shifts where it can.
        policy: `classification`: where an axis is shorter than the window, windows shrink to the
            shortest axis, and where one is not longer than the window, nothing shifts; `dense`:
            the map is padded to the window, and always shifts; `torchvision`: likewise, but an axis
            that one window covers does not shift.

    Source: hierarchical-transformers specification, section 1.5.
    """
    shift = tuple(w // 2 if shifted else 0 for w in window)
    if policy == "torchvision":
        shift = tuple(
            0 if w >= length else s for w, length, s in zip(window, size, shift, strict=True)
        )
    elif policy == "classification" and any(n <= w for n, w in zip(size, window, strict=True)):
        shift = (0,) * len(window)
        if any(n < w for n, w in zip(size, window, strict=True)):
            window = tuple(min(w, *size) for w in window)
    return window, shift


def cut(x: Tensor, window: Axes, shift: Axes) -> Tensor:
    """Pad a map `(b, *size, c)` with zeros at its ends, roll it back by `shift`, cut windows.

    Returns:
        `(b, w, n, c)`.
    """
    b, *size, c = x.shape
    padded = _padded(size, window)
    gaps = [full - length for full, length in zip(padded, size, strict=True)]
    if any(gaps):
        x = F.pad(x, (0, 0, *(part for gap in reversed(gaps) for part in (0, gap))))
    if any(shift):
        x = x.roll([-s for s in shift], list(range(1, len(window) + 1)))
    grid = [length // w for length, w in zip(padded, window, strict=True)]
    x = x.view(b, *(part for pair in zip(grid, window, strict=True) for part in pair), c)
    x = x.permute(0, *range(1, 2 * len(window), 2), *range(2, 2 * len(window) + 1, 2), -1)
    return x.reshape(b, prod(grid), prod(window), c)


def join(windows: Tensor, size: Axes, window: Axes, shift: Axes) -> Tensor:
    """The map `(b, *size, c)` whose `cut` the windows `(b, w, n, c)` are."""
    b, c, rank = windows.shape[0], windows.shape[-1], len(window)
    padded = _padded(size, window)
    grid = [length // w for length, w in zip(padded, window, strict=True)]
    x = windows.view(b, *grid, *window, c)
    x = x.permute(0, *(1 + a + part for a in range(rank) for part in (0, rank)), -1)
    x = x.reshape(b, *padded, c)
    if any(shift):
        x = x.roll(list(shift), list(range(1, rank + 1)))
    for axis, (length, full) in enumerate(zip(size, padded, strict=True), start=1):
        x = x if length == full else x.narrow(axis, 0, length)
    return x


def _padded(size: Sequence[int], window: Axes) -> list[int]:
    """Sizes rounded up to whole windows; written so that traced sizes stay simple expressions."""
    pairs = zip(size, window, strict=True)
    return [length if length % w == 0 else (length // w + 1) * w for length, w in pairs]


def window_mask(
    size: Axes, window: Axes, shift: Axes, device: torch.device
) -> Float[Tensor, "w 1 n n"]:
    """Minus infinity between tokens that rolling made neighbours, 0 elsewhere.

    Padding is not masked: the authors' weights were trained with it among the keys.

    Departs: the references add -100, whose exponential is a subnormal number and slow on CPUs; the
    softmax is the same.
    """
    padded = _padded(size, window)
    region = torch.zeros((1, *padded, 1), dtype=torch.int32, device=device)
    for axis, (length, w, s) in enumerate(zip(padded, window, shift, strict=True), start=1):
        if s:
            place = torch.arange(length, device=device)
            part = (place >= length - w).int() + (place >= length - s)
            shape = [1] * region.dim()
            shape[axis] = length
            region = region * 3 + part.view(shape)
    ids = cut(region, window, (0,) * len(window))[0]
    return torch.where(ids != ids.mT, -torch.inf, 0.0)[:, None]


def relative_index(window: Axes, table: Axes, device: torch.device) -> Int[Tensor, "n n"]:
    """Row of the bias table for each query and key of a window.

    Args:
        window: The window in use, at most as long as `table` along each axis.
        table: The window that the table was made for; its rows are all offsets, query minus key,
            from `1 - table` to `table - 1` along each axis, the last axis fastest.
        device: Where the result lies.
    """
    axes = [torch.arange(length, device=device) for length in window]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    offset = place[:, :, None] - place[:, None, :]
    index = torch.zeros_like(offset[0])
    for axis, length in enumerate(table):
        index = index * (2 * length - 1) + offset[axis] + length - 1
    return index


@dataclass(frozen=True)
class Places:
    """One geometry as an index: which token of the map stands where in the windows.

    Args:
        index: Map position of each window token, `(w * n)`; any for padding.
        gaps: Window positions that are padding; nothing where there are none.
        inverse: Window position of each map token.
        windows: Number of windows.
        mask: `window_mask`; nothing where nothing shifts.
    """

    index: Tensor
    gaps: Tensor | None
    inverse: Tensor
    windows: int
    mask: Tensor | None

    def cut(self, x: Float[Tensor, "b *size c"]) -> Float[Tensor, "b w n c"]:
        """As the function of that name."""
        rows = _Gather.apply(x.flatten(1, -2), self.index, self.gaps, self.inverse, None)
        return rows.unflatten(1, (self.windows, -1))

    def join(self, windows: Float[Tensor, "b w n c"], size: Axes) -> Float[Tensor, "b *size c"]:
        """As the function of that name."""
        rows = _Gather.apply(windows.flatten(1, 2), self.inverse, None, self.index, self.gaps)
        return rows.unflatten(1, size)


@lru_cache(maxsize=32)
def places(size: Axes, window: Axes, shift: Axes, device: torch.device) -> Places:
    """The remembered geometry: four stages, shifted and not, of the last four image sizes."""
    with torch.inference_mode(False):  # what is remembered must serve training, too
        count = prod(size)
        numbers = torch.arange(1, count + 1, device=device).view(1, *size, 1)
        windows = cut(numbers, window, shift)
        number = windows.flatten() - 1  # padding is -1 and sorts first
        order = number.argsort()
        num_gaps = number.numel() - count
        return Places(
            index=number.clamp(min=0),
            gaps=order[:num_gaps] if num_gaps else None,
            inverse=order[num_gaps:],
            windows=windows.shape[1],
            mask=window_mask(size, window, shift, device) if any(shift) else None,
        )


class _Gather(torch.autograd.Function):
    """Rows of `x` `(b, l, c)` by a permutation with gaps, which stay zero; the gradient is the
    inverse gather, exact and free of atomic additions."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor,
        index: Tensor,
        gaps: Tensor | None,
        inverse: Tensor,
        inverse_gaps: Tensor | None,
    ) -> Tensor:
        rows = x.index_select(1, index)
        return rows if gaps is None else rows.index_fill_(1, gaps, 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.places = inputs[1:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        index, gaps, inverse, inverse_gaps = ctx.places
        back = _Gather.apply(gradients[0], inverse, inverse_gaps, index, gaps)
        return back, None, None, None, None


class _LastBias:
    """The last sum of bias and mask without gradients, as long as the table is the same.

    On a CPU the table is compared by value, so that even a change behind autograd's back
    (`table.data`) is seen; elsewhere, where that would wait for the device, by its version.
    Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._entry: tuple[object, Tensor, int, Tensor, Tensor] | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def get(self, key: object, table: Tensor) -> Tensor | None:
        """The sum kept for this key and table, if it still holds."""
        entry = self._entry  # read once: another thread may replace it
        if entry is None or entry[0] != key or entry[1] is not table or table._version != entry[2]:
            return None
        return entry[4] if table.device.type != "cpu" or torch.equal(table, entry[3]) else None

    def put(self, key: object, table: Tensor, value: Tensor) -> None:
        """Keep this sum and no other."""
        self._entry = (key, table, table._version, table.detach().clone(), value)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position.

    Args:
        dim: Channels.
        window: Tokens of a window along each axis; the bias table is made for it.
        num_heads: Must divide `dim`.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        attn_drop: Probability of dropping an attention probability.
        proj_drop: Probability of dropping an output value.
    """

    def __init__(
        self,
        dim: int,
        window: Axes,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.window, self.num_heads = window, num_heads
        self.scale = (dim // num_heads) ** -0.5 if qk_scale is None else qk_scale
        rows = prod(2 * length - 1 for length in window)
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = attn_drop
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self._last = _LastBias()

    def forward(
        self, x: Float[Tensor, "b *size c"], window: Axes, shift: Axes
    ) -> Float[Tensor, "b *size c"]:
        """Attend within windows.

        Args:
            x: Map of tokens; padded with zeros where windows do not fit.
            window: At most the module's own along each axis; a smaller one uses the biases of the
                offsets that occur in it.
            shift: By how many tokens the grid of windows is displaced along each axis.
        """
        size = tuple(x.shape[1:-1])
        if torch.compiler.is_compiling():
            mask = window_mask(size, window, shift, x.device) if any(shift) else None
            y = self._attend(cut(x, window, shift), self._bias(window, mask))
            return join(y, size, window, shift)
        where = places(size, window, shift, x.device)
        return where.join(self._attend(where.cut(x), self._remembered(size, window, shift)), size)

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        b, w, n, c = x.shape
        qkv = self.qkv(x).view(b, w, n, 3, self.num_heads, c // self.num_heads)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
        dropout = self.attn_drop if self.training else 0.0
        y = attend(q, k, v, bias, scale=self.scale, dropout=dropout)
        return self.proj_drop(self.proj(y.transpose(2, 3).reshape(b, w, n, c)))

    def _bias(self, window: Axes, mask: Tensor | None) -> Float[Tensor, "... n n"]:
        """`(h, n, n)`, or with a mask `(w, h, n, n)`."""
        table, n = self.relative_position_bias_table, prod(window)
        rows = table.index_select(0, _remembered_index(window, self.window, table.device))
        bias = rows.view(n, n, -1).permute(2, 0, 1)
        return bias.contiguous() if mask is None else bias + mask.to(bias.dtype)

    def _remembered(self, size: Axes, window: Axes, shift: Axes) -> Tensor:
        table = self.relative_position_bias_table
        mask = places(size, window, shift, table.device).mask
        if (torch.is_grad_enabled() and table.requires_grad) or table.is_inference():
            return self._bias(window, mask)
        key = (size, window, shift, table.device, table.dtype)
        bias = self._last.get(key, table)
        if bias is None:
            with torch.inference_mode(False), torch.no_grad():
                bias = self._bias(window, mask)
            self._last.put(key, table, bias)
        return bias

    def train(self, mode: bool = True) -> Self:
        """Also forget the remembered bias."""
        self._last = _LastBias()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._last = _LastBias()
        return super()._apply(fn, recurse)


@lru_cache(maxsize=32)
def _eager_index(window: Axes, table: Axes, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return relative_index(window, table, device).flatten()


def _remembered_index(window: Axes, table: Axes, device: torch.device) -> Tensor:
    if torch.compiler.is_compiling():
        return relative_index(window, table, device).flatten()
    return _eager_index(window, table, device)
