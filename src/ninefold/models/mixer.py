"""MLP-Mixer: two perceptrons a block, one across tokens and one across channels.

Source: Tolstikhin et al. 2021, arXiv 2105.01601, Fig. 1 and Table 1; arithmetic as in
google-research/vision_transformer (`models_mixer.py`), names of parameters as in timm.
Shapes: b images, i image channels, h rows, w columns, n tokens, d channels, k classes.
"""

from collections.abc import Sequence
from typing import cast, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ninefold.core.errors import Refused
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.linear import Gelu
from ninefold.layers.mlp import Mlp
from ninefold.layers.patch import lecun_normal_


class MixerBlock(nn.Module):
    """A perceptron across tokens, then one across channels, each normalised before and added."""

    def __init__(
        self, *, num_tokens: int, dim: int, token_hidden: int, channel_hidden: int,
        gelu: Gelu, drop_path: float, scale_by_keep: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_tokens = Mlp(num_tokens, token_hidden, gelu=gelu)
        self.drop_path = DropPath(drop_path, scale_by_keep=scale_by_keep)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp_channels = Mlp(dim, channel_hidden, gelu=gelu)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        if self.drop_path.is_idle():
            x = self.mlp_tokens.across(self.norm1(x), x)
            return self.mlp_channels(self.norm2(x), x)
        x = x + self.drop_path(self.mlp_tokens.across(self.norm1(x)))
        return x + self.drop_path(self.mlp_channels(self.norm2(x)))


class Mixer(nn.Module):
    """Classifier for images of one size: the perceptrons across tokens are made for it.

    Args:
        image_size: Side in pixels, or rows and columns.
        patch_size: Side of a patch, in pixels; must divide the image's sides.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features.
        dim: Channels of a token.
        depth: Blocks.
        token_hidden: Channels inside the perceptrons across tokens.
        channel_hidden: Channels inside those across channels.
        gelu: `tanh`, flax's approximation, or `exact`.
        drop_path: Probability of dropping a branch of the last block, rising linearly from 0.
        scale_by_keep: Whether branches that are kept are scaled up for it; big_vision does not.
        use_checkpoint: Recompute blocks in the backward pass instead of keeping their activations.
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
        token_hidden: int = 384,
        channel_hidden: int = 3072,
        gelu: str = "tanh",
        drop_path: float = 0.0,
        scale_by_keep: bool = True,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        if gelu not in get_args(Gelu):
            raise Refused(f"mixer: gelu is {gelu!r}; one of {', '.join(get_args(Gelu))}")
        rows, columns = (image_size,) * 2 if isinstance(image_size, int) else image_size
        if rows % patch_size or columns % patch_size:
            low = min(rows, columns) // patch_size * patch_size or patch_size
            raise Refused(
                f"mixer: image_size {rows} x {columns} is not whole patches of {patch_size} "
                f"pixels; nearest sizes that fit: {low} and {low + patch_size}"
            )
        self.size, self.use_checkpoint = (rows, columns), use_checkpoint
        proj = nn.Conv2d(in_channels, dim, patch_size, patch_size)
        lecun_normal_(proj)
        self.stem = nn.ModuleDict({"proj": proj})
        self.blocks = nn.Sequential(
            *(
                MixerBlock(
                    num_tokens=rows * columns // patch_size**2, dim=dim, token_hidden=token_hidden,
                    channel_hidden=channel_hidden, gelu=cast(Gelu, gelu), drop_path=rate,
                    scale_by_keep=scale_by_keep,
                )
                for rate in rising_rates(drop_path, depth)
            )
        )  # fmt: skip
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.num_features = dim
        self.head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def features(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b n d"]:
        """All tokens after the last norm.

        Raises:
            Refused: an image of another size than the model is made for.
        """
        if tuple(image.shape[-2:]) != self.size:
            made, given = (" x ".join(map(str, s)) for s in (self.size, image.shape[-2:]))
            raise Refused(f"mixer: is made for images of {made} pixels, not {given}")
        x = self.stem["proj"](image).flatten(2).transpose(1, 2)
        if self.use_checkpoint and self.training:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
        else:
            x = self.blocks(x)
        return self.norm(x)

    def pool(self, features: Float[Tensor, "b n d"]) -> Float[Tensor, "b d"]:
        """The mean of all tokens."""
        return features.mean(dim=1)

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The stem, then every block (`models.depth`)."""
        return [[("stem",)], *([(f"blocks.{i}",)] for i in range(len(self.blocks)))]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable
