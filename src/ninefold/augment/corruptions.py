"""Common corruptions of images, by which robustness is measured.

Source: Hendrycks & Dietterich 2019, arXiv 1903.12261, section 3, as the authors' programs
(hendrycks/robustness) compute them: what they do beside the paper is named where it is done.
Departs: frost is painted and not six photos of the authors; ImageNet-C's files were also compressed
as JPEGs of quality 85. So these are the same corruptions and constants, but not the same files.
Shapes: b images, c channels, s rows and columns.
"""

import io
import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ninefold.augment.severities import LEAST_SIDE, SEVERITIES, chosen_corruptions, constants
from ninefold.core.errors import Refused

Images = Float[Tensor, "b c s s"]


class Draws:
    """Random numbers of a batch, each image's from a generator of its own, on the CPU: an image
    gets the same ones in any batch and on any device."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return self._stacked(lambda g, _: torch.randn(shape, generator=g))

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """From `low` up to `high`."""
        return self._stacked(lambda g, _: low + (high - low) * torch.rand(shape, generator=g))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From `low` up to `high - 1`."""
        return self._stacked(lambda g, _: torch.randint(low, high, shape, generator=g))

    def poisson(self, rates: Images) -> Images:
        """By a rate for every value."""
        rates = rates.cpu()
        return self._stacked(lambda g, i: torch.poisson(rates[i], generator=g))

    def _stacked(self, draw: Callable[[torch.Generator, int], Tensor]) -> Tensor:
        drawn = [draw(generator, i) for i, generator in enumerate(self._generators)]
        return torch.stack(drawn).to(self._device)


def corrupt(
    images: UInt8[Tensor, "b c s s"], name: str, severity: int, seeds: Sequence[int]
) -> UInt8[Tensor, "b c s s"]:
    """A batch of images, corrupted.

    Args:
        images: As the model is shown them: the constants are in pixels of 224 (or, below 96 a side,
            of 32).
        name: One of `severities.CORRUPTIONS`.
        severity: 1 to 5.
        seeds: One an image; all that is random follows from it.

    Raises:
        Refused: no such corruption or severity, or images that it is not defined for.
    """
    (name,) = chosen_corruptions(name)
    if severity not in SEVERITIES:
        raise Refused(f"{name}: severity is {severity}; 1 to 5")
    _, channels, side, _ = images.shape
    if channels not in (1, 3) or side < LEAST_SIDE:
        raise Refused(
            f"{name}: images of {channels} channels and {side} pixels a side; corruptions are "
            f"defined for 1 or 3 channels and {LEAST_SIDE} pixels or more"
        )
    draws = Draws(seeds, images.device)
    found = _FUNCTIONS[name](images.float() / 255, draws, *constants(name, severity, side))
    return _levels(found)


def _levels(x: Images) -> UInt8[Tensor, "b c s s"]:
    """Cut off, as the authors' programs do; the summand keeps what is whole up to rounding."""
    return (x.clamp(0, 1) * 255 + 1e-3).to(torch.uint8)


def gaussian_noise(x: Images, draws: Draws, scale: float) -> Images:
    return x + scale * draws.normal(*x.shape[1:])


def shot_noise(x: Images, draws: Draws, photons: float) -> Images:
    return draws.poisson(x * photons) / photons


def impulse_noise(x: Images, draws: Draws, share: float) -> Images:
    """Salt and pepper, in every channel by itself."""
    hit = draws.uniform(0, 1, *x.shape[1:]) <= share
    salt = draws.uniform(0, 1, *x.shape[1:]) <= 0.5
    return torch.where(hit, salt.to(x), x)


def defocus_blur(x: Images, draws: Draws, radius: float, soften: float) -> Images:
    """By a disk, its edge softened by a small Gaussian."""
    reach = 8 if radius <= 8 else int(radius)
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    small = np.arange(3 if radius <= 8 else 5) - (1 if radius <= 8 else 2)
    edge = np.exp(-0.5 * (small / soften) ** 2)
    edge = np.outer(edge, edge) / edge.sum() ** 2
    kernel = F.conv2d(
        F.pad(torch.from_numpy(disk / disk.sum())[None, None], (len(small) // 2,) * 4, "reflect"),
        torch.from_numpy(edge)[None, None],
    )[0, 0]
    used = int(torch.nonzero(kernel.sum(0))[0])
    kernel = kernel[used : len(kernel) - used, used : len(kernel) - used].to(x)
    margin = len(kernel) // 2
    weight = kernel.expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (margin,) * 4, "reflect"), weight, groups=x.shape[1])


def glass_blur(x: Images, draws: Draws, sigma: float, reach: float, times: float) -> Images:
    """Blurred, pixels moved to places nearby, blurred again.

    Departs: from the paper's words in that pixels are copied and not exchanged, since in the
    authors' program the second half of each exchange reads what the first has overwritten.
    """
    x = _levels(gaussian(x, sigma)).float() / 255
    for _ in range(int(times)):
        source = _copied(draws, x.shape[-1], int(reach))
        x = x.flatten(2).gather(2, source[:, None].expand(-1, x.shape[1], -1)).view_as(x)
    return gaussian(x, sigma)


