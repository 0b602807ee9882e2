"""What builds a model of other libraries from the options of one of our presets.

A family's peers are one line of `PEERS`. None is built by name, so that a preset that nobody else
has, the smallest ones among them, has its peers too. No branch and no activation is dropped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any

import torch
from torch import nn

from ninefold.models.create import create_model

LIBRARIES = ("timm", "torchvision", "transformers")


@dataclass(frozen=True)
class Subject:
    """A model that is measured, with what a peer must know to be the same.

    Args:
        name: As in `create_model`.
        family: Of its preset.
        options: Of its preset.
        image_size: Side in pixels.
        channels: Of the image.
        num_classes: Outputs.
    """

    name: str
    family: str
    options: Mapping[str, Any]
    image_size: int
    channels: int
    num_classes: int


class Logits(nn.Module):
    """A model of transformers, called like all others: its parameters are those of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image).logits


def _timm_swin(subject: Subject) -> nn.Module:
    swin = import_module("timm.models.swin_transformer")
    chosen = _swin_options(subject)
    return swin.SwinTransformer(
        img_size=subject.image_size, in_chans=subject.channels, num_classes=subject.num_classes,
        drop_path_rate=0.0, **chosen,
    )  # fmt: skip


def _torchvision_swin(subject: Subject) -> nn.Module:
    swin = import_module("torchvision.models.swin_transformer")
    chosen = _swin_options(subject)
    window = [chosen.pop("window_size")] * 2
    return swin.SwinTransformer(
        patch_size=[4, 4], window_size=window, num_classes=subject.num_classes,
        stochastic_depth_prob=0.0, **chosen,
    )  # fmt: skip


def _transformers_swin(subject: Subject) -> nn.Module:
    transformers = import_module("transformers")
    config = transformers.SwinConfig(
        image_size=subject.image_size, num_channels=subject.channels, drop_path_rate=0.0,
        num_labels=subject.num_classes, **_swin_options(subject),
    )  # fmt: skip
    return Logits(transformers.SwinForImageClassification(config))


def _swin_options(subject: Subject) -> dict[str, Any]:
    return {k: subject.options[k] for k in ("embed_dim", "depths", "num_heads", "window_size")}


def _timm_itself(subject: Subject) -> nn.Module:
    create = import_module("timm").create_model
    name = subject.name.removeprefix("timm/")
    try:
        return create(name, img_size=subject.image_size)
    except TypeError:  # convolutional ones are made for no size
        return create(name)


def _options(subject: Subject, family: str, class_: str) -> dict[str, Any]:
    """All options of our model, those that the preset leaves at their defaults among them."""
    made_by = getattr(import_module(f"ninefold.models.{family}"), class_)
    defaults = {k: p.default for k, p in signature(made_by).parameters.items()}
    return {**defaults, **subject.options}


def _timm_vit(subject: Subject) -> nn.Module:
    options = _options(subject, "vit", "ViT")
    module, name = "vision_transformer", "VisionTransformer"
    if options["distilled"]:
        module, name = "deit", "VisionTransformerDistilled"
    return getattr(import_module(f"timm.models.{module}"), name)(
        img_size=subject.image_size, in_chans=subject.channels, num_classes=subject.num_classes,
        patch_size=options["patch_size"], embed_dim=options["dim"], depth=options["depth"],
        num_heads=options["num_heads"], mlp_ratio=options["mlp_dim"] / options["dim"],
        qkv_bias=options["qkv_bias"], act_layer=partial(nn.GELU, approximate=_gelu(options)),
        **({} if options["classifier"] == "token" else _MEAN_OF_TOKENS),
    )  # fmt: skip


_MEAN_OF_TOKENS = {"class_token": False, "global_pool": "avg", "fc_norm": False}


def _torchvision_vit(subject: Subject) -> nn.Module:
    options = _options(subject, "vit", "ViT")
    model = import_module("torchvision.models.vision_transformer").VisionTransformer(
        image_size=subject.image_size, patch_size=options["patch_size"],
        num_layers=options["depth"], num_heads=options["num_heads"], hidden_dim=options["dim"],
        mlp_dim=options["mlp_dim"], num_classes=subject.num_classes,
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.GELU):
            module.approximate = _gelu(options)
    return model


def _transformers_vit(subject: Subject) -> nn.Module:
    transformers = import_module("transformers")
    options = _options(subject, "vit", "ViT")
    kind = "DeiT" if options["distilled"] else "ViT"
    config = getattr(transformers, f"{kind}Config")(
        image_size=subject.image_size, num_channels=subject.channels,
        num_labels=subject.num_classes, patch_size=options["patch_size"],
        hidden_size=options["dim"], num_hidden_layers=options["depth"],
        num_attention_heads=options["num_heads"], intermediate_size=options["mlp_dim"],
        hidden_act={"none": "gelu", "tanh": "gelu_pytorch_tanh"}[_gelu(options)],
        hidden_dropout_prob=0.0, layer_norm_eps=1e-6,
    )  # fmt: skip
    kind += "ForImageClassificationWithTeacher" if kind == "DeiT" else "ForImageClassification"
    return Logits(getattr(transformers, kind)(config))


