"""Cutting images into patches, and merging neighbouring patches.

Source: Liu et al. 2021, arXiv 2103.14030, section 3.1.
Shapes: b images, i image channels, h rows, w columns, c channels a token.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.linear import linear


class PatchEmbed(nn.Module):
    """Each patch of pixels to one token, by one linear map.

    Args:
        patch: Rows and columns of a patch, in pixels.
        in_channels: Channels of the image.
        dim: Channels of a token.
        norm: Whether tokens are normalised.
    """

    def __init__(
        self, patch: tuple[int, int], in_channels: int, dim: int, *, norm: bool = True
    ) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, dim, patch, patch)
        self.norm = nn.LayerNorm(dim) if norm else None

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b rows columns c"]:
        """Images are padded with zeros at the right and the bottom to whole patches."""
        rows, columns = (-n % p for n, p in zip(image.shape[-2:], self.patch, strict=True))
        if rows or columns:
            image = F.pad(image, (0, columns, 0, rows))
        b, _, height, width = image.shape
        x = self.proj(image).flatten(2).transpose(1, 2)
        # Stated anew, since traced code would carry the convolution's own expression through all.
        x = x.reshape(b, height // self.patch[0], width // self.patch[1], -1)
        return x if self.norm is None else self.norm(x)


_CUT = 0.87962566103423978
"""Standard deviation of a normal distribution that is cut off at two of them."""


@torch.no_grad()
def lecun_normal_(proj: nn.Conv2d) -> None:
    """Start a patch embedding as flax does: a cut-off normal of variance `1 / fan-in`, no bias."""
    std = proj.weight[0].numel() ** -0.5 / _CUT
    nn.init.trunc_normal_(proj.weight, std=std, a=-2 * std, b=2 * std)
    if proj.bias is not None:
        proj.bias.zero_()


class PatchMerging(nn.Module):
    """Each 2 x 2 cell of tokens to one token of twice the channels.

    Args:
        dim: Channels of a token before merging.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b rows columns d"]:
        """Maps with an odd side are padded with zeros at the right or the bottom."""
        b, h, w, c = x.shape
        if h % 2 or w % 2:
            x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        rows, columns = x.shape[1] // 2, x.shape[2] // 2
        # Within a cell the row changes fastest: the order of the authors' weights.
        x = x.view(b, rows, 2, columns, 2, c).permute(0, 1, 3, 4, 2, 5)
        return linear(self.norm(x.reshape(b, rows, columns, 4 * c)), self.reduction)
