"""An operation of its own for every patch of every image of a batch, on the images' device.

Source: Lin et al. 2021, arXiv 2103.11099, section 3; efficientnetv2-paa specification, section B8.
Shapes: b images, h rows, w columns, n rows and m columns of patches, p = b n m patches.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ninefold.augment.patch_ops import (
    HALVED,
    OPERATIONS,
    TINTS,
    WARPS,
    Draws,
    draw,
    operate,
    tint,
    warp,
)
from ninefold.core.errors import Refused

LEAST = 3
"""Smallest side of a patch, in pixels."""

_ORDER = (
    *WARPS, *TINTS, *(name for name in OPERATIONS if name not in {**WARPS, **TINTS}),
)  # fmt: skip
"""Patches are put into this order, so that operations of one form lie beside each other."""


def patch_size(height: int, width: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a patch, in pixels; what is left over lies at the right and the bottom.

    Raises:
        Refused: patches would be smaller than 3 pixels.
    """
    rows, columns = height // grid[0], width // grid[1]
    if min(rows, columns) < LEAST:
        most = min(height, width) // LEAST
        raise Refused(
            f"patches: a grid of {grid[0]} x {grid[1]} makes patches of {rows} x {columns} of an "
            f"image of {height} x {width} pixels; at most {most} x {most}, of {LEAST} pixels, fit"
        )
    return rows, columns


def draw_execution(
    operations: Int[Tensor, "b n m"], *, quirks: bool = False
) -> Bool[Tensor, "b n m"]:
    """Which patches are operated on: each with a probability that is itself drawn from 0 to 1.

    Args:
        quirks: Leave out every second of the operations `HALVED` besides.
    """
    chance, coin, half = torch.rand(3, *operations.shape, device=operations.device)
    executed = coin < chance
    if quirks:
        halved = torch.tensor([name in HALVED for name in OPERATIONS], device=operations.device)
        executed &= ~halved[operations] | (half < 0.5)
    return executed


FADE = (0.5, 0.99)
"""Shares of the patches that stay at the begin and at the end of a run that fades."""


def draw_fading(operations: Int[Tensor, "b n m"], done: float) -> Bool[Tensor, "b n m"]:
    """As the official program for photos: none of them in half of the batches, and in the others
    from a half of the patches to a hundredth.

    Args:
        done: Share of the run that is behind.
    """
    coin = torch.rand((), device=operations.device)
    first, last = FADE
    chances = torch.rand(operations.shape, device=operations.device)
    return (chances > first + (last - first) * done) & (coin <= 0.5)


@torch.no_grad()
def augment_patches(
    images: Float[Tensor, "b 3 h w"],
    operations: Int[Tensor, "b n m"],
    executed: Bool[Tensor, "b n m"],
    draws: Draws | None = None,
    *,
    quirks: bool = False,
) -> Float[Tensor, "b 3 h w"]:
    """The images with each executed patch changed by its operation.

    Args:
        images: Values from 0 to 1, not normalised; not changed.
        operations: Numbers in `OPERATIONS`.
        executed: Patches that change at all.
        draws: By image, row and column; drawn here where there are none.
        quirks: As in the official program, the last row and column of every patch stay, and see
            `operate`.

    Patches that do not fit into the image whole (at the right and the bottom, where the grid does
    not divide it) stay as they are. `patch_mean`, `cutmix` and `mixup` work on all patches of the
    batch that they are chosen for, in the order of image, row and column.

    Raises:
        Refused: patches would be smaller than 3 pixels.
    """
    b, channels, height, width = images.shape
    n, m = operations.shape[1:]
    rows, columns = patch_size(height, width, (n, m))
    out = images.clone()
    cells = out[:, :, : n * rows, : m * columns].unflatten(2, (n, rows)).unflatten(4, (m, columns))
    cells = cells.permute(0, 2, 4, 1, 3, 5)
    if quirks:
        cells = cells[..., :-1, :-1]
    patches = cells.reshape(b * n * m, channels, *cells.shape[-2:])
    if draws is None:
        draws = draw(len(patches), *patches.shape[-2:], device=images.device)
    place = torch.tensor([_ORDER.index(name) for name in OPERATIONS], device=images.device)
    key = torch.where(executed, place[operations], len(_ORDER)).flatten()
    order = key.argsort(stable=True)
    counts: list[int] = torch.bincount(key, minlength=len(_ORDER)).tolist()[: len(_ORDER)]
    order = order[: sum(counts)]
    changed = _in_order(patches[order], draws.rows(order), counts, quirks)
    cells.copy_(patches.index_copy(0, order, changed).view_as(cells))
    return out


def _in_order(x: Tensor, draws: Draws, counts: list[int], quirks: bool) -> Tensor:
    """Every operation on its share of a stack that lies in `_ORDER`."""
    parts: list[Tensor] = []
    first, end = sum(counts[: len(WARPS)]), sum(counts[: len(WARPS) + len(TINTS)])
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    slices = {name: slice(e - c, e) for name, c, e in zip(_ORDER, counts, ends, strict=True)}
    if first:
        size = x.shape[-2], x.shape[-1]
        maps = [WARPS[name](draws.rows(slices[name]), *size) for name in WARPS]
        linear, offset = (torch.cat(values) for values in zip(*maps, strict=True))
        parts.append(warp(x[:first], linear, offset))
    if end > first:
        colours = [TINTS[name](draws.rows(slices[name])) for name in TINTS]
        matrix, constant = (torch.cat(values) for values in zip(*colours, strict=True))
        parts.append(tint(x[first:end], matrix, constant))
    for name, count in list(zip(_ORDER, counts, strict=True))[len(WARPS) + len(TINTS) :]:
        if count:
            at = slices[name]
            parts.append(operate(name, x[at], draws.rows(at), quirks=quirks))
    return torch.cat(parts) if parts else x