def _copied(draws: Draws, side: int, reach: int) -> Int[Tensor, "b n"]:
    """For each of the n pixels, whose value it has in the end.

    From the last pixel to the first (but for margins) each one takes what then stands at a random
    place nearby. Where that one had its turn before, its own source counts, and so on: those chains
    are followed by doubling.
    """
    count = side - 2 * reach
    moves = draws.integers(-reach, reach, 2, count, count)
    rows = torch.arange(reach + 1, side - reach + 1, device=moves.device)
    place = torch.arange(side * side, device=moves.device)
    inside = torch.zeros(side, side, dtype=torch.bool, device=moves.device)
    inside[reach + 1 : side - reach + 1, reach + 1 : side - reach + 1] = True
    taken = place.view(side, side).repeat(len(moves), 1, 1)
    near = (rows[:, None] + moves[:, 0]) * side + rows + moves[:, 1]
    taken[:, reach + 1 : side - reach + 1, reach + 1 : side - reach + 1] = near
    taken = taken.flatten(1)
    link = torch.where((taken > place) & inside.flatten()[taken], taken, place)
    while not torch.equal(further := link.gather(1, link), link):
        link = further
    return taken.gather(1, link)


def motion_blur(x: Images, draws: Draws, radius: float, sigma: float) -> Images:
    return _streaked(x, radius, sigma, draws.uniform(-45, 45))


def _streaked(x: Images, radius: float, sigma: float, degrees: Float[Tensor, " b"]) -> Images:
    """Half a Gaussian along a line to one side.

    Source: ImageMagick, `MotionBlurImage`, which the authors call: its width, weights and rounding.
    """
    side = x.shape[-1]
    taps = np.exp(-0.5 * (np.arange(2 * math.ceil(radius) + 1) / sigma) ** 2)
    angle = torch.deg2rad(degrees.double())
    here = torch.arange(side, device=x.device)
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    pixels = x.permute(0, 2, 3, 1)
    out = torch.zeros_like(pixels)
    for i, weight in enumerate(taps / taps.sum()):
        down, right = (torch.ceil(i * turn - 0.5).long() for turn in (angle.sin(), angle.cos()))
        rows = (here + down[:, None]).clamp(0, side - 1)
        columns = (here + right[:, None]).clamp(0, side - 1)
        out += float(weight) * pixels[batch, rows[:, :, None], columns[:, None, :]]
    return out.permute(0, 3, 1, 2)


def zoom_blur(x: Images, draws: Draws, end: float, step: float) -> Images:
    factors = np.arange(1, end, step)  # the last one is, by rounding, sometimes the end itself
    zoomed = sum((_enlarged(x, float(f)) for f in factors), torch.zeros_like(x))
    return (x + zoomed) / (len(factors) + 1)


def _enlarged(x: Images, factor: float) -> Images:
    """The middle of the image, enlarged to its size and a little more, which is cut off."""
    side = x.shape[-1]
    part = math.ceil(side / factor)
    top = (side - part) // 2
    size = round(part * factor)
    middle = x[..., top : top + part, top : top + part]
    large = F.interpolate(middle, (size, size), mode="bilinear", align_corners=True)
    cut = (size - side) // 2
    return large[..., cut : cut + side, cut : cut + side]


def snow(
    x: Images, draws: Draws, mean: float, scale: float, zoom: float, least: float, radius: float,
    sigma: float, fade: float,
) -> Images:  # fmt: skip
    """Flakes that fall, twice (the second time turned around), over a picture that is bleached."""
    side = x.shape[-1]
    flakes = _enlarged(mean + scale * draws.normal(1, side, side), zoom)
    flakes = _levels(torch.where(flakes < least, 0.0, flakes)).float() / 255
    flakes = _streaked(flakes, radius, sigma, draws.uniform(-135, -45))
    bleached = torch.maximum(x, _grey(x) * 1.5 + 0.5)
    return fade * x + (1 - fade) * bleached + flakes + flakes.flip(2, 3)


def _grey(x: Images) -> Float[Tensor, "b 1 s s"]:
    if x.shape[1] == 1:
        return x
    weights = x.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    return (x * weights).sum(1, keepdim=True)


def frost(x: Images, draws: Draws, keep: float, cover: float) -> Images:
    """Ice of ridges and needles, bluish white, added to a picture that is darkened.

    Departs: painted anew for every image, where the authors cut pieces out of photos of ice.
    """
    side = x.shape[-1]
    ridges = [1 - (2 * plasma(draws, side, decay) - 1).abs() for decay in (1.6, 1.9)]
    grains = (draws.normal(1, side, side) > 1.6).to(x)
    needles = [
        _streaked(grains, side / 8, side / 12, draws.uniform(0, 180)) for _ in range(2)
    ]  # fmt: skip
    ice = torch.maximum(*ridges)[:, None] ** 2 + 1.5 * torch.maximum(*needles)
    tint = x.new_tensor([0.86, 0.95, 1.0]).view(3, 1, 1)
    ice = ice.clamp(0, 1) * (tint if x.shape[1] == 3 else 1.0)
    return keep * x + cover * ice


