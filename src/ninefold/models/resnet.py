"""Residual networks: with BatchNorm, with GroupNorm (v1), and BiT's pre-activated ones (v2).

Source: He et al. 2016, arXiv 1512.03385, Table 1, with the stride on the 3 x 3 convolution and the
names of torchvision; GroupNorm and standardised weights as in big_vision (`bit.py`,
`bit_paper.py`), after Kolesnikov et al. 2020, arXiv 1912.11370.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest
from ninefold.layers.bottleneck import GROUPS, ResNetBody
from ninefold.layers.conv import add_to, max_pool
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.norm import recomputed

NORMS = ("batch", "group", "bit")


class BasicUnit(nn.Module):
    """Two 3 x 3 convolutions, of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, dim: int, width: int, *, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _downsample(dim, width, stride)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = self.drop_path(self.bn2(self.conv2(y)))
        return torch.relu_(add_to(y, x if self.downsample is None else self.downsample(x)))


class BottleneckUnit(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, of ResNet-50 and deeper."""

    expansion = 4

    def __init__(self, dim: int, width: int, *, stride: int, drop_path: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _downsample(dim, 4 * width, stride)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        y = self.drop_path(self.bn3(self.conv3(y)))
        return torch.relu_(add_to(y, x if self.downsample is None else self.downsample(x)))


def _downsample(dim: int, out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and dim == out:
        return None
    return nn.Sequential(nn.Conv2d(dim, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class BatchNormBody(nn.Module):
    """From an image to the maps of all blocks, as in torchvision."""

    def __init__(
        self, *, blocks: Sequence[int], width_factor: float, in_channels: int, bottleneck: bool,
        drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        unit = BottleneckUnit if bottleneck else BasicUnit
        dim = width = int(64 * width_factor)
        self.num_blocks = len(blocks)
        self.dims = [unit.expansion * width * 2**i for i in range(len(blocks))]
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        rates = iter(rising_rates(drop_path, sum(blocks)))
        for i, count in enumerate(blocks):
            layer = nn.Sequential()
            for j in range(count):
                stride = 2 if i and not j else 1
                layer.append(unit(dim, width * 2**i, stride=stride, drop_path=next(rates)))
                dim = self.dims[i]
            self.add_module(f"layer{i + 1}", layer)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps from fine to coarse."""
        x = max_pool(torch.relu_(self.bn1(self.conv1(image))), padding="symmetric")
        maps: list[Tensor] = []
        for i in range(self.num_blocks):
            x = self.get_submodule(f"layer{i + 1}")(x)
            maps.append(x)
        return maps


class ResNet(nn.Module):
    """Classifier; images of any size.

    Args:
        image_size: Has no influence; every family takes it.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        blocks: Units of each block.
        width_factor: Channels over the usual ones, throughout.
        norm: `batch`; `group`: GroupNorm after standardised convolutions, padded as TensorFlow
            does (v1, the base of hybrids); `bit`: before them, padded evenly (v2).
        bottleneck: Whether units have three convolutions or, with BatchNorm alone, two.
        drop_path: Probability of dropping a branch of the last unit, rising linearly from 0.
        use_checkpoint: Recompute the body in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        num_classes: int = 1000,
        blocks: Sequence[int] = (3, 4, 6, 3),
        width_factor: float = 1.0,
        norm: str = "batch",
        bottleneck: bool = True,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise Refused(f"resnet: norm is {norm!r}{nearest(norm, NORMS, ', '.join(NORMS))}")
        if norm != "batch" and not bottleneck:
            raise Refused(f"resnet: bottleneck=False goes with norm='batch', not {norm!r}")
        self.stride = 2 ** (len(blocks) + 1)
        body = (
            partial(BatchNormBody, bottleneck=bottleneck)
            if norm == "batch"
            else partial(ResNetBody, version=1 if norm == "group" else 2)
        )
        self.body = body(
            blocks=blocks, width_factor=width_factor, in_channels=in_channels, drop_path=drop_path
        )
        self.use_checkpoint = use_checkpoint
        self.num_features = self.body.dims[-1]
        self.norm = nn.GroupNorm(GROUPS, self.num_features, eps=1e-5) if norm == "bit" else None
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if norm != "batch" and isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps of all blocks, from fine to coarse; BiT's before the last norm."""
        if self.use_checkpoint and self.training:
            return recomputed(self.body, image)
        return self.body(image)

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The mean of the last map; for BiT normalised and rectified before."""
        x = features[-1]
        if self.norm is not None:
            x = torch.relu(self.norm(x))
        return x.mean(dim=(2, 3))

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The root, then every unit, by blocks (`models.depth`)."""
        blocks = [name for name, _ in self.body.named_children() if name[:5] in ("layer", "block")]
        root = [f"body.{name}" for name, _ in self.body.named_children() if name not in blocks]
        units = [
            [(f"body.{name}.{unit}",) for unit, _ in self.body.get_submodule(name).named_children()]
            for name in blocks
        ]
        return [[tuple(root)], *units]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable
