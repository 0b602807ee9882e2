"""Focal attention: a window sees its tokens, a ring around it, and pooled tokens further away.

Source: Yang et al. 2021, arXiv 2107.00641, section 3.2; order of keys, cropping and wrapping at the
borders as in microsoft/Focal-Transformer (`focal_transformer.py`).
Shapes: b images, h rows, w columns, c channels, g windows, n tokens a window, k keys a window,
t tokens of the map and of all pooled maps together.

The reference unfolds maps into overlapping windows; here one remembered index says which tokens are
the keys of which window, and one gather fetches them.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.attention import attend, is_observed
from ninefold.layers.bias import LastBias
from ninefold.layers.linear import linear, project
from ninefold.layers.partition import places, relative_index, window_mask

Pair = tuple[int, int]


def span(focal_window: int, level: int) -> int:
    """Pooled tokens along a side that a window sees at a level, the finest being 0."""
    return focal_window + 2**level - 1


def ring(window: int, expand: int) -> list[Pair]:
    """Places around a window as rows and columns from its first token.

    Four copies of the window, moved by `expand` towards each corner, without what lies inside. What
    two copies share stands twice: each has a bias of its own in the authors' weights.
    """
    steps = [(row, column) for row in range(window) for column in range(window)]
    inside = range(window)
    return [
        (row + down, column + right)
        for down in (expand, -expand)
        for right in (expand, -expand)
        for row, column in steps
        if row + down not in inside or column + right not in inside
    ]


@dataclass(frozen=True)
class FocalKeys:
    """The keys of every window of one geometry.

    Args:
        index: Token of each key, `(g * k)`: of the map first, then of each pooled map, row by row.
        mask: Added to the logits, `(g, 1, 1 or n, k)`: minus infinity for places outside a pooled
            map and for tokens that shifting made neighbours; nothing where all keys are there.
    """

    index: Tensor
    mask: Tensor | None


@lru_cache(maxsize=32)
def focal_keys(
    size: Pair, window: int, expand: int, focal_window: int, levels: int, shift: int,
    device: torch.device,
) -> FocalKeys:  # fmt: skip
    """The remembered keys of a map of whole windows.

    Args:
        size: Rows and columns of the map.
        window: Side of a window.
        expand: How far the ring reaches; 0 for none.
        focal_window: Pooled tokens along a side around a window, at the finest level.
        levels: Pooled levels.
        shift: By how much the map was rolled.

    The ring wraps around at the borders without a mask, and pooled places outside are masked by
    minus infinity, where the reference has -100: the softmax is the same.
    """
    with torch.inference_mode(False):  # what is remembered must serve training, too
        grid = size[0] // window, size[1] // window
        a = torch.arange(grid[0], device=device).view(-1, 1, 1)
        b = torch.arange(grid[1], device=device).view(1, -1, 1)
        own = [(r, c) for r in range(window) for c in range(window)]
        near = torch.tensor([*own, *(ring(window, expand) if expand else [])], device=device)
        rows = (a * window + near[:, 0]) % size[0]
        columns = (b * window + near[:, 1]) % size[1]
        parts, allowed = [rows * size[1] + columns], [torch.ones_like(rows + columns).bool()]
        first = size[0] * size[1]
        for level in range(levels):
            side, step = span(focal_window, level), 2**level
            places_ = torch.arange(side, device=device) - focal_window // 2
            rows = a * step + places_.repeat_interleave(side)
            columns = b * step + places_.repeat(side)
            tall, wide = grid[0] * step, grid[1] * step
            there = (rows >= 0) & (rows < tall) & (columns >= 0) & (columns < wide)
            parts.append(torch.where(there, first + rows * wide + columns, 0))
            allowed.append(there)
            first += tall * wide
        count = grid[0] * grid[1]
        index = torch.cat(parts, dim=2).view(count, -1)
        outside = torch.where(torch.cat(allowed, dim=2).view(count, -1), 0.0, -torch.inf)
        mask = outside[:, None, None] if levels else None
        if shift:
            moved = window_mask(size, (window, window), (shift, shift), device)
            rest = torch.zeros(1, device=device).expand(
                count, 1, window**2, index.shape[1] - window**2
            )
            moved = torch.cat([moved.expand(count, 1, -1, -1), rest], dim=-1)
            mask = moved if mask is None else moved + mask
        return FocalKeys(index.flatten(), mask)


@lru_cache(maxsize=32)
def pooled_index(window: int, side: int, device: torch.device) -> Tensor:
    """Entry of a level's bias table for each query and pooled key, `(n * side ** 2)`."""
    with torch.inference_mode(False):
        query, key = torch.arange(window, device=device), torch.arange(side, device=device)
        offset = query[:, None] - key + side - 1
        whole = offset[:, None, :, None] * (window + side - 1) + offset[None, :, None, :]
        return whole.flatten()


