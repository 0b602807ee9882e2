"""The fifteen operations of Patch AutoAugment on stacks of patches, each a few tensor operations.

Source: Lin et al. 2021, arXiv 2103.11099, with numbers and order of LinShiqi047/PatchAutoAugment
(commit bb3cc07) as it ran on kornia 0.5.5; efficientnetv2-paa specification, sections B2 and B8.
Shapes: p patches, 3 channels (red, green, blue), h rows, w columns. Values from 0 to 1, before any
normalisation.

Operations of one form are one pass whatever their number: those that move pixels are an affine map
each, those that mix colours a matrix each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

OPERATIONS = (
    "random_erasing", "posterize", "patch_mean", "cutmix", "shear", "mixup", "translate",
    "brightness", "contrast", "rotation", "gray", "invert", "color_hue", "equalize", "sharpness",
)  # fmt: skip
"""By the number that an agent chooses."""

HALVED = ("posterize", "shear", "translate", "rotation", "sharpness")
"""What the official program leaves out every second time, by a default of its library."""

SHEAR = math.tan(math.radians(30))
GRAY = (0.299, 0.587, 0.114)

Stack = Float[Tensor, "p 3 h w"]


@dataclass(frozen=True)
class Draws:
    """What is drawn for each patch, whatever its operation.

    Args:
        box: For `random_erasing`: column, row, width and height in pixels.
        bits: For `posterize`: leading bits that are kept, 3 to 7.
        shift: For `translate`: to the right and down, in pixels, at most 0.4 of the patch.
        brightness: Added to 1 less than itself: 0.5 to 0.95, so it darkens.
        contrast: Factor, 0.5 to 0.95.
        degrees: For `rotation`, counter-clockwise, -30 to 30.
        hue: For `color_hue`, in turns, -0.3 to 0.3.
        sharpness: Share of the patch that is not blurred, 0 to 0.5.
        weight: For `mixup`: share of the patch itself, 0.5 to 1; one for all patches.
    """

    box: Int[Tensor, "p 4"]
    bits: Int[Tensor, " p"]
    shift: Float[Tensor, "p 2"]
    brightness: Float[Tensor, " p"]
    contrast: Float[Tensor, " p"]
    degrees: Float[Tensor, " p"]
    hue: Float[Tensor, " p"]
    sharpness: Float[Tensor, " p"]
    weight: Float[Tensor, ""]

    def rows(self, index: Int[Tensor, " q"] | slice) -> Self:
        """The draws of some patches."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{k: v[index] if v.ndim else v for k, v in values.items()})


def draw(patches: int, height: int, width: int, *, device: torch.device | str = "cpu") -> Draws:
    """Draw for that many patches from the device's global generator, the same amount for any
    operations: so a patch's noise does not depend on what is done to the others.

    Args:
        height: Rows of a patch, in pixels.
        width: Columns of a patch.
    """
    u = torch.rand(14, patches, device=device)
    return Draws(
        box=_boxes(u[:5], height, width),
        bits=(3 + 5 * u[5]).long().clamp(max=7),
        shift=torch.stack([(0.8 * u[6] - 0.4) * width, (0.8 * u[7] - 0.4) * height], dim=1),
        brightness=0.5 + 0.45 * u[8],
        contrast=0.5 + 0.45 * u[9],
        degrees=60 * u[10] - 30,
        hue=0.6 * u[11] - 0.3,
        sharpness=0.5 * u[12],
        weight=0.5 + 0.5 * u[13, 0] if patches else torch.ones((), device=device),
    )


def _boxes(u: Tensor, height: int, width: int) -> Tensor:
    """Areas of 0.09 to 0.36; heights over widths of 1/2 to 1 or of 1 to 2, by a coin."""
    area = (0.09 + 0.27 * u[0]) * height * width
    aspect = torch.where(u[1] < 0.5, 0.5 + 0.5 * u[2], 1.0 + u[2])
    rows = (area * aspect).sqrt().round().clamp(1, height)
    columns = (area / aspect).sqrt().round().clamp(1, width)
    x, y = (u[3] * (width - columns + 1)).floor(), (u[4] * (height - rows + 1)).floor()
    return torch.stack([x, y, columns, rows], dim=1).long()


