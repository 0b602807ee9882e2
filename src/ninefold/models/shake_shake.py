"""Shake-Shake networks: two branches a unit, mixed at random while they train.

Source: Gastaldi 2017, arXiv 1705.07485; details and names of parameters as in
kakaobrain/fast-autoaugment.
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
from ninefold.layers.shake import ShakeShake


class Shortcut(nn.Module):
    """Where channels change: every `stride`-th pixel and its neighbour below to the right, each
    projected to half the channels."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(dim, out // 2, 1, bias=False)
        self.conv2 = nn.Conv2d(dim, out // 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        x = torch.relu(x)
        step = self.stride
        first, second = x[..., ::step, ::step], F.pad(x, (-1, 1, -1, 1))[..., ::step, ::step]
        return self.bn(torch.cat((self.conv1(first), self.conv2(second)), dim=1))


class Unit(nn.Module):
    """Two branches of two convolutions, and the way past them."""

    def __init__(self, dim: int, out: int, *, stride: int, drop_path: float) -> None:
        super().__init__()
        self.branch1, self.branch2 = _branch(dim, out, stride), _branch(dim, out, stride)
        self.mix = ShakeShake()
        # The reference makes a projection in every unit; those that are never asked keep its files
        # and counts, and are no part of the training.
        self.shortcut = Shortcut(dim, out, stride)
        self.projects = dim != out
        self.shortcut.requires_grad_(self.projects)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        mixed = self.mix(self.branch1(x), self.branch2(x))
        return (self.shortcut(x) if self.projects else x) + self.drop_path(mixed)


def _branch(dim: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(dim, out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(out),
    )


class ShakeShakeNet(nn.Module):
    """Classifier; images of any size, made for 32 pixels.

    Args:
        image_size: Has no influence; every family takes it.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        depth: Layers with weights: 2 and a multiple of 6.
        width: Channels of the first stage, an even number; the others have twice and four times
            as many.
        drop_path: Probability of dropping the last unit's branches, rising linearly from 0.
        use_checkpoint: Recompute the stages in the backward pass instead of keeping activations.

    Raises:
        Refused: a depth or a width that there is not.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 32,
        in_channels: int = 3,
        num_classes: int = 10,
        depth: int = 26,
        width: int = 32,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        units, rest = divmod(depth - 2, 6)
        if rest or units < 1:
            fits = max(1, units) * 6 + 2
            raise Refused(f"shake_shake: depth {depth} is not 2 and a multiple of 6; {fits} fits")
        if width % 2:
            raise Refused(f"shake_shake: width {width} is odd; {width + 1} fits")
        self.stride = 4
        self.use_checkpoint = use_checkpoint
        self.c_in = nn.Conv2d(in_channels, 16, 3, 1, 1)
        dim, rates = 16, iter(rising_rates(drop_path, 3 * units))
        for i in range(3):
            stage = nn.Sequential()
            for j in range(units):
                out, stride = width * 2**i, 2 if i and not j else 1
                stage.append(Unit(dim, out, stride=stride, drop_path=next(rates)))
                dim = out
            self.add_module(f"layer{i + 1}", stage)
        self.num_features = dim
        self.fc_out = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(self.fc_out, nn.Linear):
            nn.init.zeros_(self.fc_out.bias)

    @property
    def head(self) -> nn.Module:
        """The classifier, under the name that all models have for it."""
        return self.fc_out

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps of the three stages, from fine to coarse."""
        x = self.c_in(image)
        maps: list[Tensor] = []
        for i in range(3):
            stage = self.get_submodule(f"layer{i + 1}")
            x = recomputed(stage, x) if self.use_checkpoint and self.training else stage(x)
            maps.append(x)
        return maps

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The mean of the last map, rectified."""
        return torch.relu(features[-1]).mean(dim=(2, 3))

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The first convolution, then every unit, by stages (`models.depth`)."""
        stages = [f"layer{i + 1}" for i in range(3)]
        units = [
            [(f"{name}.{unit}",) for unit, _ in self.get_submodule(name).named_children()]
            for name in stages
        ]
        return [[("c_in",)], *units]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable
