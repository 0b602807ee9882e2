"""Positions: tables at another size, and the fixed ones of sines and cosines.

Source: bicubic resampling with unaligned corners, without antialiasing, as in the code of Liu et
al. 2021 (microsoft/Swin-Transformer, `utils.py`); bilinear with aligned corners, which equals
`scipy.ndimage.zoom` of order 1, as in google-research/vision_transformer (`checkpoint.py`); sines
and cosines as in big_vision (`models/vit.py`).
Shapes: n and m tokens, c channels.
"""

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Resize = Literal["bicubic", "bilinear"]


def resize_positions(
    table: Float[Tensor, "n c"],
    source: tuple[int, int],
    target: tuple[int, int],
    resize: Resize = "bicubic",
) -> Float[Tensor, "m c"]:
    """A table over a grid of `source` rows and columns, resampled to `target`; exact where equal.

    Serves absolute positions (a row a token) and relative ones (a row an offset) alike.

    Args:
        resize: `bicubic`: corners not aligned; `bilinear`: corners aligned.
    """
    if source == target:
        return table
    grid = table.t().reshape(1, -1, *source)
    aligned = resize == "bilinear"
    return F.interpolate(grid, target, mode=resize, align_corners=aligned)[0].flatten(1).t()


@lru_cache(maxsize=8)
def sincos_positions(
    rows: int, columns: int, dim: int, device: torch.device
) -> Float[Tensor, "n c"]:
    """Sines and cosines of the column, then of the row, at `dim / 4` frequencies from 1 to 1e-4."""
    with torch.inference_mode(False):  # what is remembered must serve training, too
        steps = torch.arange(dim // 4, dtype=torch.float64) / (dim // 4 - 1)
        omega = 1e4**-steps  # on the CPU: Apple's devices have no float64
        y = torch.arange(rows).repeat_interleave(columns)[:, None] * omega
        x = torch.arange(columns).repeat(rows)[:, None] * omega
        return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1).float().to(device)
