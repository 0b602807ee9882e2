"""Convolutions with TensorFlow's padding and with standardised weights.

Source: the padding of `SAME` as TensorFlow and flax define it; weight standardisation after Qiao et
al. 2019, arXiv 1903.10520, with the constants of google-research/vision_transformer
(`models_resnet.py`) and big_vision (`bit_paper.py`).
Shapes: b images, i channels in, c channels out, h rows, w columns.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Padding = Literal["same", "symmetric"]
"""`same`: outputs are inputs over the stride, rounded up, and what is lacking for an even split
goes to the right and the bottom; `symmetric`: half the kernel on every side, as torch has it."""


def same_padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of this length, by TensorFlow's rule."""
    total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return total // 2, total - total // 2


class Conv2d(nn.Conv2d):
    """A square convolution that pads by either rule.

    Args:
        in_channels: Channels in.
        out_channels: Channels out.
        kernel_size: Side of the kernel.
        stride: Step between outputs.
        groups: Groups of channels that do not see each other.
        bias: Whether there is one.
        padding: Which rule.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1,
        groups: int = 1, bias: bool = False, padding: Padding = "same",
    ) -> None:  # fmt: skip
        symmetric = kernel_size // 2 if padding == "symmetric" else 0
        super().__init__(
            in_channels, out_channels, kernel_size, stride, symmetric, groups=groups, bias=bias
        )
        self.same = padding == "same"

    def forward(self, input: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c _h _w"]:
        return self.convolved(input, self.weight)

    def convolved(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution with a weight that may be made of this module's."""
        if not self.same:
            return self._conv_forward(x, weight, self.bias)
        kernel, stride = self.kernel_size[0], self.stride[0]
        top, bottom = same_padding(x.shape[-2], kernel, stride)
        left, right = same_padding(x.shape[-1], kernel, stride)
        even = top == bottom and left == right
        if not even:
            x = F.pad(x, (left, right, top, bottom))
        padding = (top, left) if even else 0
        return F.conv2d(x, weight, self.bias, self.stride, padding, groups=self.groups)


class StdConv2d(Conv2d):
    """A convolution whose kernels have mean 0 and standard deviation 1 each.

    Args:
        eps: Added to the standard deviation (`eps_in_root` false), or to the variance.
        eps_in_root: Which of the two.

    Departs: standardised in float32 under autocast, where a deviation near 1e-5 would vanish.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1,
        padding: Padding = "same", eps: float = 1e-5, eps_in_root: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride=stride, padding=padding)
        self.eps, self.eps_in_root = eps, eps_in_root

    def forward(self, input: Float[Tensor, "b i h w"]) -> Float[Tensor, "b c _h _w"]:
        variance, mean = torch.var_mean(
            self.weight.float(), dim=(1, 2, 3), correction=0, keepdim=True
        )
        inside, outside = (self.eps, 0.0) if self.eps_in_root else (0.0, self.eps)
        weight = (self.weight - mean) / ((variance + inside).sqrt() + outside)
        return self.convolved(input, weight.to(self.weight.dtype))


def add_to(y: Float[Tensor, "b c h w"], x: Float[Tensor, "b c h w"]) -> Tensor:
    """The sum, in the memory of `y` where precisions allow: a branch that nobody else holds, and
    whose last operation does not need its result again."""
    return y.add_(x) if y.dtype == x.dtype else x + y


def fast_layout(model: nn.Module) -> torch.memory_format:
    """Channels last for models whose weights are mostly convolutions, as they run fastest."""
    kernels = sum(p.numel() for p in model.parameters() if p.dim() == 4)
    total = sum(p.numel() for p in model.parameters())
    return torch.channels_last if 2 * kernels > total else torch.contiguous_format


def lay_out(model: nn.Module) -> torch.memory_format:
    """Put a model's weights into its `fast_layout`, which is returned."""
    layout = fast_layout(model)
    model.to(memory_format=layout)  # pyright: ignore[reportCallIssue]: torch's stub lacks it
    return layout


def max_pool(x: Float[Tensor, "b c h w"], *, padding: Padding) -> Float[Tensor, "b c _h _w"]:
    """The largest of 3 x 3 pixels, every second row and column; padding never wins."""
    if padding == "symmetric":
        return F.max_pool2d(x, 3, 2, 1)
    top, bottom = same_padding(x.shape[-2], 3, 2)
    left, right = same_padding(x.shape[-1], 3, 2)
    return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-torch.inf), 3, 2)
