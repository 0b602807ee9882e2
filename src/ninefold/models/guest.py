"""Guests: any timm model behind the interface that the library's own models have.

Source: huggingface/pytorch-image-models (timm), imported when a guest is first asked for.
Shapes: b images, i image channels, h rows, w columns, n tokens, d features, k classes.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.core.errors import Refused, nearest

_UNKNOWN = "a name that no model has"


def guest_settings(name: str) -> dict[str, Any]:
    """How a guest wants its images, under the names of `Preprocess`; and of its weights."""
    timm = _timm(name)
    known = timm.get_pretrained_cfg(name)
    size, crop = known.input_size, known.crop_pct
    file = known.hf_hub_filename or "model.safetensors"
    modes = ("bicubic", "bilinear", "nearest")
    return {
        "preprocess": {
            "image_size": size[-1],
            "channels": size[0],
            "mean": known.mean,
            "std": known.std,
            "crop_fraction": min(float(crop), 1.0),
            "squash": known.crop_mode == "squash",
            "interpolation": known.interpolation if known.interpolation in modes else "bicubic",
        },
        "num_classes": known.num_classes,
        "licence": known.license or "",
        "weights": f"hf://{known.hf_hub_id}/{file}" if known.hf_hub_id else "",
    }


class Guest(nn.Module):
    """A timm model with `features`, `pool` and `head`.

    Args:
        name: As timm calls it, without `timm/`.
        num_classes: Outputs of the head; 0 for pooled features, nothing for timm's number.
        in_channels: Channels of the image.
        drop_path: Probability of dropping a branch, for models that have such.
        image_size: Side of the image in pixels, for models whose weights depend on it.
        options: Further arguments of timm's own model.
    """

    def __init__(
        self,
        name: str,
        *,
        num_classes: int | None = None,
        in_channels: int = 3,
        drop_path: float = 0.0,
        image_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.name = name
        arguments = {"in_chans": in_channels, **options}
        if num_classes is not None:
            arguments["num_classes"] = num_classes
        if drop_path:
            arguments["drop_path_rate"] = drop_path
        if image_size is not None and _takes_size(name, arguments):
            arguments["img_size"] = image_size
        self.model: Any = _create(name, arguments)
        self.num_features = int(getattr(self.model, "head_hidden_size", self.model.num_features))
        self.head = self.model.get_classifier()
        self.head_axes = 2 if isinstance(self.head, nn.Conv2d) else 0  # of its kernel, in files
        if not isinstance(self.head, nn.Linear | nn.Identity):
            self.head = nn.Linear(self.num_features, self.model.num_classes)
        self.model.reset_classifier(0)

    def features(
        self, image: Float[Tensor, "b i h w"]
    ) -> list[Float[Tensor, "b _c _h _w"]] | Float[Tensor, "b n d"]:
        """Maps from fine to coarse, or tokens, as the model has them."""
        if not hasattr(self.model, "forward_intermediates") or not self._has_maps():
            last = self.model.forward_features(image)
            return last if last.dim() == 3 else [self._channels_first(last)]
        last, maps = self.model.forward_intermediates(image, output_fmt="NCHW")
        return last if last.dim() == 3 else [*maps[:-1], self._channels_first(last)]

    def pool(
        self, features: list[Float[Tensor, "b _c _h _w"]] | Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b d"]:
        """What timm's own head makes of the last map, or of the tokens."""
        last = features[-1] if isinstance(features, list) else features
        if isinstance(features, list) and self._channels_last():
            last = last.permute(0, 2, 3, 1)
        return self.model.forward_head(last, pre_logits=True)

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.model.forward_head(self.model.forward_features(image), True))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """Stages of layers (`models.depth`) by timm's own `group_matcher`."""
        from timm.models import group_parameters

        if not hasattr(self.model, "group_matcher"):
            raise Refused(f"timm/{self.name}: timm does not tell the order of its layers")
        # What the matcher does not know is the head's; a name that it cannot know finds these.
        named = [*self.model.named_parameters(), (_UNKNOWN, None)]
        asked: Any = SimpleNamespace(named_parameters=lambda: named)
        matcher = self.model.group_matcher
        coarse: Any = group_parameters(asked, matcher(coarse=True), reverse=True)
        fine: Any = group_parameters(asked, matcher(coarse=False))
        stages: dict[int, list[tuple[str, ...]]] = {}
        for _, names in sorted(fine.items()):
            if _UNKNOWN not in names:
                layer = tuple(f"model.{name}" for name in names)
                stages.setdefault(min(coarse[name] for name in names), []).append(layer)
        return [layers for _, layers in sorted(stages.items())]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As timm has it, for models that can."""
        self.model.set_grad_checkpointing(enable)

    def _has_maps(self) -> bool:
        reductions = {entry["reduction"] for entry in getattr(self.model, "feature_info", [])}
        return len(reductions) > 1  # a plain transformer has one resolution, and gives its tokens

    def _channels_last(self) -> bool:
        return getattr(self.model, "output_fmt", "NCHW") == "NHWC"

    def _channels_first(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2) if self._channels_last() else x


def _create(name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        return _timm(name).create_model(name, **arguments)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise Refused(f"timm/{name}: timm cannot build it with {arguments}: {reason}") from None


def _takes_size(name: str, arguments: dict[str, Any]) -> bool:
    """Whether a model is made for one image size: convolutional ones know no such argument."""
    timm = _timm(name)
    try:
        with torch.device("meta"):
            timm.create_model(
                name, **arguments, img_size=timm.get_pretrained_cfg(name).input_size[1:]
            )
    except TypeError:
        return False
    return True


def _timm(name: str) -> ModuleType:
    try:
        import timm
    except ImportError:
        raise Refused(
            f"timm/{name}: guests need the 'timm' package; install it with: "
            "pip install 'ninefold[timm]'"
        ) from None
    if not timm.is_model(name):
        raise Refused(f"timm has no model {name!r}{nearest(name, timm.list_models())}")
    return timm
