"""Swin Transformer: attention within windows that shift from block to block, and a pyramid of maps.

Source: Liu et al. 2021, arXiv 2103.14030; parameter names, initialisation and padding as in
microsoft/Swin-Transformer (classifier) and the authors' detection and segmentation backbones.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ninefold.core.errors import Refused
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.linear import linear
from ninefold.layers.mlp import Mlp
from ninefold.layers.partition import Axes, ShiftImpl, WindowPolicy, fit_windows
from ninefold.layers.patch import PatchEmbed, PatchMerging
from ninefold.layers.performer import PerformerAttention
from ninefold.layers.pieces import in_pieces
from ninefold.layers.position import resize_positions
from ninefold.layers.sliding import SlidingAttention
from ninefold.layers.window import WindowAttention
from ninefold.models.swin_options import (
    KINDS,
    POLICIES,
    SHIFTS,
    as_pair,
    check_kind,
    check_stages,
    choose,
    patch_grid,
    positions,
    table_window,
)

Attention = WindowAttention | SlidingAttention | PerformerAttention


class SwinBlock(nn.Module):
    """Attention and a perceptron, each normalised before and added to its input."""

    def __init__(
        self, dim: int, attention: Attention, *, shifted: bool, policy: WindowPolicy,
        hidden: int, drop: float, drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shifted = shifted
        self.policy: WindowPolicy = policy
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attention
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden, drop=drop)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        if self.drop_path.is_idle():
            x = self._attend(self.norm1(x), x)
            return self.mlp(self.norm2(x), x)
        x = x + self.drop_path(self._attend(self.norm1(x), None))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, residual: Tensor | None) -> Tensor:
        if not isinstance(self.attn, WindowAttention):
            return self.attn(x, residual)
        window, shift = fit_windows(
            tuple(x.shape[1:-1]), self.attn.window, shifted=self.shifted, policy=self.policy
        )
        return self.attn(x, window, shift, residual)


class SwinStage(nn.Module):
    """Blocks on maps of one size, and the step down to the next size."""

    def __init__(self, blocks: list[SwinBlock], downsample: PatchMerging | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "b h w c"], *, save_memory: bool) -> Tensor:
        """The map after the last block; `downsample` is the caller's to apply."""
        if not save_memory:
            return in_pieces(self._run, x, self.blocks)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x

    def _run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


