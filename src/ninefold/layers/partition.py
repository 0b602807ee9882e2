"""A map of any number of axes cut into windows, and joined again.

Source: Liu et al. 2021, arXiv 2103.14030, section 3.2; the order of padding, rolling and cutting
as in the authors' detection backbone.
Shapes: b images, `*size` tokens along each axis of the map, c channels, w windows, n tokens a
window. Windows, and tokens within one, run row by row.

Padding, rolling and cutting into windows is one permutation with gaps. Eagerly it is one gather by
a remembered index (`Places`), whose backward pass is a gather by the inverse index; compiled and
exported code gets the plain form (`cut`, `join`), which compilers fuse and which knows no cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Axes = tuple[int, ...]
WindowPolicy = Literal["classification", "dense", "torchvision"]
ShiftImpl = Literal["cyclic", "padding"]


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


def cut(x: Tensor, window: Axes, shift: Axes, impl: ShiftImpl = "cyclic") -> Tensor:
    """Pad a map `(b, *size, c)` with zeros at its ends, shift it, cut windows.

    Args:
        x: The map.
        window: Tokens of a window along each axis.
        shift: By how many tokens the grid of windows is displaced along each axis.
        impl: `cyclic` rolls the map back, so that opposite borders share windows; `padding` adds
            zeros around it, so that each border has windows of its own: one more along each axis
            that shifts.

    Returns:
        `(b, w, n, c)`.
    """
    b, *size, c = x.shape
    before, padded = _frame(size, window, shift, impl)
    after = [full - length - n for full, length, n in zip(padded, size, before, strict=True)]
    if any(before) or any(after):
        ends = zip(reversed(before), reversed(after), strict=True)
        x = F.pad(x, (0, 0, *(part for pair in ends for part in pair)))
    if any(shift) and impl == "cyclic":
        x = x.roll([-s for s in shift], list(range(1, len(window) + 1)))
    grid = [length // w for length, w in zip(padded, window, strict=True)]
    x = x.view(b, *(part for pair in zip(grid, window, strict=True) for part in pair), c)
    x = x.permute(0, *range(1, 2 * len(window), 2), *range(2, 2 * len(window) + 1, 2), -1)
    return x.reshape(b, prod(grid), prod(window), c)


def join(
    windows: Tensor, size: Axes, window: Axes, shift: Axes, impl: ShiftImpl = "cyclic"
) -> Tensor:
    """The map `(b, *size, c)` whose `cut` the windows `(b, w, n, c)` are."""
    b, c, rank = windows.shape[0], windows.shape[-1], len(window)
    before, padded = _frame(size, window, shift, impl)
    grid = [length // w for length, w in zip(padded, window, strict=True)]
    x = windows.view(b, *grid, *window, c)
    x = x.permute(0, *(1 + a + part for a in range(rank) for part in (0, rank)), -1)
    x = x.reshape(b, *padded, c)
    if any(shift) and impl == "cyclic":
        x = x.roll(list(shift), list(range(1, rank + 1)))
    for axis, (length, full) in enumerate(zip(size, padded, strict=True), start=1):
        x = x if length == full else x.narrow(axis, before[axis - 1], length)
    return x


def _frame(
    size: Sequence[int], window: Axes, shift: Axes, impl: ShiftImpl
) -> tuple[list[int], list[int]]:
    """Zeros before the map along each axis, and its length with all zeros."""
    padded = _padded(size, window)
    if impl == "cyclic":
        return [0] * len(padded), padded
    pairs = list(zip(window, shift, strict=True))
    before = [w - s if s else 0 for w, s in pairs]
    return before, [full + (w if s else 0) for full, (w, s) in zip(padded, pairs, strict=True)]


def _padded(size: Sequence[int], window: Axes) -> list[int]:
    """Sizes rounded up to whole windows; written so that traced sizes stay simple expressions."""
    pairs = zip(size, window, strict=True)
    return [length if length % w == 0 else (length // w + 1) * w for length, w in pairs]


def window_mask(
    size: Axes, window: Axes, shift: Axes, device: torch.device, impl: ShiftImpl = "cyclic"
) -> Float[Tensor, "w 1 n n"]:
    """Minus infinity between tokens that rolling made neighbours, or between the map and the zeros
    that shifting by `padding` put around it; 0 elsewhere.

    The zeros that fill the last windows of a map are not masked: the authors' weights were trained
    with them among the keys.

    Departs: the references add -100, whose exponential is a subnormal number and slow on CPUs; the
    softmax is the same.
    """
    padded = _padded(size, window)
    region = torch.ones((1, *padded, 1), dtype=torch.int32, device=device)
    for axis, (length, s) in enumerate(zip(padded, shift, strict=True), start=1):
        if s:  # the part before the first seam is what rolling carries to the other end
            shape = [1] * region.dim()
            shape[axis] = length
            region = region * 2 + (torch.arange(length, device=device) < s).view(shape)
    ids = cut(region, window, shift, impl)[0]
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
        rows = _gather(x.flatten(1, -2), self.index, self.gaps, self.inverse, None)
        return rows.unflatten(1, (self.windows, -1))

    def join(self, windows: Float[Tensor, "b w n c"], size: Axes) -> Float[Tensor, "b *size c"]:
        """As the function of that name."""
        rows = _gather(windows.flatten(1, 2), self.inverse, None, self.index, self.gaps)
        return rows.unflatten(1, size)


@lru_cache(maxsize=32)
def places(
    size: Axes, window: Axes, shift: Axes, device: torch.device, impl: ShiftImpl = "cyclic"
) -> Places:
    """The remembered geometry: four stages, shifted and not, of the last four image sizes."""
    with torch.inference_mode(False):  # what is remembered must serve training, too
        count = prod(size)
        numbers = torch.arange(1, count + 1, device=device).view(1, *size, 1)
        windows = cut(numbers, window, shift, impl)
        number = windows.flatten() - 1  # padding is -1 and sorts first
        order = number.argsort()
        num_gaps = number.numel() - count
        return Places(
            index=number.clamp(min=0),
            gaps=order[:num_gaps] if num_gaps else None,
            inverse=order[num_gaps:],
            windows=windows.shape[1],
            mask=window_mask(size, window, shift, device, impl) if any(shift) else None,
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


def _gather(
    x: Tensor, index: Tensor, gaps: Tensor | None, inverse: Tensor, inverse_gaps: Tensor | None
) -> Tensor:
    """Without gradients no node of a graph: making one takes as long as to gather a small map."""
    move: Any = _Gather.apply if torch.is_grad_enabled() else _Gather.forward
    return move(x, index, gaps, inverse, inverse_gaps)
