"""The two-layer perceptron of transformers.

Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.3, with the GELU of the vision
transformers: the exact one by the error function, or its approximation by the hyperbolic tangent,
which is what flax calls GELU.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ninefold.layers.linear import Gelu, activate, is_eager, is_plain, is_watched, linear, way_of

PIECE = 3 * 2**22
"""Bytes of hidden values at a time where no gradients are needed: less memory for large maps."""


class Mlp(nn.Module):
    """Linear, GELU, linear, along the last axis.

    Args:
        dim: Channels of input and output.
        hidden: Channels in between.
        drop: Probability of dropping a value, after either layer.
        gelu: Which GELU.
    """

    def __init__(self, dim: int, hidden: int, *, drop: float = 0.0, gelu: Gelu = "exact") -> None:
        super().__init__()
        self.gelu: Gelu = gelu
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU("tanh" if gelu == "tanh" else "none")
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(
        self, x: Float[Tensor, "*b c"], residual: Float[Tensor, "*b c"] | None = None
    ) -> Float[Tensor, "*b c"]:
        """The perceptron's output, added to `residual` if given."""
        drops = self.drop.training and self.drop.p > 0
        if drops or not isinstance(self.act, nn.GELU) or is_watched(self.act, self.drop):
            y = self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
            return y if residual is None else residual + y
        if torch.is_grad_enabled() or not is_eager(x) or is_watched(self.fc1, self.fc2):
            return linear(linear(x, self.fc1, gelu=self.gelu), self.fc2, residual=residual)
        return self._in_pieces(x, residual)

    def across(
        self, x: Float[Tensor, "b c d"], residual: Float[Tensor, "b c d"] | None = None
    ) -> Float[Tensor, "b c d"]:
        """The same along the last axis but one, `self(x.mT).mT`, added to `residual` if given.

        Where the weights can stand on the left of the products, nothing is transposed.
        """
        drops = self.drop.training and self.drop.p > 0
        first, second, count = self.fc1, self.fc2, len(x)
        if (
            drops
            or not (is_plain(x, first) and is_plain(x, second) and isinstance(self.act, nn.GELU))
            or is_watched(self.act, self.drop)
            or torch.is_autocast_enabled("cpu")
            or way_of(x.dtype) != "public"
        ):
            y = self(x.mT).mT
            return y if residual is None else residual + y
        y = torch.baddbmm(first.bias[:, None], first.weight.expand(count, -1, -1), x)
        rest = second.bias[:, None] if residual is None else residual + second.bias[:, None]
        return torch.baddbmm(rest, second.weight.expand(count, -1, -1), activate(y, self.gelu))

    def _in_pieces(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """A few rows at a time, so that the hidden values never exist as a whole."""
        rows = max(1, PIECE // (self.fc1.out_features * x.element_size()))
        flat = (-1, x.shape[-1])
        inputs = x.reshape(flat).split(rows)
        added = [None] * len(inputs) if residual is None else residual.reshape(flat).split(rows)
        out = [
            linear(linear(piece, self.fc1, gelu=self.gelu), self.fc2, residual=rest)
            for piece, rest in zip(inputs, added, strict=True)
        ]
        return (out[0] if len(out) == 1 else torch.cat(out)).view(x.shape)