class FocalAttention(nn.Module):
    """Multi-head attention of every window to its focal keys.

    Args:
        dim: Channels.
        window: Side of a window.
        num_heads: Must divide `dim`.
        expand: How far the ring reaches; 0 for none.
        focal_window: Pooled tokens along a side around a window; odd.
        levels: Pooled levels.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        attn_drop: Probability of dropping an attention probability.
        proj_drop: Probability of dropping a value of the output.
    """

    def __init__(
        self, dim: int, *, window: int, num_heads: int, expand: int, focal_window: int, levels: int,
        qkv_bias: bool = True, qk_scale: float | None = None, attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.window, self.num_heads, self.scale = window, num_heads, qk_scale
        self.expand, self.focal_window, self.levels = expand, focal_window, levels
        self.attn_drop = attn_drop
        table = torch.zeros((2 * window - 1) ** 2, num_heads)
        self.relative_position_bias_table = nn.Parameter(table)
        self.relative_position_bias_table_to_neighbors = None
        if expand:
            near = torch.empty(1, num_heads, window**2, len(ring(window, expand)))
            self.relative_position_bias_table_to_neighbors = nn.Parameter(
                nn.init.trunc_normal_(near, std=0.02)
            )
        self.relative_position_bias_table_to_windows = nn.ParameterList(
            nn.init.trunc_normal_(
                torch.empty(num_heads, (window + span(focal_window, level) - 1) ** 2), std=0.02
            )
            for level in range(levels)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self._last = LastBias()

    def forward(
        self,
        x: Float[Tensor, "b h w c"],
        pooled: list[Float[Tensor, "b _h _w c"]],
        shift: int,
        size: Pair,
        residual: Float[Tensor, "b rows columns c"] | None = None,
    ) -> Float[Tensor, "b rows columns c"]:
        """Attend.

        Args:
            x: A map of whole windows, already rolled.
            pooled: One map a level.
            shift: By how much it was rolled, which is undone.
            size: Rows and columns of the map before padding, which is cut off.
            residual: Added to the output, if given.
        """
        b, rows, columns, c = x.shape
        heads, whole = self.num_heads, (rows, columns)
        where = places(whole, (self.window, self.window), (0, 0), x.device)
        keys = focal_keys(
            whole, self.window, self.expand, self.focal_window, len(pooled), shift, x.device
        )
        qkv = linear(x, self.qkv).flatten(1, 2)
        fine = qkv[..., c:]
        if pooled:
            coarse = torch.cat([y.flatten(1, 2) for y in pooled], dim=1)
            bias = None if self.qkv.bias is None else self.qkv.bias[c:]
            fine = torch.cat([fine, nn.functional.linear(coarse, self.qkv.weight[c:], bias)], dim=1)
        # Heads before windows: what is gathered is then laid out as the products want it.
        q = where.cut(_by_head(qkv[..., :c], heads))
        k, v = (_by_head(part, heads).index_select(1, keys.index) for part in fine.chunk(2, dim=-1))
        q, k, v = (t.reshape(b, heads, where.windows, -1, c // heads) for t in (q, k, v))
        bias = self._remembered((whole, shift, len(pooled)), keys.mask)
        dropout = self.attn_drop if self.training else 0.0
        if is_observed():  # who watches expects windows before heads, as everywhere
            q, k, v, bias = (t.transpose(-4, -3) for t in (q, k, v, bias))
        y = attend(q, k, v, bias, scale=self.scale, dropout=dropout)
        y = y.transpose(1, 2) if is_observed() else y
        y = where.join(y.reshape(b * heads, where.windows, -1, c // heads), whole)
        y = y.view(b, heads, rows, columns, -1).permute(0, 2, 3, 1, 4).reshape(x.shape)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return project(y[:, : size[0], : size[1]], self.proj, self.proj_drop, residual)

    def _bias(self, mask: Tensor | None) -> Float[Tensor, "h g_or_1 n k"]:
        table, window = self.relative_position_bias_table, (self.window, self.window)
        n = self.window**2
        index = relative_index(window, window, table.device).flatten()
        parts = [table.index_select(0, index).view(n, n, -1).permute(2, 0, 1)]
        if self.relative_position_bias_table_to_neighbors is not None:
            parts.append(self.relative_position_bias_table_to_neighbors[0])
        for level, entries in enumerate(self.relative_position_bias_table_to_windows):
            side = span(self.focal_window, level)
            index = pooled_index(self.window, side, table.device)
            parts.append(entries.index_select(1, index).view(self.num_heads, n, -1))
        bias = torch.cat(parts, dim=-1)[:, None]
        return bias if mask is None else bias + mask.to(bias.dtype).transpose(0, 1)

    def _remembered(self, key: object, mask: Tensor | None) -> Tensor:
        near = self.relative_position_bias_table_to_neighbors
        tables = (
            self.relative_position_bias_table,
            *(() if near is None else (near,)),
            *self.relative_position_bias_table_to_windows,
        )
        learns = torch.is_grad_enabled() and any(table.requires_grad for table in tables)
        if learns or torch.compiler.is_compiling() or tables[0].is_inference():
            return self._bias(mask)
        key = (key, tables[0].device, tables[0].dtype)
        bias = self._last.get(key, tables)
        if bias is None:
            with torch.inference_mode(False), torch.no_grad():
                bias = self._bias(mask)
            self._last.put(key, tables, bias)
        return bias

    def train(self, mode: bool = True) -> Self:
        """Also forget the remembered bias."""
        self._last = LastBias()
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._last = LastBias()
        return super()._apply(fn, recurse)


def _by_head(x: Tensor, heads: int) -> Tensor:
    """`(b, t, c)` as `(b * h, t, d)`."""
    b, t, c = x.shape
    return x.view(b, t, heads, c // heads).transpose(1, 2).reshape(b * heads, t, c // heads)
