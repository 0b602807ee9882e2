"""Focal Transformer: Swin's pyramid with windows that also see a ring and coarser tokens around.

Source: Yang et al. 2021, arXiv 2107.00641; names of parameters, order of operations and
initialisation as in microsoft/Focal-Transformer.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Collection, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ninefold.core.errors import Refused, nearest
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.focal import FocalAttention
from ninefold.layers.mlp import Mlp
from ninefold.layers.pieces import in_pieces
from ninefold.layers.position import resize_positions

Pair = tuple[int, int]
Pool = Literal["fc", "conv", "mean", "max", "none"]
POOLS = get_args(Pool)
EXPANDED = {"all": (0, 1), "even": (1,), "odd": (0,)}
"""Which blocks of a stage expand, by their index modulo 2. The names are the reference's, where
`even` takes the ring away from even blocks."""


class ConvEmbed(nn.Module):
    """From an image, or a map, to a coarser map: a convolution and a norm.

    Args:
        overlap: Whether kernels overlap: 7 x 7 for the first, 3 x 3 between stages.
        first: Whether this is the first.
        pre_norm: Whether what comes in is normalised as one group.
    """

    def __init__(
        self, inputs: int, dim: int, *, step: int, overlap: bool, first: bool, pre_norm: bool,
        norm: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        kernel, pad = ((7, 2) if first else (3, 1)) if overlap else (step, 0)
        self.pre_norm = nn.GroupNorm(1, inputs) if pre_norm and not first else None
        self.proj = nn.Conv2d(inputs, dim, kernel, step, pad)
        self.norm = nn.LayerNorm(dim) if norm else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _h _w d"]:
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        x = self.proj(x).permute(0, 2, 3, 1)
        return x if self.norm is None else self.norm(x)


class FocalBlock(nn.Module):
    """Focal attention and a perceptron, each normalised before and added to its input."""

    def __init__(
        self, dim: int, attention: FocalAttention, *, shift: int, pool: Pool, hidden: int,
        drop: float, drop_path: float, layerscale: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shift, self.pool = shift, pool
        self.sides = [attention.window // 2**level for level in range(attention.levels)]
        self.pool_layers = nn.ModuleList()
        for side in self.sides if pool in ("fc", "conv") else ():
            self.pool_layers.append(
                nn.Linear(side**2, 1)
                if pool == "fc"
                else nn.Conv2d(dim, dim, side, side, groups=dim)
            )
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden, drop=drop)
        scaled = layerscale > 0
        self.gamma_1 = nn.Parameter(torch.full((dim,), layerscale)) if scaled else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), layerscale)) if scaled else None

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        height, width, window = x.shape[1], x.shape[2], self.attn.window
        y = self.norm1(x)
        down, right = -height % window, -width % window
        if down or right:
            y = F.pad(y, (0, 0, 0, right, 0, down))
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        pooled = [self._pooled(y, level) for level in range(len(self.sides))]
        if self.gamma_1 is None and self.drop_path.is_idle():
            x = self.attn(y, pooled, self.shift, (height, width), x)
            return self.mlp(self.norm2(x), x)
        y = self.attn(y, pooled, self.shift, (height, width))
        x = x + self.drop_path(y if self.gamma_1 is None else self.gamma_1 * y)
        y = self.mlp(self.norm2(x))
        return x + self.drop_path(y if self.gamma_2 is None else self.gamma_2 * y)

    def _pooled(self, x: Tensor, level: int) -> Tensor:
        """One token a cell; what the cells of all windows leave over is cut off on all sides."""
        side, window = self.sides[level], self.attn.window
        rows, columns = (length // window * 2**level for length in x.shape[1:3])
        top, left = (x.shape[1] - rows * side) // 2, (x.shape[2] - columns * side) // 2
        x = x[:, top : top + rows * side, left : left + columns * side]
        if self.pool == "conv":
            return self.pool_layers[level](x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        cells = x.unflatten(2, (columns, side)).unflatten(1, (rows, side))
        if self.pool == "mean":
            return cells.mean(dim=(2, 4))
        if self.pool == "max":
            return cells.amax(dim=(2, 4))
        layer = self.pool_layers[level]
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.view(side, side)
        return torch.einsum("brpcqd,pq->brcd", cells, weight) + layer.bias


class FocalStage(nn.Module):
    """Blocks on maps of one size, and the step down to the next size."""

    def __init__(self, blocks: list[FocalBlock], downsample: ConvEmbed | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "b h w c"], *, save_memory: bool) -> Tensor:
        """The map after the last block; `downsample` is the caller's to apply."""
        if save_memory:
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=False)
            return x
        return in_pieces(self._run, x, self.blocks)

    def _run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Focal(nn.Module):
    """Classifier, or with `out_indices` a backbone for dense prediction; images of any size.

    Args:
        image_size: Size in pixels (a side, or rows and columns) that the weights are made for: a
            stage whose map is not larger than the window has a smaller window there, and no ring,
            as in the reference. At another size maps are padded to whole windows.
        patch_size: Side of a patch, in pixels; 4 with `use_conv_embed`.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features. A backbone has no head.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        window_size: Side of a window, in tokens.
        mlp_ratio: Hidden channels of the perceptrons over channels.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        drop_rate: Probability of dropping an activation.
        attn_drop_rate: Probability of dropping an attention probability.
        drop_path: Probability of dropping a branch of the last block, rising linearly from 0.
        ape: Whether a learned absolute position is added to every patch.
        patch_norm: Whether patches are normalised.
        use_checkpoint: Recompute blocks in the backward pass instead of keeping their activations.
        focal_levels: Levels of each stage, the fine one among them; 0 also takes the ring away.
        focal_windows: Pooled tokens along a side around a window, of each stage; odd.
        focal_pool: How a cell is pooled: one linear map for all channels (`fc`), one a channel
            (`conv`), its `mean` or `max`; `none` for windows and rings alone.
        focal_stages: Stages that pool.
        expand_sizes: How far the ring reaches, of each stage; 0 for none.
        expand_layer: Which blocks have a ring: `all`, not the `even` ones, or not the `odd` ones.
        expand_stages: Has no influence, as in the reference.
        use_shift: Whether every second block shifts its windows.
        use_conv_embed: Whether the convolutions between stages overlap.
        use_layerscale: Whether branches are scaled by a learned factor a channel.
        layerscale_value: That factor at the start.
        use_pre_norm: Whether maps are normalised before they are made coarser.
        out_indices: Stages whose maps a backbone gives, each with a norm of its own; nothing for a
            classifier.

    Departs: maps that are not whole windows are shifted with a mask of the padded map, where the
    reference has one of the map before padding and fails.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] = 224,
        patch_size: int = 4,
        in_channels: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.1,
        ape: bool = False,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
        focal_levels: Sequence[int] = (2, 2, 2, 2),
        focal_windows: Sequence[int] = (7, 5, 3, 1),
        focal_pool: str = "fc",
        focal_stages: Collection[int] = (0, 1, 2, 3),
        expand_sizes: Sequence[int] = (3, 3, 3, 3),
        expand_layer: str = "all",
        expand_stages: Collection[int] = (0, 1, 2, 3),
        use_shift: bool = False,
        use_conv_embed: bool = False,
        use_layerscale: bool = False,
        layerscale_value: float = 1e-4,
        use_pre_norm: bool = False,
        out_indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check(depths, num_heads, focal_levels, focal_windows, expand_sizes)
        _check_names(focal_pool=(focal_pool, POOLS), expand_layer=(expand_layer, EXPANDED))
        rows, columns = (image_size,) * 2 if isinstance(image_size, int) else image_size
        size = _steps((rows, columns), patch_size, use_conv_embed)
        dense = out_indices is not None
        self.use_checkpoint, self.grid = use_checkpoint, size
        self.out_indices = tuple(range(len(depths))) if out_indices is None else tuple(out_indices)
        self.patch_embed = ConvEmbed(
            in_channels, embed_dim, step=patch_size, overlap=use_conv_embed, first=True,
            pre_norm=use_pre_norm, norm=patch_norm,
        )  # fmt: skip
        places = torch.zeros(1, size[0] * size[1], embed_dim)
        self.absolute_pos_embed = nn.Parameter(places) if ape else None
        self.pos_drop = nn.Dropout(drop_rate)
        rates = iter(rising_rates(drop_path, sum(depths)))
        self.layers = nn.ModuleList()
        for i, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
            dim, blocks = embed_dim * 2**i, list[FocalBlock]()
            small = min(size) <= window_size
            window = min(size) if small else window_size
            pool = focal_pool if i in focal_stages and focal_levels[i] > 1 else "none"
            levels = 0 if pool == "none" else focal_levels[i] - 1
            for j in range(depth):
                ringed = not small and focal_levels[i] > 0 and j % 2 in EXPANDED[expand_layer]
                attention = FocalAttention(
                    dim, window=window, num_heads=heads, expand=expand_sizes[i] if ringed else 0,
                    focal_window=focal_windows[i], levels=levels,
                    qkv_bias=qkv_bias, qk_scale=qk_scale, attn_drop=attn_drop_rate,
                    proj_drop=drop_rate,
                )  # fmt: skip
                shift = window // 2 if use_shift and j % 2 and not small else 0
                blocks.append(
                    FocalBlock(
                        dim, attention, shift=shift, pool=_pool(pool), hidden=int(dim * mlp_ratio),
                        drop=drop_rate, drop_path=next(rates),
                        layerscale=layerscale_value if use_layerscale else 0.0,
                    )
                )  # fmt: skip
            last = i == len(depths) - 1
            down = None
            if not last:
                down = ConvEmbed(
                    dim, 2 * dim, step=2, overlap=use_conv_embed, first=False, pre_norm=use_pre_norm
                )
                size = _steps(size, 2, use_conv_embed)
            self.layers.append(FocalStage(blocks, down))
        self.num_features = embed_dim * 2 ** (len(depths) - 1)
        self.norm = None if dense else nn.LayerNorm(self.num_features)
        for i in self.out_indices if dense else ():
            self.add_module(f"norm{i}", nn.LayerNorm(embed_dim * 2**i))
        head = num_classes and not dense
        self.head = nn.Linear(self.num_features, num_classes) if head else nn.Identity()
        self._initialise()

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps from fine to coarse: of every stage, before any norm (classifier); or of the stages
        `out_indices`, each normalised (backbone). Views of channels-last memory."""
        x = self.patch_embed(image)
        if self.absolute_pos_embed is not None:
            size = (x.shape[1], x.shape[2])
            x = x + resize_positions(self.absolute_pos_embed[0], self.grid, size).view(*size, -1)
        x = self.pos_drop(x)
        maps: list[Tensor] = []
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, FocalStage)
            x = stage(x, save_memory=self.use_checkpoint and self.training)
            if i in self.out_indices:
                y = x if self.norm is not None else self.get_submodule(f"norm{i}")(x)
                maps.append(y.permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x.permute(0, 3, 1, 2))
        return maps

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The last map, normalised and averaged over its tokens."""
        x = features[-1].flatten(2).transpose(1, 2)
        return (x if self.norm is None else self.norm(x)).mean(dim=1)

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return self.head(self.pool(self.features(image)))

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The embedding, then every block, by stages (`models.depth`); the step down to the next
        stage goes with the block before it."""
        positions = () if self.absolute_pos_embed is None else ("absolute_pos_embed",)
        stages: list[list[tuple[str, ...]]] = [[("patch_embed", *positions)]]
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, FocalStage)
            layers: list[tuple[str, ...]] = [
                (f"layers.{i}.blocks.{j}",) for j in range(len(stage.blocks))
            ]
            if stage.downsample is not None:
                layers[-1] = (*layers[-1], f"layers.{i}.downsample")
            stages.append(layers)
        return stages

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable

    def _initialise(self) -> None:
        """As the reference: pooling layers start as means and are then drawn like all others."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)


def _steps(size: Pair, step: int, overlap: bool) -> Pair:
    """Rows and columns that `ConvEmbed` makes of these."""
    kernel, pad = ((7, 2) if step == 4 else (3, 1)) if overlap else (step, 0)
    rows, columns = ((length + 2 * pad - kernel) // step + 1 for length in size)
    return rows, columns


def _pool(name: str) -> Pool:
    return next(pool for pool in POOLS if pool == name)


def _check(
    depths: Sequence[int], num_heads: Sequence[int], levels: Sequence[int], windows: Sequence[int],
    expands: Sequence[int],
) -> None:  # fmt: skip
    short = min(map(len, (levels, windows, expands)))
    if len(depths) != len(num_heads) or not depths or short < len(depths):
        raise Refused(
            f"focal: depths {list(depths)}, num_heads {list(num_heads)}, focal_levels "
            f"{list(levels)}, focal_windows {list(windows)} and expand_sizes {list(expands)}; one "
            "entry each a stage"
        )
    for side in windows:
        if side % 2 == 0:
            near = f"{side - 1} and {side + 1}"
            raise Refused(f"focal: focal_windows {side} is even; nearest that fit: {near}")


def _check_names(**chosen: tuple[str, Collection[str]]) -> None:
    for option, (name, known) in chosen.items():
        if name not in known:
            hint = nearest(name, known, f"one of {', '.join(known)}")
            raise Refused(f"focal: {option} is {name!r}{hint}")
