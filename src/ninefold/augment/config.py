"""What is done to training images: numbers only."""

from typing import Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ninefold.core.config import Config

Crop = Literal["random_resized", "inception", "random", "pad", "reflect", "none"]
Policy = Literal[
    "", "autoaugment", "autoaugment_cifar10", "autoaugment_svhn", "trivialaugment", "augmix",
    "fast_autoaugment_cifar10", "fast_autoaugment_svhn", "fast_autoaugment_imagenet",
]  # fmt: skip


class Patches(Config):
    """Patch AutoAugment: an operation of its own for every patch of every image."""

    grid: NonNegativeInt = 0
    """Patches along each side of an image; 0 for none of this."""
    credit: Literal["image", "team", "official", "uniform"] = "image"
    """What the agents that choose operations learn from: each image's own loss, the mean loss of
    all (the paper's objective), or that as the official program has it; `uniform`: no agents, and
    operations drawn at random."""
    lr: PositiveFloat = 1e-3
    """Peak learning rate of the agents (SGD with Nesterov momentum); it follows the schedule."""
    entropy: NonNegativeFloat = 0.001
    """What the entropy of their choices is worth to them."""
    quirks: bool = False
    """Two slips of the official program: the last row and column of patches stay, and five
    operations are left out every second time."""
    fade: bool = False
    """As the official program for photos: half of the batches stay as they are, and in the others
    a share of the patches that falls from a half to a hundredth over the run is operated on."""
    leave_out: tuple[str, ...] = ()
    """Operations that are not used, by name; the official program for photos leaves out `equalize`
    and `sharpness`."""
    widths: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 64, 32)
    """Channels of the agents' three convolutions: fewer beside a small model."""
    trunk: str = ""
    """A model in place of those, whose last map the agents see: `resnet18` for photos."""
    trunk_weights: str = ""
    """Where that starts: a file, `hf://org/repo/file`, `pretrained`, or nothing."""


class Augment(Config):
    """Order: crop, flip, RandAugment (or a policy, or colour jitter), Cutout, on each image; then
    normalise, operate on patches, erase, Mixup or CutMix, and the user's own, on the batch."""

    crop: Crop = "random_resized"
    """`random_resized`: a random part of the image, as timm and torchvision draw it; `inception`:
    likewise by TensorFlow's rule, for ViTs; `random`: a random square in place of evaluation's
    central one; `pad`: pad by an eighth with zeros and cut (CIFAR); `reflect`: likewise, but
    mirrored at the border; `none`: as in evaluation."""
    crop_area: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of the image's area that a random part covers."""
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width over height of that part, drawn log-uniformly (`inception`:
    uniformly)."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a horizontal flip."""
    randaugment: str = ""
    """timm's `rand-m9-mstd0.5-inc1`, AugReg's `augreg-l2-m15`, torchvision's `torchvision-n2-m9`;
    nothing for none."""
    on_device: bool = False
    """Apply AugReg's RandAugment to whole batches on the device, in place of image by image while
    loading: the same pixels, to the bit."""
    policy: Policy = ""
    """What else may be done to whole images, in place of RandAugment: torchvision's AutoAugment (as
    found on ImageNet, CIFAR-10 or SVHN), TrivialAugment or AugMix, or what Fast AutoAugment found;
    nothing for none."""
    color_jitter: NonNegativeFloat = 0.0
    """Strength of brightness, contrast and saturation jitter; ignored beside `randaugment` and
    `policy`."""
    cutout: NonNegativeInt = 0
    """Side, in pixels, of a square about a random point that gets the mean colour; 0 for none."""
    patches: Patches = Patches()
    """Patch AutoAugment."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of the beta distribution of Mixup's weight; 0 for none."""
    cutmix: NonNegativeFloat = 0.0
    """Alpha likewise for CutMix's area."""
    mix_probability: float = Field(default=1.0, ge=0, le=1)
    """Share of batches that are mixed at all."""
    cutmix_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the mixed batches that get CutMix where both are on."""
    mix_with: Literal["reversed", "previous"] = "reversed"
    """What an image is mixed with: the one at its place in the `reversed` batch, as in timm; or the
    `previous` one, with Mixup's weight of the image itself never below a half, as in big_vision."""
    erase: float = Field(default=0.0, ge=0, le=1)
    """Probability that anything of an image is erased."""
    erase_count: PositiveInt = 1
    """Rectangles erased at the most."""
    erase_mode: Literal["pixel", "constant"] = "pixel"
    """Fill with noise a pixel, or with zeros."""
    custom: str = ""
    """`package.module:Name`, called as `f(batch) -> batch` on the device, after all the others; of
    a class, an object is made first, without arguments."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        least, largest = self.crop_area
        if not 0 < least <= largest <= 1:
            raise ValueError(f"crop_area {self.crop_area} must rise within (0, 1]")
        narrow, wide = self.crop_aspect
        if not 0 < narrow <= wide:
            raise ValueError(f"crop_aspect {self.crop_aspect} must rise from above 0")
        return self

    @model_validator(mode="after")
    def _device_can(self) -> Self:
        if self.on_device and (self.randaugment.partition("-")[0] != "augreg" or self.cutout):
            raise ValueError(
                f"on_device is for randaugment augreg-..., not {self.randaugment!r}, and without "
                "cutout, which comes behind it; leave it off"
            )
        return self

    @model_validator(mode="after")
    def _one_policy(self) -> Self:
        if self.randaugment and self.policy:
            raise ValueError(
                f"randaugment {self.randaugment!r} and policy {self.policy!r} exclude each other; "
                "give one"
            )
        return self
