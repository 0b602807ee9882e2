"""Swin Transformer: attention within windows that shift from block to block, and a pyramid of maps.

Source: Liu et al. 2021, arXiv 2103.14030; parameter names, initialisation and padding as in
microsoft/Swin-Transformer (classifier) and the authors' detection and segmentation backbones.
Shapes: b images, i image channels, h rows, w columns, c channels of a map, d of the last one,
k classes.
"""

from collections.abc import Mapping, Sequence
from typing import Self, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ninefold.core.errors import Refused, nearest
from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.linear import is_watched, linear
from ninefold.layers.mlp import Mlp
from ninefold.layers.partition import ShiftImpl, WindowPolicy, fit_windows
from ninefold.layers.patch import PatchEmbed, PatchMerging
from ninefold.layers.pieces import in_pieces
from ninefold.layers.position import resize_positions
from ninefold.layers.window import WindowAttention

T = TypeVar("T")
Pair = tuple[int, int]
POLICIES: dict[str, WindowPolicy] = {name: name for name in get_args(WindowPolicy)}
SHIFTS: dict[str, ShiftImpl] = {name: name for name in get_args(ShiftImpl)}
POSITIONS = {
    "rel": (False, True),
    "none": (False, False),
    "abs": (True, False),
    "abs+rel": (True, True),
}
"""Whether positions are absolute, and whether they are relative."""


class SwinBlock(nn.Module):
    """Window attention and a perceptron, each normalised before and added to its input."""

    def __init__(
        self, dim: int, attention: WindowAttention, *, shifted: bool, policy: WindowPolicy,
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
        window, shift = fit_windows(
            tuple(x.shape[1:-1]), self.attn.window, shifted=self.shifted, policy=self.policy
        )
        if (self.training and self.drop_path.rate) or is_watched(self.drop_path):
            x = x + self.drop_path(self.attn(self.norm1(x), window, shift))
            return x + self.drop_path(self.mlp(self.norm2(x)))
        x = self.attn(self.norm1(x), window, shift, x)
        return self.mlp(self.norm2(x), x)


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
            `abs+rel`; or `none`. Nothing: `rel`, with `ape` `abs+rel`. Without `rel` there are no
            tables.
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
        shift: Whether every second block shifts its windows (Table 4 of the paper).
        shift_impl: `cyclic` rolls the map; `padding` gives its borders windows of their own, which
            computes the same and costs more (Table 5 of the paper).
        full_tables: Keep whole tables for any `image_size`, so that published weights fit.
        init_std: Standard deviation of the weights at the start, the authors' 0.02; 0 for one over
            the root of the inputs, with which models much narrower than theirs learn faster.

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
        shift_impl: str = "cyclic",
        full_tables: bool = False,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        patch, window = _pair(patch_size), _pair(window_size)
        dims = [embed_dim * 2**i for i in range(len(depths))]
        _check(dims, depths, num_heads, out_indices)
        dense = out_indices is not None
        default = "dense" if dense else "classification"
        policy = default if window_policy is None else window_policy
        policy = _choose("window_policy", policy, POLICIES)
        absolute, relative = _positions(pos, ape, app)
        implementation = _choose("shift_impl", shift_impl, SHIFTS)
        if shift_impl != "cyclic" and not shift:
            raise Refused(f"swin: shift_impl={shift_impl!r} and shift=False; one of them is enough")
        grid = None if image_size is None else _grid(_pair(image_size), patch)
        built_for = None if full_tables or policy != "classification" else grid
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
                    WindowAttention(
                        dim, _table(window, built_for, i), heads, qkv_bias=qkv_bias,
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


def _pair(size: int | Sequence[int]) -> Pair:
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or min(pair) < 1:
        raise Refused(f"swin: a size is {size}; one whole number above 0, or rows and columns")
    return pair[0], pair[1]


def _grid(image: Pair, patch: Pair) -> Pair:
    """Patches along each axis of an image; images are padded to whole patches."""
    if image[0] < patch[0] or image[1] < patch[1]:
        raise Refused(
            f"swin: image_size {max(image)} is smaller than a patch of {max(patch)} pixels; "
            f"{max(patch)} is the least"
        )
    return -(-image[0] // patch[0]), -(-image[1] // patch[1])


def _table(window: Pair, built_for: Pair | None, stage: int) -> Pair:
    """The window that a stage's tables are made for: one that fits the map it was built for."""
    if built_for is None:
        return window
    size = tuple(-(-side // 2**stage) for side in built_for)
    fitted, _ = fit_windows(size, window, shifted=False, policy="classification")
    return fitted[0], fitted[1]


def _check(
    dims: list[int], depths: Sequence[int], num_heads: Sequence[int],
    out_indices: Sequence[int] | None,
) -> None:  # fmt: skip
    if len(depths) != len(num_heads) or not depths:
        raise Refused(
            f"swin: depths {list(depths)} and num_heads {list(num_heads)} name "
            f"{len(depths)} and {len(num_heads)} stages; one entry each a stage"
        )
    for dim, heads in zip(dims, num_heads, strict=True):
        if dim % heads:
            raise Refused(f"swin: {heads} heads do not divide {dim} channels; e.g. {dim // 32}")
    wrong = [i for i in out_indices or () if not 0 <= i < len(depths)]
    if wrong or (out_indices is not None and not out_indices):
        raise Refused(
            f"swin: out_indices {list(out_indices or ())} are not stages of the model; "
            f"from 0 to {len(depths) - 1}"
        )


def _choose(option: str, value: str, choices: Mapping[str, T]) -> T:
    if value not in choices:
        hint = nearest(str(value), choices)
        raise Refused(f"swin: {option} is {value!r}{hint}; one of {', '.join(choices)}")
    return choices[value]


def _positions(pos: str | None, ape: bool | None, app: bool) -> tuple[bool, bool]:
    """Whether positions are absolute, and whether they are relative."""
    pos = ("abs+rel" if ape else "rel") if pos is None else pos
    absolute, relative = _choose("pos", pos, POSITIONS)
    if ape is not None and ape != absolute:
        raise Refused(f"swin: pos is {pos!r} and ape {ape}; pos alone is enough")
    if not app and not relative:
        raise Refused(f"swin: pos is {pos!r} and app False, so that nothing weighs the tokens; "
                      "app=False needs pos=rel or abs+rel")  # fmt: skip
    return absolute, relative