def operate(name: str, x: Stack, draws: Draws, *, quirks: bool = False) -> Stack:
    """One operation on a stack of patches.

    Args:
        name: One of `OPERATIONS`.
        x: Not changed.
        draws: Of these patches.
        quirks: As in the official program, what `cutmix` and `mixup` put into the last patch is the
            first one as it has become already.
    """
    if name in WARPS:
        return warp(x, *WARPS[name](draws, x.shape[-2], x.shape[-1]))
    if name in TINTS:
        return tint(x, *TINTS[name](draws))
    if name in ("cutmix", "mixup"):
        weight = draws.weight if name == "mixup" else torch.zeros((), device=x.device)
        return _blend_next(x, weight.to(x.dtype), quirks)
    return ALONE[name](x, draws)


# Operations that move pixels: an affine map each


Affine = tuple[Float[Tensor, "p 2 2"], Float[Tensor, "p 2"]]
"""From a pixel of the result, counted from the centre in columns and rows, to one of the patch."""


def warp(x: Stack, linear: Float[Tensor, "p 2 2"], offset: Float[Tensor, "p 2"]) -> Stack:
    """Values at `linear (x, y) + offset` from the centre, bilinear; zeros outside."""
    height, width = x.shape[-2:]
    size = torch.tensor([width - 1, height - 1], device=x.device, dtype=x.dtype)
    # From -1 to 1 each half side is 1, so the linear part is scaled by the two half sides.
    scaled = linear * size / size[:, None]
    theta = torch.cat([scaled, (2 * offset / size)[..., None]], dim=2)
    grid = F.affine_grid(theta.to(x.dtype), list(x.shape), align_corners=True)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _shear(draws: Draws, height: int, width: int) -> Affine:
    """By 30 degrees: rows above the centre go right, those below left."""
    linear = torch.tensor([[1.0, SHEAR], [0.0, 1.0]], device=draws.shift.device)
    return linear.expand(len(draws.shift), 2, 2), torch.zeros_like(draws.shift)


def _translate(draws: Draws, height: int, width: int) -> Affine:
    """By a little more than was drawn, as kornia does: `w / (w - 1)` of it."""
    size = torch.tensor([width, height], device=draws.shift.device, dtype=draws.shift.dtype)
    linear = torch.eye(2, device=draws.shift.device).expand(len(draws.shift), 2, 2)
    return linear, -draws.shift * size / (size - 1)


def _rotate(draws: Draws, height: int, width: int) -> Affine:
    angle = torch.deg2rad(draws.degrees)
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], dim=1)
    return linear, torch.zeros_like(draws.shift)


WARPS: dict[str, Callable[[Draws, int, int], Affine]] = {
    "shear": _shear,
    "translate": _translate,
    "rotation": _rotate,
}


# Operations that mix colours: a matrix and a constant each, clamped


Colours = tuple[Float[Tensor, "p 3 3"], Float[Tensor, " p"]]


def tint(x: Stack, matrix: Float[Tensor, "p 3 3"], constant: Float[Tensor, " p"]) -> Stack:
    """`matrix x + constant` a pixel, cut off at 0 and 1."""
    flat = torch.baddbmm(constant.to(x.dtype)[:, None, None], matrix.to(x.dtype), x.flatten(2))
    return flat.clamp_(0, 1).view_as(x)


def _scaled(factor: Tensor, constant: Tensor) -> Colours:
    return factor[:, None, None] * torch.eye(3, device=factor.device), constant


def _brightness(draws: Draws) -> Colours:
    return _scaled(torch.ones_like(draws.brightness), draws.brightness - 1)


def _contrast(draws: Draws) -> Colours:
    return _scaled(draws.contrast, torch.zeros_like(draws.contrast))


def _invert(draws: Draws) -> Colours:
    ones = torch.ones_like(draws.contrast)
    return _scaled(-ones, ones)


def _gray(draws: Draws) -> Colours:
    weights = torch.tensor(GRAY, device=draws.contrast.device)
    return weights.expand(len(draws.contrast), 3, 3), torch.zeros_like(draws.contrast)


