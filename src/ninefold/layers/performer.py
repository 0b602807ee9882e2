"""Performer attention: softmax attention of all tokens to all, approximated in linear time.

Source: Choromanski et al. 2021, arXiv 2009.14794 (FAVOR+: positive orthogonal random features,
Lemma 1 and section 2.4), as the rival of shifted windows in Liu et al. 2021, arXiv 2103.14030,
Table 5. Number of features and drawing are ours: the latter does not tell.
Shapes: b images, `*size` tokens along each axis of the map, c channels, n tokens, h heads, d
channels a head, m features.
"""

from math import ceil, log

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.linear import linear, project


def orthogonal_features(count: int, dim: int) -> Float[Tensor, "m d"]:
    """Directions of a normal distribution in `dim` axes, orthogonal in blocks of `dim`."""
    blocks: list[Tensor] = []
    for _ in range(ceil(count / dim)):
        q, r = torch.linalg.qr(torch.randn(dim, dim))
        blocks.append((q * r.diagonal().sign()).T)  # else signs follow the algorithm, not chance
    lengths = torch.randn(count, dim).norm(dim=1, keepdim=True)
    return torch.cat(blocks)[:count] * lengths


def favor(
    q: Float[Tensor, "*b n d"],
    k: Float[Tensor, "*b k d"],
    v: Float[Tensor, "*b k e"],
    features: Float[Tensor, "m d"],
    *,
    scale: float,
) -> Float[Tensor, "*b n e"]:
    """An unbiased estimate of `exp(scale q k^T) v`, divided by one of its row sums.

    Each feature gathers values by a softmax over keys, each query weighs features by a softmax:
    this is `phi(q) (phi(k)^T v) / (phi(q) sum phi(k))` of the paper with the exponentials
    normalised before they are multiplied, so that none overflows or vanishes, whatever the input.
    Terms of a query alone cancel.
    """
    root = scale**0.5
    q, k = q * root, k * root
    keys = k @ features.T - k.square().sum(-1, keepdim=True) / 2
    gathered = keys.softmax(-2).transpose(-2, -1) @ v
    weight = q @ features.T + keys.logsumexp(-2, keepdim=True)
    return weight.softmax(-1) @ gathered


class PerformerAttention(nn.Module):
    """Multi-head attention over the whole map by random features; no window, no bias.

    The features are drawn once and are buffers, so that checkpoints hold them. No probabilities of
    queries and keys exist, so `observe_attention` sees nothing.

    Args:
        dim: Channels.
        num_heads: Must divide `dim`.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the dot products; nothing for the head's channels to the power -0.5.
        proj_drop: Probability of dropping an output value.
        num_features: Nothing for d ln d, rounded up.
    """

    features: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        proj_drop: float = 0.0,
        num_features: int | None = None,
    ) -> None:
        super().__init__()
        d = dim // num_heads
        count = max(ceil(d * log(d)), 1) if num_features is None else num_features
        self.num_heads, self.scale = num_heads, d**-0.5 if qk_scale is None else qk_scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.register_buffer("features", orthogonal_features(count, d))
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(
        self,
        x: Float[Tensor, "b *size c"],
        residual: Float[Tensor, "b *size c"] | None = None,
    ) -> Float[Tensor, "b *size c"]:
        """The map after attention, added to `residual` if there is one."""
        size, tokens = tuple(x.shape[1:-1]), x.flatten(1, -2)
        parts = linear(tokens, self.qkv).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        with torch.autocast(x.device.type, enabled=False):  # exponents want float32
            y = favor(q.float(), k.float(), v.float(), self.features.float(), scale=self.scale)
        y = y.to(x.dtype).transpose(1, 2).flatten(2).unflatten(1, size)
        return project(y, self.proj, self.proj_drop, residual)
