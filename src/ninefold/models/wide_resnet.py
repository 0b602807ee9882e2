"""Wide residual networks for small images.

Source: Zagoruyko and Komodakis 2016, arXiv 1605.07146, Table 1. Two forms with the names of their
programs: that of LinShiqi047/PatchAutoAugment (`original`), and kakaobrain/fast-autoaugment's,
whose convolutions have biases, whose stride stands on the second one of a unit and whose shortcut
takes the raw input.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.norm import recomputed

FORMS = ("original", "fast_autoaugment")


class Unit(nn.Module):
    """Two convolutions after their norms; where the shape changes, both ways see the first norm."""

    def __init__(
        self, dim: int, out: int, *, stride: int, dropout: float, momentum: float, drop_path: float
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(dim, momentum=momentum)
        self.conv1 = nn.Conv2d(dim, out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out, momentum=momentum)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        changes = stride != 1 or dim != out
        self.convShortcut = nn.Conv2d(dim, out, 1, stride, bias=False) if changes else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = torch.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        y = self.dropout(torch.relu(self.bn2(self.conv1(y))))
        return shortcut + self.drop_path(self.conv2(y))


class FastUnit(nn.Module):
    """Likewise, as fast-autoaugment has it."""

    def __init__(
        self, dim: int, out: int, *, stride: int, dropout: float, momentum: float, drop_path: float
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(dim, momentum=momentum)
        self.conv1 = nn.Conv2d(dim, out, 3, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.bn2 = nn.BatchNorm2d(out, momentum=momentum)
        self.conv2 = nn.Conv2d(out, out, 3, stride, 1)
        changes = stride != 1 or dim != out
        self.shortcut = nn.Sequential(nn.Conv2d(dim, out, 1, stride)) if changes else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        y = self.dropout(self.conv1(torch.relu(self.bn1(x))))
        y = self.conv2(torch.relu(self.bn2(y)))
        return self.shortcut(x) + self.drop_path(y)


class WideResNet(nn.Module):
    """Classifier; images of any size, made for 32 pixels.

    Args:
        image_size: Has no influence; every family takes it.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        depth: Layers with weights: 4 and a multiple of 6.
        width: Channels over 16, 32 and 64 of the three stages.
        form: `original` or `fast_autoaugment`.
        dropout: Probability between the two convolutions of a unit.
        norm_momentum: Share of a batch in the running statistics; fast-autoaugment has 0.9.
        drop_path: Probability of dropping the last unit's branch, rising linearly from 0.
        use_checkpoint: Recompute the stages in the backward pass instead of keeping activations.

    Raises:
        Refused: a depth or a form that there is not.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 32,
        in_channels: int = 3,
        num_classes: int = 10,
        depth: int = 28,
        width: int = 10,
        form: str = "original",
        dropout: float = 0.0,
        norm_momentum: float = 0.1,
        drop_path: float = 0.0,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if form not in FORMS:
            raise Refused(f"wide_resnet: form is {form!r}{nearest(form, FORMS, ', '.join(FORMS))}")
        units, rest = divmod(depth - 4, 6)
        if rest or units < 1:
            fits = max(1, units) * 6 + 4
            raise Refused(f"wide_resnet: depth {depth} is not 4 and a multiple of 6; {fits} fits")
        self.stride = 4
        self.original = form == "original"
        unit = Unit if self.original else FastUnit
        self.use_checkpoint = use_checkpoint
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=not self.original)
        dim, rates = 16, iter(rising_rates(drop_path, 3 * units))
        self._stages: list[str] = []
        for i in range(3):
            stage = nn.Sequential()
            for j in range(units):
                out = 16 * width * 2**i
                stage.append(
                    unit(
                        dim, out, stride=2 if i and not j else 1, dropout=dropout,
                        momentum=norm_momentum, drop_path=next(rates),
                    )
                )  # fmt: skip
                dim = out
            name = f"block{i + 1}" if self.original else f"layer{i + 1}"
            self._stages.append(f"{name}.layer" if self.original else name)
            self.add_module(name, nn.ModuleDict({"layer": stage}) if self.original else stage)
        self.num_features = dim
        self.bn1 = nn.BatchNorm2d(dim, momentum=norm_momentum)
        head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        self.add_module("fc" if self.original else "linear", head)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and self.original:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def head(self) -> nn.Module:
        """The classifier, under the name that all models have for it."""
        return self.get_submodule("fc" if self.original else "linear")

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps of the three stages, from fine to coarse, before the last norm."""
        x = self.conv1(image)
        maps: list[Tensor] = []
        for name in self._stages:
            stage = self.get_submodule(name)
            x = recomputed(stage, x) if self.use_checkpoint and self.training else stage(x)
            maps.append(x)
        return maps

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The mean of the last map, normalised and rectified."""
        return torch.relu(self.bn1(features[-1])).mean(dim=(2, 3))

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The first convolution, then every unit, by stages (`models.depth`)."""
        units = [
            [(f"{name}.{unit}",) for unit, _ in self.get_submodule(name).named_children()]
            for name in self._stages
        ]
        return [[("conv1",)], *units]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable
