"""Attention within windows of a map of any number of axes (2 for images, 3 for clips).

Source: Liu et al. 2021, arXiv 2103.14030, section 3.2.
Shapes: b images, `*size` tokens along each axis of the map, c channels, w windows, n tokens a
window, h heads.
"""

from functools import lru_cache
from math import prod
from typing import Any, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.attention import attend, attend_by_bias
from ninefold.layers.bias import LastBias
from ninefold.layers.linear import linear, project
from ninefold.layers.partition import (
    Axes,
    ShiftImpl,
    cut,
    join,
    places,
    relative_index,
    window_mask,
)


def bias_table(window: Axes, num_heads: int) -> nn.Parameter:
    """A row for every offset between two tokens of a window (`relative_index`), a column a head."""
    rows = prod(2 * length - 1 for length in window)
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, num_heads), std=0.02))


def values(qkv: nn.Linear, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
    """The last third of a layer that gives queries, keys and values: the values alone."""
    c = x.shape[-1]
    return F.linear(x, qkv.weight[2 * c :], None if qkv.bias is None else qkv.bias[2 * c :])


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position.

    Parameters have the same names and shapes for every option, but for the table, which is there
    or not.

    Args:
        dim: Channels.
        window: Tokens of a window along each axis; the bias table is made for it.
        num_heads: Must divide `dim`.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        attn_drop: Probability of dropping an attention probability.
        proj_drop: Probability of dropping an output value.
        relative: Whether there is a bias, and with it a table.
        app: Whether dot products of queries and keys (the appearance) are part of the logits. If
            not, these are the bias alone, the same for every input; queries and keys are not
            computed, but keep their weights, so that checkpoints stay interchangeable.
        shift_impl: How windows shift (`cut`); the results are the same, the costs are not.
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
        relative: bool = True,
        app: bool = True,
        shift_impl: ShiftImpl = "cyclic",
    ) -> None:
        super().__init__()
        self.window, self.num_heads, self.app = window, num_heads, app
        self.shift_impl: ShiftImpl = shift_impl
        self.scale = (dim // num_heads) ** -0.5 if qk_scale is None else qk_scale
        self.relative_position_bias_table = bias_table(window, num_heads) if relative else None
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = attn_drop
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self._last = LastBias()

    def forward(
        self,
        x: Float[Tensor, "b *size c"],
        window: Axes,
        shift: Axes,
        residual: Float[Tensor, "b *size c"] | None = None,
    ) -> Float[Tensor, "b *size c"]:
        """Attend within windows.

        Args:
            x: Map of tokens; padded with zeros where windows do not fit.
            window: At most the module's own along each axis; a smaller one uses the biases of the
                offsets that occur in it.
            shift: By how many tokens the grid of windows is displaced along each axis.
            residual: Added to the output, if given.
        """
        size = tuple(x.shape[1:-1])
        if torch.compiler.is_compiling():
            impl = self.shift_impl
            mask = window_mask(size, window, shift, x.device, impl) if any(shift) else None
            y = self._attend(cut(x, window, shift, impl), self._bias(window, mask))
            y = join(y, size, window, shift, impl)
            return project(y, self.proj, self.proj_drop, residual)
        where = places(size, window, shift, x.device, self.shift_impl)
        bias = self._remembered(size, window, shift, where.mask)
        # On the map and not on windows: padding is not projected, and the residual fits.
        y = where.join(self._attend(where.cut(x), bias), size)
        return project(y, self.proj, self.proj_drop, residual)

    def _attend(self, x: Tensor, bias: Tensor | None) -> Tensor:
        b, w, n, c = x.shape
        dropout = self.attn_drop if self.training else 0.0
        if self.app:
            qkv = linear(x, self.qkv).view(b, w, n, 3, self.num_heads, c // self.num_heads)
            q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)
            y = attend(q, k, v, bias, scale=self.scale, dropout=dropout)
        else:
            assert bias is not None
            v = values(self.qkv, x).view(b, w, n, self.num_heads, c // self.num_heads)
            y = attend_by_bias(bias, v.transpose(2, 3), dropout=dropout)
        return y.transpose(2, 3).reshape(b, w, n, c)

    def _bias(self, window: Axes, mask: Tensor | None) -> Float[Tensor, "... n n"] | None:
        """`(h, n, n)`, or with a mask `(w, h, n, n)`; without a table, the mask."""
        table, n = self.relative_position_bias_table, prod(window)
        if table is None:
            return mask
        rows = table.index_select(0, _remembered_index(window, self.window, table.device))
        bias = rows.view(n, n, -1).permute(2, 0, 1)
        return bias.contiguous() if mask is None else bias + mask.to(bias.dtype)

    def _remembered(
        self, size: Axes, window: Axes, shift: Axes, mask: Tensor | None
    ) -> Tensor | None:
        table = self.relative_position_bias_table
        if table is None:
            return mask
        if (torch.is_grad_enabled() and table.requires_grad) or table.is_inference():
            return self._bias(window, mask)
        key = (size, window, shift, table.device, table.dtype)
        bias = self._last.get(key, (table,))
        if bias is None:
            with torch.inference_mode(False), torch.no_grad():
                bias = self._bias(window, mask)
            assert bias is not None
            self._last.put(key, (table,), bias)
        return bias

    def train(self, mode: bool = True) -> Self:
        """Also forget the remembered bias."""
        self._last = LastBias()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._last = LastBias()
        return super()._apply(fn, recurse)


@lru_cache(maxsize=32)
def _eager_index(window: Axes, table: Axes, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return relative_index(window, table, device).flatten()


def _remembered_index(window: Axes, table: Axes, device: torch.device) -> Tensor:
    if torch.compiler.is_compiling():
        return relative_index(window, table, device).flatten()
    return _eager_index(window, table, device)
