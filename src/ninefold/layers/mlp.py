"""The two-layer perceptron of transformers.

Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.3, with the exact (erf) GELU of the vision
transformers.
"""

from jaxtyping import Float
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, GELU, linear, along the last axis.

    Args:
        dim: Channels of input and output.
        hidden: Channels in between.
        drop: Probability of dropping a value, after either layer.
    """

    def __init__(self, dim: int, hidden: int, *, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))
