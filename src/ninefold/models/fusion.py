"""BatchNorm computed by the convolutions before it, for inference.

Source: Jacob et al. 2018, arXiv 1712.05877, section 3.2, by torch's `fuse_conv_bn_eval`.
"""

from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ninefold.core.errors import Refused
from ninefold.layers.conv import Conv2d

TOLERANCE = 1e-3
"""Difference of the outputs, over the largest of them, that rounding may make."""


def fuse(model: nn.Module, images: Float[Tensor, "b i h w"]) -> nn.Module:
    """A copy of a model for inference alone, in which no BatchNorm follows a convolution.

    A few per cent faster; weights are rounded anew, so outputs differ by about 1e-5 of their scale.
    A BatchNorm is taken to normalise what the convolution right before it, among the children of
    one module, gives. So it is in the models here; whether it is in another, both outputs on
    `images` tell.

    Args:
        images: Any that the model takes, the more like those to come the better.

    Raises:
        Refused: a model in which BatchNorms normalise something else.
    """
    fused = deepcopy(model).eval()
    for module in fused.modules():
        before = "", nn.Module()
        for name, child in list(module.named_children()):
            if _follows(before[1], child):
                setattr(module, before[0], fuse_conv_bn_eval(before[1], child))  # pyright: ignore[reportArgumentType]: _follows has looked
                setattr(module, name, nn.Identity())
            before = name, child
    training = model.training
    with torch.inference_mode():
        expected, given = model.eval()(images), fused(images)
    model.train(training)
    difference = float((expected - given).abs().max() / expected.abs().max().clamp(min=1e-12))
    if not difference <= TOLERANCE:
        raise Refused(
            f"fuse: outputs of {type(model).__name__} change by {difference:.1e} of their scale; "
            "its BatchNorms do not stand right after the convolutions that they normalise"
        )
    return fused


def _follows(before: nn.Module, child: nn.Module) -> bool:
    return (
        type(before) in (nn.Conv2d, Conv2d)
        and type(child) is nn.BatchNorm2d
        and child.num_features == before.out_channels
        and child.track_running_stats
    )
