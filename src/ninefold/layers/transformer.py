"""The plain transformer block: attention among all tokens, then a perceptron.

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equations 2 and 3.
Shapes: b images, n tokens, d channels.
"""

from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.attention import attend
from ninefold.layers.drop import DropPath
from ninefold.layers.linear import Gelu, linear, project
from ninefold.layers.mlp import Mlp


class SelfAttention(nn.Module):
    """Multi-head attention of every token to all.

    Args:
        dim: Channels.
        num_heads: Must divide `dim`.
        qkv_bias: Whether queries, keys and values have a bias.
        attn_drop: Probability of dropping an attention probability.
        proj_drop: Probability of dropping a value of the output.
    """

    def __init__(
        self, dim: int, num_heads: int, *, qkv_bias: bool = True, attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = attn_drop
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(
        self, x: Float[Tensor, "b n d"], residual: Float[Tensor, "b n d"] | None = None
    ) -> Float[Tensor, "b n d"]:
        """Attention's output, added to `residual` if given."""
        b, n, d = x.shape
        qkv = linear(x, self.qkv).view(b, n, 3, self.num_heads, d // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # views: fused kernels take any strides
        y = attend(q, k, v, dropout=self.attn_drop if self.training else 0.0)
        return project(y.transpose(1, 2).reshape(b, n, d), self.proj, self.proj_drop, residual)


class TransformerBlock(nn.Module):
    """Attention and a perceptron, each normalised before and added to its input.

    Args:
        dim: Channels.
        num_heads: Must divide `dim`.
        hidden: Channels inside the perceptron.
        eps: Of the norms.
        gelu: Which GELU the perceptron has (`layers.mlp`).
        drop: Probability of dropping a value after either layer of the perceptron, and after
            attention.
        attn_drop: Probability of dropping an attention probability.
        drop_path: Probability of dropping a sample's branch.
        scale_by_keep: Whether branches that are kept are scaled up for it.
    """

    def __init__(
        self, dim: int, num_heads: int, hidden: int, *, eps: float = 1e-6, gelu: Gelu = "exact",
        qkv_bias: bool = True, drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
        scale_by_keep: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = SelfAttention(
            dim, num_heads, qkv_bias=qkv_bias, attn_drop=attn_drop, proj_drop=drop
        )
        self.drop_path = DropPath(drop_path, scale_by_keep=scale_by_keep)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, hidden, drop=drop, gelu=gelu)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        if self.drop_path.is_idle():
            x = self.attn(self.norm1(x), x)
            return self.mlp(self.norm2(x), x)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