TINTS: dict[str, Callable[[Draws], Colours]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "gray": _gray,
    "invert": _invert,
}


# The others


def _erase(x: Stack, draws: Draws) -> Stack:
    left, top, columns, rows = draws.box.T[..., None]
    xs, ys = (torch.arange(n, device=x.device) for n in (x.shape[-1], x.shape[-2]))
    across = (xs >= left) & (xs < left + columns)
    down = (ys >= top) & (ys < top + rows)
    return x.masked_fill((down[:, :, None] & across[:, None, :])[:, None], 0.0)


def _posterize(x: Stack, draws: Draws) -> Stack:
    lost = (8 - draws.bits).view(-1, 1, 1, 1)
    return ((x * 255).long() >> lost << lost).to(x.dtype) / 255


def _patch_mean(x: Stack, draws: Draws) -> Stack:
    """The mean of all values of all patches of the stack, everywhere."""
    return x.mean().expand_as(x) if len(x) else x


def _blend_next(x: Stack, weight: Tensor, quirks: bool) -> Stack:
    """`weight` of each patch, the rest of the next one of the stack; of the first for the last."""
    if not len(x):
        return x
    blended = x * weight + x.roll(-1, 0) * (1 - weight)
    if quirks:
        first = blended[0] if len(x) > 1 else x[0]
        blended[-1] = x[-1] * weight + first * (1 - weight)
    return blended


def _hue(x: Stack, draws: Draws) -> Stack:
    """Turn the hue, with saturation and value as they are."""
    value, low = x.amax(1), x.amin(1)
    span = value - low
    safe = torch.where(span > 0, span, 1.0)
    red, green, blue = x.unbind(1)
    turn = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (turn / 6 + draws.hue.to(x.dtype)[:, None, None]) % 1.0 * 6
    # Each channel falls from the value to the lowest over two sixths of a turn.
    sixth = torch.stack([(n + hue) % 6.0 for n in (5, 3, 1)], dim=1)
    return value[:, None] - span[:, None] * torch.minimum(sixth, 4 - sixth).clamp(0, 1)


def _equalize(x: Stack, draws: Draws) -> Stack:
    """Each channel's values spread evenly over 0 to 255, by the rule of Pillow."""
    patches, channels, height, width = x.shape
    scaled = (x * 255).view(patches * channels, height * width)
    bins = (scaled * (256 / 255)).long().clamp(0, 255)
    counts = torch.zeros(len(bins), 256, device=x.device, dtype=torch.long)
    counts.scatter_add_(1, bins, torch.ones_like(bins))
    last = 255 - (counts.flip(1) > 0).long().argmax(1, keepdim=True)
    step = (height * width - counts.gather(1, last)) // 255
    table = (counts.cumsum(1) + step // 2) // step.clamp(min=1)
    table = torch.cat([torch.zeros_like(step), table[:, :-1]], dim=1).clamp(0, 255)
    spread = table.gather(1, scaled.long().clamp(0, 255)).to(x.dtype)
    return (torch.where(step > 0, spread, scaled) / 255).view_as(x)


def _sharpness(x: Stack, draws: Draws) -> Stack:
    """Blurred by the kernel of Pillow, as far as `sharpness` falls short of 1; borders stay."""
    kernel = torch.ones(3, 3, device=x.device, dtype=x.dtype)
    kernel[1, 1] = 5
    kernel = (kernel / 13).expand(x.shape[1], 1, 3, 3)
    smooth = x.clone()
    if min(x.shape[-2:]) > 2:
        blurred = F.conv2d(x, kernel, groups=x.shape[1])
        smooth[..., 1:-1, 1:-1] = blurred.clamp_(0, 1)
    return torch.lerp(smooth, x, draws.sharpness.to(x.dtype).view(-1, 1, 1, 1))


ALONE: dict[str, Callable[[Stack, Draws], Stack]] = {
    "random_erasing": _erase,
    "posterize": _posterize,
    "patch_mean": _patch_mean,
    "color_hue": _hue,
    "equalize": _equalize,
    "sharpness": _sharpness,
}