class Swin(nn.Module):
    """Classifier, or with `out_indices` a backbone for dense prediction; images of any size.

    Args:
        image_size: Size in pixels (a side, or rows and columns) that the weights are made for: it
            decides the length of `ape`, and, unless `full_tables`, the bias tables of stages whose
            map is smaller than the window, as in the authors' classifier. Nothing: whole windows.
        patch_size: Side of a patch, in pixels.
        in_channels: Channels of the image.
        num_classes: Outputs of the head; 0 for pooled features. A backbone has no head.
        embed_dim: Channels of the first stage; each further stage has twice as many.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        window_size: Tokens along the side of a window, or its rows and columns.
        mlp_ratio: Hidden channels of the perceptrons over channels.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        drop_rate: Probability of dropping an activation.
        attn_drop_rate: Probability of dropping an attention probability.
        drop_path: Probability of dropping a branch of the last block, rising linearly from 0.
        pos: What tells the model where a token is (Table 4 of the paper): `rel`, a learned bias for
            each relative position in a window; `abs`, a learned vector added to every patch;
            `abs+rel`; or `none`. Nothing: `rel`, with `ape` `abs+rel`, for a performer `none` and
            `abs`. Without `rel` there are no tables.
        ape: The authors' name for an absolute position: whether `pos` holds one.
        app: Whether logits hold dot products of queries and keys (Table 4 of the paper). If not,
            attention is the bias alone, the same for every image.
        patch_norm: Whether patches are normalised.
        use_checkpoint: Recompute blocks in the backward pass instead of keeping their activations.
        out_indices: Stages whose maps a backbone gives, each with a norm of its own; nothing for a
            classifier.
        frozen_stages: Stages of a backbone that do not train, the patch embedding (with 0 or
            more) first, as in the authors' backbone; -1 for none.
        window_policy: What happens where windows do not fit the map (`layers.window.fit_windows`);
            nothing for `classification`, or `dense` for a backbone. For pre-trained weights on
            images much smaller than theirs, `torchvision` is the better choice: it pads and keeps
            the window, where `classification` shrinks it.
        shift: Whether every second block shifts its windows (Table 4 of the paper); where
            `attention` has no windows that shift, without effect.
        attention: Who attends to whom (Table 5 of the paper): `window`; `sliding`, every token to
            the window around itself, which has odd sides and never shifts; `sliding_naive`, the
            same with all keys of all windows copied; `performer`, all to all, approximately and
            without a relative bias. Absolute positions go with each.
        shift_impl: `cyclic` rolls the map; `padding` gives its borders windows of their own, which
            computes the same and costs more (Table 5 of the paper).
        full_tables: Keep whole tables for any `image_size`, so that published weights fit.
        init_std: Standard deviation of the weights at the start, the authors' 0.02; 0 for one over
            the root of the inputs, with which models much narrower than theirs learn faster.

    Status: what shifts by rolling is `exact`, and so are absolute positions. The authors' code has
    no other option: `padding` computes the same; `pos="none"`, `pos="abs"` and `app=False` follow
    the paper's words; `sliding` and `performer` are `ours` where the paper leaves them open
    (`layers.sliding`, `layers.performer`).

    Departs: `forward` of a backbone gives the last map pooled, like every model without a head;
    its maps are `features`.
    """

    def __init__(
        self,
        *,
        image_size: int | Sequence[int] | None = None,
        patch_size: int | Sequence[int] = 4,
        in_channels: int = 3,
        num_classes: int = 1000,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int | Sequence[int] = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path: float = 0.1,
        pos: str | None = None,
        ape: bool | None = None,
        app: bool = True,
        patch_norm: bool = True,
        use_checkpoint: bool = False,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = -1,
        window_policy: str | None = None,
        shift: bool = True,
        attention: str = "window",
        shift_impl: str = "cyclic",
        full_tables: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        patch, window = as_pair(patch_size), as_pair(window_size)
        dims = [embed_dim * 2**i for i in range(len(depths))]
        check_stages(dims, depths, num_heads, out_indices)
        dense = out_indices is not None
        default = "dense" if dense else "classification"
        policy = default if window_policy is None else window_policy
        policy = choose("window_policy", policy, POLICIES)
        kind = choose("attention", attention, KINDS)
        absolute, relative = positions(pos, ape, app, kind)
        implementation = choose("shift_impl", shift_impl, SHIFTS)
        check_kind(kind, shift, shift_impl, window_policy, attn_drop_rate)
        grid = None if image_size is None else patch_grid(as_pair(image_size), patch)
        built_for = None if full_tables or policy != "classification" or kind != "window" else grid
        self.use_checkpoint, self.frozen_stages = use_checkpoint, frozen_stages
        self.out_indices = tuple(out_indices) if dense else tuple(range(len(depths)))

        self.patch_embed = PatchEmbed(patch, in_channels, embed_dim, norm=patch_norm)
        self.absolute_pos_embed, self.grid = None, grid
        if absolute:
            if grid is None:
                raise Refused("swin: absolute positions need an image_size; e.g. image_size=224")
            self.absolute_pos_embed = nn.Parameter(torch.empty(1, grid[0] * grid[1], embed_dim))
        self.pos_drop = nn.Dropout(drop_rate)

        rates = iter(rising_rates(drop_path, sum(depths)))
        self.layers = nn.ModuleList()
        for i, (dim, depth, heads) in enumerate(zip(dims, depths, num_heads, strict=True)):
            blocks = [
                SwinBlock(
                    dim,
                    _attention(
                        kind, dim, table_window(window, built_for, i), heads, qkv_bias=qkv_bias,
                        qk_scale=qk_scale, attn_drop=attn_drop_rate, proj_drop=drop_rate,
                        relative=relative, app=app, shift_impl=implementation,
                    ),
                    shifted=shift and j % 2 == 1, policy=policy, hidden=int(dim * mlp_ratio),
                    drop=drop_rate, drop_path=next(rates),
                )
                for j in range(depth)
            ]  # fmt: skip
            last = i == len(depths) - 1
            self.layers.append(SwinStage(blocks, None if last else PatchMerging(dim)))
        self.norm = None if dense else nn.LayerNorm(dims[-1])
        for i in self.out_indices if dense else ():
            self.add_module(f"norm{i}", nn.LayerNorm(dims[i]))
        self.num_features = dims[-1]
        self.head = nn.Linear(dims[-1], num_classes) if num_classes and not dense else nn.Identity()
        self._initialise(init_std)
        self.train()

    def features(self, image: Float[Tensor, "b i h w"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Maps from fine to coarse: of every stage, before any norm (classifier); or of the stages
        `out_indices`, each normalised (backbone). Views of channels-last memory."""
        x = in_pieces(self.patch_embed, image, self.patch_embed)
        if self.absolute_pos_embed is not None:
            assert self.grid is not None
            size = (x.shape[1], x.shape[2])
            x = x + resize_positions(self.absolute_pos_embed[0], self.grid, size).view(*size, -1)
        x = self.pos_drop(x)
        maps: list[Tensor] = []
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, SwinStage)
            x = stage(x, save_memory=self.use_checkpoint and self.training)
            if i in self.out_indices:
                y = x if self.norm is not None else self.get_submodule(f"norm{i}")(x)
                maps.append(y.permute(0, 3, 1, 2))
            if stage.downsample is not None:
                x = stage.downsample(x)
        return maps

    def pool(self, features: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, "b d"]:
        """The last map, normalised and averaged over its tokens."""
        x = features[-1].flatten(2).transpose(1, 2)
        return (x if self.norm is None else self.norm(x)).mean(dim=1)

    def forward(self, image: Float[Tensor, "b i h w"]) -> Float[Tensor, "b k"]:
        return linear(self.pool(self.features(image)), self.head)

    def layers_by_depth(self) -> list[list[tuple[str, ...]]]:
        """The embedding, then stages of blocks (`models.depth`)."""
        positions = () if self.absolute_pos_embed is None else ("absolute_pos_embed",)
        stages: list[list[tuple[str, ...]]] = [[("patch_embed", *positions, "pos_drop")]]
        for i, stage in enumerate(self.layers):
            assert isinstance(stage, SwinStage)
            names: list[tuple[str, ...]] = [
                (f"layers.{i}.blocks.{j}",) for j in range(len(stage.blocks))
            ]
            if stage.downsample is not None:
                names[-1] = (*names[-1], f"layers.{i}.downsample")
            stages.append(names)
        return stages

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As `use_checkpoint`, after the model is made."""
        self.use_checkpoint = enable

    def train(self, mode: bool = True) -> Self:
        """As always, but frozen stages stay in evaluation mode and take no gradients."""
        super().train(mode)
        frozen: list[nn.Module] = [self.patch_embed] if self.frozen_stages >= 0 else []
        if self.frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad_(False)
        if self.frozen_stages >= 2:
            frozen += [self.pos_drop, *self.layers[: self.frozen_stages - 1]]
        for module in frozen:
            module.eval().requires_grad_(False)
        return self

    def _initialise(self, std: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std or module.in_features**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)


def _attention(
    kind: str, dim: int, window: Axes, heads: int, *, attn_drop: float, relative: bool, app: bool,
    shift_impl: ShiftImpl, qkv_bias: bool, qk_scale: float | None, proj_drop: float,
) -> Attention:  # fmt: skip
    if kind == "performer":
        return PerformerAttention(
            dim, heads, qkv_bias=qkv_bias, qk_scale=qk_scale, proj_drop=proj_drop
        )
    if kind == "window":
        return WindowAttention(
            dim, window, heads, qkv_bias=qkv_bias, qk_scale=qk_scale, attn_drop=attn_drop,
            proj_drop=proj_drop, relative=relative, app=app, shift_impl=shift_impl,
        )  # fmt: skip
    return SlidingAttention(
        dim, window, heads, qkv_bias=qkv_bias, qk_scale=qk_scale, attn_drop=attn_drop,
        proj_drop=proj_drop, relative=relative, app=app, naive=kind == "sliding_naive",
    )  # fmt: skip