def fog(x: Images, draws: Draws, density: float, decay: float) -> Images:
    brightest = x.amax(dim=(1, 2, 3), keepdim=True)
    misty = x + density * plasma(draws, x.shape[-1], decay)[:, None]
    return misty * brightest / (brightest + density)


def plasma(draws: Draws, side: int, decay: float) -> Float[Tensor, "b s s"]:
    """Heights from 0 to 1 that are rough at every scale, by diamonds and squares.

    Args:
        decay: By how much the roughness falls (its square, indeed) as the scale is halved.
    """
    size = 2 ** math.ceil(math.log2(side))
    height = torch.zeros_like(draws.uniform(0, 1, size, size))
    step, rough = size, 100.0

    def mean(total: Tensor) -> Tensor:
        return total / 4 + rough * draws.uniform(-rough, rough, *total.shape[1:])

    while step >= 2:
        half = step // 2
        corners = height[:, ::step, ::step]
        both = corners + corners.roll(-1, 1)
        centres = mean(both + both.roll(-1, 2))
        height[:, half::step, half::step] = centres
        height[:, ::step, half::step] = mean(
            centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        )
        height[:, half::step, ::step] = mean(centres + centres.roll(1, 2) + both)
        step, rough = half, rough / decay
    height -= height.amin(dim=(1, 2), keepdim=True)
    height /= height.amax(dim=(1, 2), keepdim=True)
    return height[:, :side, :side]


def brightness(x: Images, draws: Draws, more: float) -> Images:
    """More of the value of hue, saturation and value."""
    value = x.amax(dim=1, keepdim=True)
    brighter = (value + more).clamp(max=1)
    return torch.where(value > 0, x * brighter / value.clamp(min=1e-6), brighter)


def contrast(x: Images, draws: Draws, share: float) -> Images:
    """Towards the mean of each channel."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return (x - mean) * share + mean


def elastic_transform(
    x: Images, draws: Draws, strength: float, sigma: float, reach: float
) -> Images:
    """Three points are moved and the plane with them; then every pixel a little, smoothly."""
    side = x.shape[-1]
    centre, third = side // 2, side // 3
    points = x.new_tensor([[1, 1], [1, -1], [-1, -1]]) * third + centre  # x, then y
    moved = points + draws.uniform(-reach, reach, 3, 2)
    ones = torch.ones_like(moved[..., :1])
    back = torch.linalg.solve(torch.cat([moved, ones], 2), points.expand_as(moved))
    here = torch.arange(side, device=x.device).to(x)
    grid = torch.stack(torch.meshgrid(here, here, indexing="xy"), -1)
    plane = torch.cat([grid, torch.ones_like(grid[..., :1])], -1)
    source = torch.einsum("hwi,bij->bhwj", plane, back)
    x = F.grid_sample(x, 2 * source / (side - 1) - 1, padding_mode="reflection", align_corners=True)
    shift = draws.uniform(-1, 1, 2, side, side)
    shift = strength * gaussian(shift, sigma, truncate=3, mode="reflect").permute(0, 2, 3, 1)
    source = grid + shift
    return F.grid_sample(
        x, (2 * source + 1) / side - 1, padding_mode="reflection", align_corners=False
    )


def gaussian(
    x: Float[Tensor, "b d s s"], sigma: float, *, truncate: float = 4, mode: str = "nearest"
) -> Float[Tensor, "b d s s"]:
    """Blurred along both axes, as scipy does it. Modes: `nearest` repeats the border's pixel,
    `reflect` mirrors the image at its border."""
    matrix = _blur_matrix(x.shape[-1], sigma, truncate, mode).to(x)
    return matrix @ x @ matrix.T


@lru_cache(maxsize=64)
def _blur_matrix(side: int, sigma: float, truncate: float, mode: str) -> Float[Tensor, "s s"]:
    radius = int(truncate * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / max(sigma, 1e-9)) ** 2)
    source = np.arange(side)[:, None] + offsets
    if mode == "nearest":
        source = source.clip(0, side - 1)
    else:
        source = source % (2 * side)
        source = np.minimum(source, 2 * side - 1 - source)
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.arange(side)[:, None], source), weights / weights.sum())
    return torch.from_numpy(matrix).float()


def pixelate(x: Images, draws: Draws, share: float) -> Images:
    side = x.shape[-1]
    small = int(side * share)
    box = Image.Resampling.BOX
    return _one_by_one(x, lambda i: i.resize((small, small), box).resize((side, side), box))


def jpeg_compression(x: Images, draws: Draws, quality: float) -> Images:
    def again(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _one_by_one(x, again)


def _one_by_one(x: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    grey = x.shape[1] == 1
    arrays = _levels(x).permute(0, 2, 3, 1).cpu().numpy()
    changed = [np.array(change(Image.fromarray(a[..., 0] if grey else a))) for a in arrays]
    stacked = torch.from_numpy(np.stack(changed)).to(x) / 255
    return stacked[:, None] if grey else stacked.permute(0, 3, 1, 2)


_FUNCTIONS: dict[str, Callable[..., Images]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
