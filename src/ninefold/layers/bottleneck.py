"""ResNet bodies with GroupNorm and standardised weights: the base of hybrids, and ResNets whole.

Source: google-research/vision_transformer `models_resnet.py` (v1, after Kolesnikov et al. 2020,
arXiv 1912.11370) and big_vision `bit.py` and `bit_paper.py` (v2, pre-activation). Names of
parameters are theirs.
Shapes: b images, i image channels, c channels of a map, h rows, w columns.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.conv import StdConv2d, max_pool
from ninefold.layers.drop import DropPath, rising_rates

GROUPS = 32


class UnitV1(nn.Module):
    """Bottleneck that normalises after each convolution; its stride is that of the 3 x 3 one."""

    def __init__(self, dim: int, width: int, *, stride: int, drop_path: float) -> None:
        super().__init__()
        out = 4 * width
        self.conv1 = StdConv2d(dim, width, 1)
        self.gn1 = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv2 = StdConv2d(width, width, 3, stride=stride)
        self.gn2 = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv3 = StdConv2d(width, out, 1)
        self.gn3 = nn.GroupNorm(GROUPS, out, eps=1e-6)
        self.conv_proj, self.gn_proj = None, None
        if stride != 1 or dim != out:
            self.conv_proj = StdConv2d(dim, out, 1, stride=stride)
            self.gn_proj = nn.GroupNorm(GROUPS, out, eps=1e-6)
        self.drop_path = DropPath(drop_path)
        nn.init.zeros_(self.gn3.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = torch.relu(self.gn1(self.conv1(x)))
        y = torch.relu(self.gn2(self.conv2(y)))
        y = self.drop_path(self.gn3(self.conv3(y)))
        if self.conv_proj is not None and self.gn_proj is not None:
            x = self.gn_proj(self.conv_proj(x))
        return torch.relu(x + y)


class UnitV2(nn.Module):
    """Bottleneck that normalises before each convolution; the projection sees the first norm."""

    def __init__(self, dim: int, width: int, *, stride: int, drop_path: float) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, step: int = 1) -> StdConv2d:
            return StdConv2d(
                inputs, outputs, kernel, stride=step, padding="symmetric", eps=1e-10,
                eps_in_root=True,
            )  # fmt: skip

        self.gn1 = nn.GroupNorm(GROUPS, dim, eps=1e-5)
        self.conv1 = conv(dim, width, 1)
        self.gn2 = nn.GroupNorm(GROUPS, width, eps=1e-5)
        self.conv2 = conv(width, width, 3, stride)
        self.gn3 = nn.GroupNorm(GROUPS, width, eps=1e-5)
        self.conv3 = conv(width, 4 * width, 1)
        projected = stride != 1 or dim != 4 * width
        self.conv_proj = conv(dim, 4 * width, 1, stride) if projected else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = torch.relu(self.gn1(x))
        shortcut = x if self.conv_proj is None else self.conv_proj(y)
        y = self.conv2(torch.relu(self.gn2(self.conv1(y))))
        y = self.conv3(torch.relu(self.gn3(y)))
        return shortcut + self.drop_path(y)


class ResNetBody(nn.Module):
    """From an image to the maps of all blocks.

    Args:
        blocks: Units of each block; none for the root alone.
        width_factor: Channels over the usual ones.
        in_channels: Channels of the image.
        version: 1: GroupNorm after convolutions, TensorFlow's padding; 2: before, and symmetric.
        drop_path: Stochastic depth, rising linearly over all units.
    """

    def __init__(
        self, *, blocks: Sequence[int], width_factor: float, in_channels: int, version: int,
        drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        width = int(64 * width_factor)
        first = version == 1
        self.version, self.num_blocks = version, len(blocks)
        self.conv_root = (
            StdConv2d(in_channels, width, 7, stride=2)
            if first
            else StdConv2d(
                in_channels, width, 7, stride=2, padding="symmetric", eps=1e-10, eps_in_root=True
            )
        )
        self.gn_root = nn.GroupNorm(GROUPS, width, eps=1e-6) if first else None
        self.dims = [4 * width * 2**i for i in range(len(blocks))] or [width]
        unit = UnitV1 if first else UnitV2
        rates = iter(rising_rates(drop_path, sum(blocks)))
        dim = width
        for i, count in enumerate(blocks):
            block = nn.Sequential()
            for j in range(count):
                stride = 2 if i and not j else 1
                one = unit(dim, width * 2**i, stride=stride, drop_path=next(rates))
                block.add_module(f"unit{j + 1}", one)
                dim = self.dims[i]
            self.add_module(f"block{i + 1}", block)

    def forward(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps from fine to coarse; of the root alone, its one map."""
        x = self.conv_root(image)
        if self.gn_root is not None:
            x = torch.relu(self.gn_root(x))
        x = max_pool(x, padding="same" if self.version == 1 else "symmetric")
        maps: list[Tensor] = []
        for i in range(self.num_blocks):
            x = self.get_submodule(f"block{i + 1}")(x)
            maps.append(x)
        return maps or [x]
