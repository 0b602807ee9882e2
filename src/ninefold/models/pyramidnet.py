"""PyramidNets: channels grow by a little in every unit; with ShakeDrop on every branch.

Source: Han et al. 2017, arXiv 1610.02915, equation 3; Yamada et al. 2019, arXiv 1802.02375; details
and names of parameters as in kakaobrain/fast-autoaugment.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.norm import recomputed
from ninefold.layers.shake import ShakeDrop


class Shortcut(nn.Module):
    """Means of 2 x 2 pixels where the branch has every second one, and zeros for new channels."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Float[Tensor, "b c h w"], channels: int) -> Float[Tensor, "b _c _h _w"]:
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))


class BasicUnit(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, dim: int, planes: int, *, stride: int, drops: nn.Module) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.drops, self.way = drops, Shortcut(stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = self.conv1(self.bn1(x))
        y = self.bn3(self.conv2(torch.relu(self.bn2(y))))
        return self.drops(y) + self.way(x, y.shape[1])


class BottleneckUnit(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1."""

    expansion = 4

    def __init__(self, dim: int, planes: int, *, stride: int, drops: nn.Module) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(dim)
        self.conv1 = nn.Conv2d(dim, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn4 = nn.BatchNorm2d(4 * planes)
        self.drops, self.way = drops, Shortcut(stride)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = self.conv1(self.bn1(x))
        y = self.conv2(torch.relu(self.bn2(y)))
        y = self.bn4(self.conv3(torch.relu(self.bn3(y))))
        return self.drops(y) + self.way(x, y.shape[1])


class PyramidNet(nn.Module):
    """Classifier; images of any size, made for 32 pixels.

    Args:
        image_size: Has no influence; every family takes it.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        depth: Layers with weights: 2 and a multiple of 9, or of 6 without bottlenecks.
        alpha: Channels that all units together add to the 16 of the first convolution; each has
            its share of them, rounded, and a bottleneck's output four times as many.
        bottleneck: Whether units have three convolutions or two.
        shake_drop: Probability of disturbing the last unit's branch, rising linearly from 0 before
            the first; 0 for none.
        per_sample: Whether ShakeDrop deals with each sample by itself, or with the batch as one.
        drop_path: Probability of dropping the last unit's branch instead, rising linearly from 0.
        use_checkpoint: Recompute the stages in the backward pass instead of keeping activations.

    Raises:
        Refused: a depth that there is not.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 32,
        in_channels: int = 3,
        num_classes: int = 10,
        depth: int = 272,
        alpha: float = 200,
        bottleneck: bool = True,
        shake_drop: float = 0.5,
        per_sample: bool = False,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        layers = 9 if bottleneck else 6
        units, rest = divmod(depth - 2, layers)
        if rest or units < 1:
            fits = max(1, units) * layers + 2
            raise Refused(
                f"pyramidnet: depth {depth} is not 2 and a multiple of {layers}; {fits} fits"
            )
        self.stride = 4
        self.use_checkpoint = use_checkpoint
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        unit, total = BottleneckUnit if bottleneck else BasicUnit, 3 * units
        dim, exact, paths = 16, 16.0, rising_rates(drop_path, total)
        for i in range(3):
            stage = nn.Sequential()
            for j in range(units):
                at = i * units + j
                exact += alpha / total
                drops = nn.Sequential()
                if shake_drop:
                    drops.append(ShakeDrop(shake_drop * (at + 1) / total, per_sample=per_sample))
                if drop_path:
                    drops.append(DropPath(paths[at]))
                stride = 2 if i and not j else 1
                stage.append(unit(dim, round(exact), stride=stride, drops=drops))
                dim = unit.expansion * round(exact)
            self.add_module(f"layer{i + 1}", stage)
        self.num_features = dim
        self.bn_final = nn.BatchNorm2d(dim)
        self.fc = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head(self) -> nn.Module:
        """The classifier, under the name that all models have for it."""
        return self.fc

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps of the three stages, from fine to coarse, before the last norm."""
        x = self.bn1(self.conv1(image))
        maps: list[Tensor] = []
        for i in range(3):
            stage = self.get_submodule(f"layer{i + 1}")
            x = recomputed(stage, x) if self.use_checkpoint and self.training else stage(x)
            maps.append(x)
        return maps

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The mean of the last map, normalised and rectified."""
        return torch.relu(self.bn_final(features[-1])).mean(dim=(2, 3))

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The first convolution, then every unit, by stages (`models.depth`)."""
        stages = [f"layer{i + 1}" for i in range(3)]
        units = [
            [(f"{name}.{unit}",) for unit, _ in self.get_submodule(name).named_children()]
            for name in stages
        ]
        return [[("conv1", "bn1")], *units]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable
