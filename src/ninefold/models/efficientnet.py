"""EfficientNet and EfficientNetV2: inverted bottlenecks, fused in the early stages of V2.

Source: Tan & Le 2019, arXiv 1905.11946 (V1); Tan & Le 2021, arXiv 2104.00298 (V2); arithmetic and
rounding as in google/automl, names of parameters as in timm.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest
from ninefold.layers.conv import Conv2d, Padding, add_to
from ninefold.layers.drop import DropPath
from ninefold.layers.norm import recomputed

COLUMNS = "expand,fused,kernel,stride,out,repeats,se"
PADDINGS: dict[str, Padding] = {
    "same": "same", "tf_same": "same", "symmetric": "symmetric",
}  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """Blocks of one kind.

    Args:
        expand: Channels inside a block over those that come in.
        fused: Whether one full convolution takes the place of a narrow and a depthwise one.
        kernel: Side of the kernel.
        stride: Of the first block.
        out: Channels.
        repeats: Blocks.
        se: Channels of squeeze-and-excitation over those that come in; 0 for none.
    """

    expand: int
    fused: bool
    kernel: int
    stride: int
    out: int
    repeats: int
    se: float


class SqueezeExcite(nn.Module):
    """Scale each channel by what the means of all channels say."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, dim, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        y = x.mean(dim=(2, 3), keepdim=True)
        return x * self.conv_expand(F.silu(self.conv_reduce(y))).sigmoid()


class MBConv(nn.Module):
    """Widen, convolve each channel by itself, squeeze and excite, narrow."""

    def __init__(
        self, dim: int, stage: Stage, stride: int, *, padding: Padding, drop_path: float
    ) -> None:
        super().__init__()
        inner = dim * stage.expand
        narrow, norms = "conv_pw", ("bn1", "bn2")  # without widening, timm counts from the next
        if stage.expand != 1:
            self.add_module("conv_pw", Conv2d(dim, inner, 1))
            self.add_module("bn1", nn.BatchNorm2d(inner))
            narrow, norms = "conv_pwl", ("bn2", "bn3")
        self.conv_dw = Conv2d(
            inner, inner, stage.kernel, stride=stride, groups=inner, padding=padding
        )
        self.add_module(norms[0], nn.BatchNorm2d(inner))
        self.se = SqueezeExcite(inner, max(1, int(dim * stage.se))) if stage.se else nn.Identity()
        self.add_module(narrow, Conv2d(inner, stage.out, 1))
        self.add_module(norms[1], nn.BatchNorm2d(stage.out))
        self.widens = stage.expand != 1
        self.residual = stride == 1 and dim == stage.out
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        norm = self.get_submodule
        if self.widens:
            y = _silu(norm("bn1")(norm("conv_pw")(x)))
            y = self.se(_silu(norm("bn2")(self.conv_dw(y))))
            y = norm("bn3")(norm("conv_pwl")(y))
        else:
            y = self.se(_silu(norm("bn1")(self.conv_dw(x))))
            y = norm("bn2")(norm("conv_pw")(y))
        return add_to(self.drop_path(y), x) if self.residual else y


class FusedMBConv(nn.Module):
    """Widen by a full convolution and narrow; without widening the one convolution is all."""

    def __init__(
        self, dim: int, stage: Stage, stride: int, *, padding: Padding, drop_path: float
    ) -> None:
        super().__init__()
        inner = dim * stage.expand
        squeezed = max(1, int(dim * stage.se))
        self.widens = stage.expand != 1
        self.se = SqueezeExcite(inner, squeezed) if stage.se else nn.Identity()
        if self.widens:
            self.conv_exp = Conv2d(dim, inner, stage.kernel, stride=stride, padding=padding)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv_pwl, self.bn2 = Conv2d(inner, stage.out, 1), nn.BatchNorm2d(stage.out)
        else:
            self.conv = Conv2d(dim, stage.out, stage.kernel, stride=stride, padding=padding)
            self.bn1 = nn.BatchNorm2d(stage.out)
        self.residual = stride == 1 and dim == stage.out
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _c _h _w"]:
        if self.widens:
            y = self.se(_silu(self.bn1(self.conv_exp(x))))
            y = self.bn2(self.conv_pwl(y))
        else:
            y = _silu(self.bn1(self.conv(self.se(x))))
        return add_to(self.drop_path(y), x) if self.residual else y


