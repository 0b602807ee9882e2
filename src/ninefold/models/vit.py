"""Vision Transformer: an image as a sequence of patches; also DeiT, and hybrids over a ResNet.

Source: Dosovitskiy et al. 2021, arXiv 2010.11929; Steiner et al. 2021, arXiv 2106.10270 (AugReg);
Touvron et al. 2021, arXiv 2012.12877 (DeiT). Arithmetic as in google-research/vision_transformer
(`models_vit.py`), names of parameters as in DeiT and timm.
Shapes: b images, i image channels, h rows, w columns, n tokens (those that are no patches first),
d channels, r of what is classified, k classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ninefold.core.errors import Refused, nearest
from ninefold.layers.bottleneck import ResNetBody
from ninefold.layers.drop import rising_rates
from ninefold.layers.linear import Gelu
from ninefold.layers.patch import lecun_normal_
from ninefold.layers.position import Resize, resize_positions, sincos_positions
from ninefold.layers.transformer import TransformerBlock

Classifier = Literal["token", "gap"]
Positions = Literal["learned", "sincos"]
CHOICES: dict[str, tuple[str, ...]] = {
    "classifier": get_args(Classifier),
    "positions": get_args(Positions),
    "resize": get_args(Resize),
    "gelu": get_args(Gelu),
}


class DistilledHead(nn.Module):
    """The mean of what two heads say, one of the class token and one of the distillation token.

    Departs: DeiT gives both in training, for its teacher's loss; here it is their mean, always.
    """

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.cls = nn.Linear(dim, num_classes)
        self.dist = nn.Linear(dim, num_classes)

    def forward(self, x: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """`x` holds both tokens, one after the other."""
        first, second = x.chunk(2, dim=1)
        return (self.cls(first) + self.dist(second)) / 2


class ViT(nn.Module):
    """Classifier; images of any size.

    Args:
        image_size: Size in pixels (a side, or rows and columns) that the learned positions are made
            for; at another size they are resampled in every pass.
        patch_size: Side of a patch, in pixels, or of the ResNet's map. What is left of an image
            beyond whole patches is not seen.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        dim: Channels of a token.
        depth: Blocks.
        num_heads: Attention heads.
        mlp_dim: Channels inside the perceptrons.
        classifier: What is classified: a `token` of its own, or the mean of all tokens (`gap`).
        representation_size: Channels of a further layer with a hyperbolic tangent before the head,
            as in the first ViT's ImageNet-21k files; nothing for none.
        positions: `learned`, or fixed sines and cosines (`sincos`).
        resize: How learned positions are resampled: `bilinear` with aligned corners, the rule of
            the authors' code; `bicubic`, that of DeiT.
        gelu: `tanh`, flax's approximation; `exact` for DeiT's weights.
        qkv_bias: Whether queries, keys and values have a bias.
        distilled: Whether there is a distillation token with a head of its own, as in DeiT.
        drop_rate: Probability of dropping an activation: after positions, attention, and both
            layers of the perceptrons.
        attn_drop_rate: Probability of dropping an attention probability.
        drop_path: Probability of dropping a branch of the last block, rising linearly from 0.
        scale_by_keep: Whether branches that are kept are scaled up for it; big_vision does not.
        resnet: `num_layers` (units of each block, empty for the root alone) and `width_factor` of
            a ResNet between image and patches; nothing for a plain ViT.
        use_checkpoint: Recompute blocks in the backward pass instead of keeping their activations.
        init_std: Standard deviation of weights at the start, for DeiT 0.02; 0 for what the authors'
            code has: LeCun's normal patches, Xavier's uniform blocks and a head of zeros.

    Source: stochastic depth rises as AugReg's section 3.3 says; no public code has it for ViT.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        num_classes: int = 1000,
        dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_dim: int = 3072,
        classifier: str = "token",
        representation_size: int | None = None,
        positions: str = "learned",
        resize: str = "bilinear",
        gelu: str = "tanh",
        qkv_bias: bool = True,
        distilled: bool = False,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.0,
        scale_by_keep: bool = True,
        resnet: Mapping[str, Any] | None = None,
        use_checkpoint: bool = False,
        init_std: float = 0.0,
    ) -> None:
        super().__init__()
        _check(dim, num_heads, classifier=classifier, positions=positions, resize=resize, gelu=gelu)
        if distilled and classifier != "token":
            raise Refused("vit: distilled=True stands beside a class token; classifier='token'")
        self.backbone = None if resnet is None else _body(resnet, in_channels)
        inputs = in_channels if self.backbone is None else self.backbone.dims[-1]
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(inputs, dim, patch_size, patch_size)})
        self.patch_size, self.classifier, self.positions = patch_size, classifier, positions
        self.resize: Resize = "bicubic" if resize == "bicubic" else "bilinear"
        self.use_checkpoint = use_checkpoint
        self.grid, self.pixels_covered = self._grid(_pair(image_size))
        token = classifier == "token"
        self.num_prefix = token + distilled
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if token else None
        self.dist_token = nn.Parameter(torch.zeros(1, 1, dim)) if distilled else None
        places = self.num_prefix + self.grid[0] * self.grid[1]
        learned = positions == "learned"
        self.pos_embed = nn.Parameter(torch.zeros(1, places, dim)) if learned else None
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(
                    dim, num_heads, mlp_dim, gelu="tanh" if gelu == "tanh" else "exact",
                    qkv_bias=qkv_bias, drop=drop_rate, attn_drop=attn_drop_rate, drop_path=rate,
                    scale_by_keep=scale_by_keep,
                )
                for rate in rising_rates(drop_path, depth)
            )
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.num_features = representation_size or dim
        self.pre_logits = (
            nn.Sequential(nn.Linear(dim, representation_size), nn.Tanh())
            if representation_size
            else nn.Identity()
        )
        self.head: nn.Module = nn.Identity()
        if num_classes:
            head = DistilledHead if distilled else nn.Linear
            self.head = head(self.num_features, num_classes)
        self.num_features *= 1 + distilled
        self._initialise(init_std)

    def features(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b n d"]:
        """All tokens after the last norm: that of the class, of distillation, then the patches."""
        x = image if self.backbone is None else self.backbone(image)[-1]
        x = self.patch_embed["proj"](x)
        size = (x.shape[-2], x.shape[-1])
        x = self.pos_drop(self._placed(x.flatten(2).transpose(1, 2), size))
        if self.use_checkpoint and self.training:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
        else:
            x = self.blocks(x)
        return self.norm(x)

    def pool(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b r"]:
        """What is classified; with distillation two tokens, one after the other."""
        if self.classifier == "gap":
            x = features.mean(dim=1)
        else:
            x = features[:, 0] if self.dist_token is None else features[:, :2]
        return self.pre_logits(x).flatten(1)

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The embedding, then every block (`models.depth`)."""
        names = ("backbone", "patch_embed", "cls_token", "dist_token", "pos_embed")
        embedding = tuple(name for name in names if getattr(self, name) is not None)
        return [[embedding], *([(f"blocks.{i}",)] for i in range(len(self.blocks)))]

    def no_weight_decay(self) -> set[str]:
        """Tokens and positions: AugReg decays kernels alone, and DeiT has the same list."""
        names = ("cls_token", "dist_token", "pos_embed")
        return {name for name in names if getattr(self, name) is not None}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable

    def _placed(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Tokens with their positions, those that are no patches before them."""
        prefix = [
            t.expand(len(x), -1, -1) for t in (self.cls_token, self.dist_token) if t is not None
        ]
        if self.pos_embed is None:
            x = x + sincos_positions(*size, x.shape[-1], x.device).to(x.dtype)
            return torch.cat([*prefix, x], dim=1)
        table = self.pos_embed[0]
        if size != self.grid:
            own, rest = table.split([self.num_prefix, len(table) - self.num_prefix])
            table = torch.cat([own, resize_positions(rest, self.grid, size, self.resize)])
        return torch.cat([*prefix, x], dim=1) + table

    def _grid(self, image: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Patches along each axis of an image, and the pixels that they cover."""
        halvings = 0 if self.backbone is None else 1 + max(self.backbone.num_blocks, 1)
        step = self.patch_size * 2**halvings
        rows, columns = (-(-side // 2**halvings) // self.patch_size for side in image)
        if not rows or not columns:
            raise Refused(
                f"vit: image_size {min(image)} is smaller than a patch; {step} is the least"
            )
        return (rows, columns), (min(image[0], rows * step), min(image[1], columns * step))

    def _initialise(self, std: float) -> None:
        if not std:
            proj = self.patch_embed["proj"]
            assert isinstance(proj, nn.Conv2d)
            lecun_normal_(proj)
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                apart = 3 if name.endswith(".qkv") else 1  # flax has three kernels
                for kernel in module.weight.chunk(apart):
                    if std:
                        nn.init.trunc_normal_(kernel, std=std)
                    else:
                        nn.init.xavier_uniform_(kernel)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                    if not std and ".mlp." in name:
                        nn.init.normal_(module.bias, std=1e-6)
        for parameter in (self.pos_embed, *((self.cls_token, self.dist_token) if std else ())):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.head.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if std:
                    nn.init.trunc_normal_(module.weight, std=std)
                else:
                    nn.init.zeros_(module.weight)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    rows, columns = (size, size) if isinstance(size, int) else size
    return rows, columns


def _body(resnet: Mapping[str, Any], in_channels: int) -> ResNetBody:
    unknown = set(resnet) - {"num_layers", "width_factor"}
    if unknown or "num_layers" not in resnet:
        raise Refused(
            f"vit: resnet is {dict(resnet)}; num_layers, and maybe width_factor, are asked"
        )
    return ResNetBody(
        blocks=resnet["num_layers"], width_factor=resnet.get("width_factor", 1.0),
        in_channels=in_channels, version=1, drop_path=0.0,
    )  # fmt: skip


def _check(dim: int, num_heads: int, **chosen: str) -> None:
    if dim % num_heads:
        raise Refused(f"vit: {num_heads} heads do not divide {dim} channels; e.g. {dim // 64 or 1}")
    for option, value in chosen.items():
        if value not in CHOICES[option]:
            hint = nearest(value, CHOICES[option], ", ".join(CHOICES[option]))
            raise Refused(f"vit: {option} is {value!r}{hint}")
