"""All presets and families, by name.

Free of torch, so that commands list models and recipes read their settings at once.
"""

from fnmatch import fnmatchcase

from ninefold.core.errors import Refused, nearest
from ninefold.core.objects import is_reference
from ninefold.core.preprocess import Preprocess
from ninefold.models.cifar_presets import CIFAR_PRESETS
from ninefold.models.conv_presets import EFFICIENTNET_PRESETS, RESNET_PRESETS, V1, V2_BASE
from ninefold.models.preset import Family as Family
from ninefold.models.preset import Preset as Preset
from ninefold.models.swin_presets import FOCAL_PRESETS, SWIN_PRESETS
from ninefold.models.vit_presets import HYBRID_PRESETS, MIXER_PRESETS, VIT_PRESETS

VIT_ALIASES = {"patch": "patch_size", "hidden": "dim", "heads": "num_heads", "layers": "depth"}
FAMILIES: dict[str, Family] = {
    "swin": Family(
        "ninefold.models.swin:Swin",
        {
            "img_size": "image_size",
            "pretrain_img_size": "image_size",
            "in_chans": "in_channels",
            "drop_path_rate": "drop_path",
        },
    ),
    "focal": Family(
        "ninefold.models.focal:Focal",
        {"img_size": "image_size", "in_chans": "in_channels", "drop_path_rate": "drop_path"},
    ),
    "vit": Family("ninefold.models.vit:ViT", VIT_ALIASES),
    "vit_r": Family("ninefold.models.vit:ViT", VIT_ALIASES),
    "mixer": Family(
        "ninefold.models.mixer:Mixer",
        {
            "patch": "patch_size",
            "hidden": "dim",
            "tokens_mlp_dim": "token_hidden",
            "channels_mlp_dim": "channel_hidden",
            "num_blocks": "depth",
        },
    ),
    "resnet": Family("ninefold.models.resnet:ResNet", {}),
    "efficientnet": Family(
        "ninefold.models.efficientnet:EfficientNet",
        {"stochastic_depth": "drop_path"},
        {"stages": V1, "round_limit": 0.9},
    ),
    "efficientnet_v2": Family(
        "ninefold.models.efficientnet:EfficientNet",
        {"stochastic_depth": "drop_path"},
        {"stages": V2_BASE},
    ),
    "wide_resnet": Family("ninefold.models.wide_resnet:WideResNet", {"widen": "width"}),
    "shake_shake": Family("ninefold.models.shake_shake:ShakeShakeNet", {"w_base": "width"}),
    "pyramidnet": Family("ninefold.models.pyramidnet:PyramidNet", {}),
}

PRESETS: dict[str, Preset] = {
    **SWIN_PRESETS,
    **FOCAL_PRESETS,
    **VIT_PRESETS,
    **HYBRID_PRESETS,
    **MIXER_PRESETS,
    **RESNET_PRESETS,
    **EFFICIENTNET_PRESETS,
    **CIFAR_PRESETS,
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the presets that match a shell pattern, sorted."""
    return sorted(name for name in PRESETS if fnmatchcase(name, pattern))


def preset_of(name: str) -> Preset:
    """What is known of any model that `create_model` makes: preset, family, guest or own.

    Raises:
        Refused: no model has that name; the nearest one is told.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name.startswith("timm/"):
        return _guest(name)
    if is_reference(name) or name in FAMILIES:
        return Preset(family=name, options={}, preprocess=Preprocess(), status="own")
    raise unknown_model(name)


def published(name: str) -> str:
    """The address of a model's published weights.

    Raises:
        Refused: none are known, or they are not on the hub; which file it is is told then.
    """
    known = name in PRESETS or name.startswith("timm/")
    preset = preset_of(name) if known else None
    if preset is not None and preset.weights:
        return preset.weights
    file = preset.authors_file if preset is not None else ""
    if file:
        raise Refused(f"{name}: its weights are not on the hub; download {file} from where its "
                      "authors keep it, and name the file")  # fmt: skip
    raise Refused(f"{name}: no published weights are known; give a file")


def unknown_model(name: str) -> Refused:
    """The error for a name that is neither a preset nor a family."""
    hint = nearest(name, [*PRESETS, *FAMILIES]) or ";"
    return Refused(
        f"no model is called {name!r}{hint} `ninefold models` lists all {len(PRESETS)}, and there "
        "are timm/NAME and your own as package.module:Name"
    )


def _guest(name: str) -> Preset:
    """What timm knows of its model: image size, crop and normalisation of its weights."""
    from ninefold.models.guest import guest_settings

    settings = guest_settings(name.removeprefix("timm/"))
    return Preset(
        family="timm",
        options={},
        preprocess=Preprocess.parse(settings["preprocess"], where=name),
        status="guest",
        weights=settings["weights"],
        licence=settings["licence"],
        num_classes=settings["num_classes"],
    )