def _silu(y: Tensor) -> Tensor:
    """Of what nobody else holds."""
    return F.silu(y, inplace=not torch.is_grad_enabled())


class EfficientNet(nn.Module):
    """Classifier; images of any size.

    Args:
        stages: Rows of whole numbers, one a stage, under `stage_cols`.
        stage_cols: Names of the columns: those of `Stage`, in any order; `in`, where it stands, is
            checked by nothing but the first stage's, which is the stem's width; without `se`,
            stages that are not fused have 0.25.
        image_size: Has no influence; every family takes it.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        width: Factor of all channels, which are then rounded to multiples of 8.
        depth: Factor of all repeats, rounded up.
        stem: Channels of the stem before `width`.
        last_channel: Channels of the last convolution as they are; 0 for 1280 by `width`.
        round_limit: Rounding may not take more than this share away; 0.9 in V1, 0 in V2.
        padding: `same` (also `tf_same`), TensorFlow's, or `symmetric`, torch's.
        bn_eps: Of the norms.
        bn_momentum_torch: Of the norms' running statistics, as torch counts it.
        dropout: Probability of dropping a pooled feature.
        drop_path: Probability of dropping a branch; block i of n has i / n of it.
        fused_stages: Stages, counted from 1, that are fused whatever their row says (Table 3 of the
            V2 paper, on EfficientNet-B4); nothing for those of the rows.
        fused_kernel: Side of the kernel in `fused_stages`; 0 for that of the row.
        fused_se: Whether `fused_stages` keep squeeze-and-excitation.
        use_checkpoint: Recompute stages in the backward pass instead of keeping their activations.

    Departs: no one rule for kernels and excitation in `fused_stages` gives all the parameters that
    Table 3 prints: 20.0, 43.4 and 132.0 million, where ours are 20.95, 43.53 and 132.12.
    """

    def __init__(
        self,
        *,
        stages: Sequence[Sequence[float]],
        stage_cols: str = COLUMNS,
        image_size: int | Sequence[int] = 224,
        in_channels: int = 3,
        num_classes: int = 1000,
        width: float = 1.0,
        depth: float = 1.0,
        stem: int = 32,
        last_channel: int = 0,
        round_limit: float = 0.0,
        padding: str = "same",
        bn_eps: float = 1e-3,
        bn_momentum_torch: float = 0.1,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        fused_stages: Collection[int] | None = None,
        fused_kernel: int = 0,
        fused_se: bool = False,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if padding not in PADDINGS:
            hint = nearest(padding, PADDINGS, ", ".join(PADDINGS))
            raise Refused(f"efficientnet: padding is {padding!r}{hint}")
        pad, self.use_checkpoint = PADDINGS[padding], use_checkpoint
        rows, first = _stages(stages, stage_cols, stem)
        rows = [
            _fused(row, fused_kernel, fused_se) if i in (fused_stages or ()) else row
            for i, row in enumerate(rows, start=1)
        ]
        rows = [
            replace(
                row,
                out=round_filters(row.out * width, round_limit),
                repeats=ceil(row.repeats * depth),
            )
            for row in rows
        ]
        self.stride = 2 * prod(row.stride for row in rows)
        self.rows = tuple(rows)
        dim = round_filters(first * width, round_limit)
        self.conv_stem = Conv2d(in_channels, dim, 3, stride=2, padding=pad)
        self.bn1 = nn.BatchNorm2d(dim)
        self.blocks = nn.Sequential()
        index, total = 0, sum(row.repeats for row in rows)
        for row in rows:
            blocks = nn.Sequential()
            for j in range(row.repeats):
                block = FusedMBConv if row.fused else MBConv
                stride = 1 if j else row.stride
                rate = drop_path * index / total
                blocks.append(block(dim, row, stride, padding=pad, drop_path=rate))
                dim, index = row.out, index + 1
            self.blocks.append(blocks)
        # A map is given where the next stage halves it; the finest ones, of stride 2, are not.
        ends = [i - 1 for i, row in enumerate(rows) if row.stride == 2 and i]
        self.ends = tuple([*ends, len(rows) - 1][-4:])
        self.num_features = last_channel or round_filters(1280 * width, round_limit)
        self.conv_head = Conv2d(dim, self.num_features, 1)
        self.bn2 = nn.BatchNorm2d(self.num_features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = (
            nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        )
        self._initialise(bn_eps, bn_momentum_torch)

    @property
    def head(self) -> nn.Module:
        """The classifier, under the name that all models have for it."""
        return self.classifier

    def stem(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c _h _w"]:
        """The map of the first convolution, half as large."""
        return _silu(self.bn1(self.conv_stem(image)))

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """The last map of each size, from a fourth to a 32nd of the image's side."""
        x = self.stem(image)
        maps: list[Tensor] = []
        for i, stage in enumerate(self.blocks):
            recompute = self.use_checkpoint and self.training
            x = recomputed(stage, x) if recompute else stage(x)
            if i in self.ends:
                maps.append(x)
        return maps

    def last(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map of the last convolution."""
        return _silu(self.bn2(self.conv_head(x)))

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The mean of the last convolution's map; in training with dropout."""
        return self.dropout(self.last(features[-1]).mean(dim=(2, 3)))

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.classifier(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The stem, then every block, by stages (`models.depth`)."""
        stages = [
            [(f"blocks.{i}.{name}",) for name, _ in stage.named_children()]
            for i, stage in enumerate(self.blocks)
        ]
        return [[("conv_stem", "bn1")], *stages]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable

    def _initialise(self, eps: float, momentum: float) -> None:
        """As google/automl: the fan-out of a depthwise kernel is its area."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = eps, momentum
            elif isinstance(module, nn.Conv2d):
                fan = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=(2 / fan) ** 0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if isinstance(self.classifier, nn.Linear):
            bound = self.classifier.out_features**-0.5
            nn.init.uniform_(self.classifier.weight, -bound, bound)
            nn.init.zeros_(self.classifier.bias)


def round_filters(channels: float, limit: float) -> int:
    """The nearest multiple of 8, at least 8, and not below `limit` of what was asked."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < limit * channels else rounded


def _stages(rows: Sequence[Sequence[float]], columns: str, stem: int) -> tuple[list[Stage], int]:
    """Rows by their columns' names, and the stem's width."""
    names = columns.split(",")
    lacking = {"expand", "fused", "kernel", "stride", "out", "repeats"} - set(names)
    wrong = [row for row in rows if len(row) != len(names)]
    if lacking or wrong or not rows:
        what = f"lacks {', '.join(sorted(lacking))}" if lacking else f"does not fit {wrong[:1]}"
        raise Refused(f"efficientnet: stage_cols {columns!r} {what}; e.g. {COLUMNS}")
    found: list[Stage] = []
    for row in rows:
        told = dict(zip(names, row, strict=True))
        fused = bool(told["fused"])
        found.append(
            Stage(
                expand=int(told["expand"]), fused=fused, kernel=int(told["kernel"]),
                stride=int(told["stride"]), out=int(told["out"]), repeats=int(told["repeats"]),
                se=float(told.get("se", 0.0 if fused else 0.25)),
            )
        )  # fmt: skip
    return found, int(cast(int, dict(zip(names, rows[0], strict=True)).get("in", stem)))


def _fused(stage: Stage, kernel: int, se: bool) -> Stage:
    return replace(stage, fused=True, kernel=kernel or stage.kernel, se=stage.se if se else 0.0)