def _gelu(options: Mapping[str, Any]) -> str:
    return "tanh" if options["gelu"] == "tanh" else "none"


def _timm_mixer(subject: Subject) -> nn.Module:
    options = _options(subject, "mixer", "Mixer")
    dim = options["dim"]
    return import_module("timm.models.mlp_mixer").MlpMixer(
        img_size=subject.image_size, in_chans=subject.channels, num_classes=subject.num_classes,
        patch_size=options["patch_size"], num_blocks=options["depth"], embed_dim=dim,
        mlp_ratio=(options["token_hidden"] / dim, options["channel_hidden"] / dim),
        act_layer=partial(nn.GELU, approximate=_gelu(options)),
    )  # fmt: skip


def _timm_resnet(subject: Subject) -> nn.Module:
    options = _options(subject, "resnet", "ResNet")
    common = {"in_chans": subject.channels, "num_classes": subject.num_classes}
    if options["norm"] != "batch":
        v2 = import_module("timm.models.resnetv2")
        preact = options["norm"] == "bit"
        conv = import_module("timm.layers").StdConv2d
        if preact:
            stem, convolution = "fixed", partial(conv, eps=1e-8)
        else:
            stem = "same"
            convolution = partial(import_module("timm.layers").StdConv2dSame, eps=1e-8)
        return v2.ResNetV2(
            options["blocks"], preact=preact, stem_type=stem, conv_layer=convolution,
            width_factor=options["width_factor"], **common,
        )  # fmt: skip
    resnet = import_module("timm.models.resnet")
    block = resnet.Bottleneck if options["bottleneck"] else resnet.BasicBlock
    width = 64 * options["width_factor"]
    if width != 64:  # timm's stem and blocks have one factor each
        raise ValueError(f"no stem of {width:g} channels")
    return resnet.ResNet(block, options["blocks"], **common)


def _torchvision_resnet(subject: Subject) -> nn.Module:
    options = _options(subject, "resnet", "ResNet")
    if options["norm"] != "batch" or options["width_factor"] != 1.0 or len(options["blocks"]) != 4:
        raise ValueError("it has BatchNorm, the usual width and four blocks")
    resnet = import_module("torchvision.models.resnet")
    block = resnet.Bottleneck if options["bottleneck"] else resnet.BasicBlock
    return resnet.ResNet(block, list(options["blocks"]), num_classes=subject.num_classes)


def _timm_efficientnet(subject: Subject) -> nn.Module:
    """torchvision's pads symmetrically and so computes something else."""
    builder = import_module("timm.models._efficientnet_builder")
    net = import_module("timm.models.efficientnet")
    ours = _built(subject)
    rows = [
        [
            f"{kind}_r{row.repeats}_k{row.kernel}_s{row.stride}_e{row.expand}_c{row.out}"
            + (f"_se{row.se}" if row.se else "")
            + ("_skip" if kind == "cn" else "")
        ]
        for row in ours.rows
        for kind in [_kind(row)]
    ]
    return net.EfficientNet(
        builder.decode_arch_def(rows), num_classes=subject.num_classes, in_chans=subject.channels,
        num_features=ours.num_features, stem_size=ours.conv_stem.out_channels, fix_stem=True,
        pad_type="same", act_layer=nn.SiLU, norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
    )  # fmt: skip


def _kind(row: Any) -> str:
    """timm's name of a block."""
    if row.fused:
        return "cn" if row.expand == 1 else "er"
    return "ds" if row.expand == 1 else "ir"


def _built(subject: Subject) -> Any:
    """Our own model without memory: the one place that knows how widths and depths are rounded."""
    with torch.device("meta"):
        return create_model(subject.name)


PEERS: dict[str, dict[str, Callable[[Subject], nn.Module]]] = {
    "swin": {
        "timm": _timm_swin,
        "torchvision": _torchvision_swin,
        "transformers": _transformers_swin,
    },
    "vit": {
        "timm": _timm_vit, "torchvision": _torchvision_vit, "transformers": _transformers_vit,
    },
    "mixer": {"timm": _timm_mixer},
    "resnet": {"timm": _timm_resnet, "torchvision": _torchvision_resnet},
    "efficientnet": {"timm": _timm_efficientnet},
    "efficientnet_v2": {"timm": _timm_efficientnet},
    "timm": {"timm": _timm_itself},
}  # fmt: skip
"""By family and library: what builds the peer of a preset."""
