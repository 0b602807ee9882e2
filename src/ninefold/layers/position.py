"""Position tables at another size.

Source: bicubic resampling with unaligned corners, without antialiasing, as in the code of Liu et
al. 2021 (microsoft/Swin-Transformer, `utils.py`).
Shapes: h heads, n tokens, c channels.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resize_positions(
    table: Float[Tensor, "n c"], source: tuple[int, int], target: tuple[int, int]
) -> Float[Tensor, "m c"]:
    """A table over a grid of `source` rows and columns, resampled to `target`; exact where equal.

    Serves absolute positions (a row a token) and relative ones (a row an offset) alike.
    """
    if source == target:
        return table
    grid = table.t().reshape(1, -1, *source)
    return F.interpolate(grid, target, mode="bicubic", align_corners=False)[0].flatten(1).t()
