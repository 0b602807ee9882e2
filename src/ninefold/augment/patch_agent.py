"""The agents of Patch AutoAugment: one network that sees an image and chooses for every patch.

Source: Lin et al. 2021, arXiv 2103.11099, section 3.2; sizes and names of parameters as in
LinShiqi047/PatchAutoAugment (commit bb3cc07, `code/CIFAR` and `code/Fine_grained_dataset`);
efficientnetv2-paa specification, section B3.
Shapes: b images, i image channels, h rows, w columns, a actions, n x n patches.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

STATE = 4
"""Side of the map that the critic sees."""
MAP = 7
"""Side of the map that `PhotoAgent` sees; twice that for finer grids."""


class PatchAgent(nn.Module):
    """Scores of every operation for every patch, and the reward that is expected of the image.

    For images of 32 pixels and a grid of 2 it is the official network (279,728 parameters); other
    sizes and grids are pooled to fit.

    Args:
        num_operations: Operations to choose from.
        grid: Patches along each side.
        in_channels: Channels of the image.
        widths: Channels of the three convolutions that actor and critic share.
        num_chances: Steps of a probability of being operated on that is chosen, too, by a second
            actor; 0 for none.
    """

    def __init__(
        self,
        *,
        num_operations: int = 15,
        grid: int = 2,
        in_channels: int = 3,
        widths: tuple[int, int, int] = (32, 64, 32),
        num_chances: int = 0,
    ) -> None:
        super().__init__()
        first, second, state = widths
        self.fea_extracter = nn.Sequential(
            nn.Conv2d(in_channels, first, 3, padding=1),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(first),
            nn.LeakyReLU(),
            nn.Conv2d(first, second, 3, padding=1),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(second),
            nn.LeakyReLU(),
            nn.Conv2d(second, state, 3, stride=2, padding=1),
            nn.BatchNorm2d(state),
        )
        self.value = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(state * STATE**2, 256),
            nn.LeakyReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 1),
        )
        self.policy = _actor(state, first, num_operations, grid)
        self.chances = _actor(state, first, num_chances, grid) if num_chances else None
        self.small = nn.AdaptiveAvgPool2d(STATE)

    def forward(
        self, image: Float[Tensor, "b i h w"]
    ) -> tuple[Float[Tensor, "b a n n"], Float[Tensor, " b"]]:
        """Scores (logits) of operations a patch, and values."""
        scores, value, _ = self.scores(image)
        return scores, value

    def scores(
        self, image: Float[Tensor, "b i h w"]
    ) -> tuple[Float[Tensor, "b a n n"], Float[Tensor, " b"], Float[Tensor, "b _s n n"] | None]:
        """Likewise, and scores of the chances where these are chosen."""
        state = self.fea_extracter(image)
        value = self.value(self.small(state).flatten(1)).squeeze(1)
        return self.policy(state), value, None if self.chances is None else self.chances(state)


def _actor(state: int, width: int, actions: int, grid: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(state, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(),
        nn.Conv2d(2 * width, 4 * width, 3, padding=1),
        nn.BatchNorm2d(4 * width),
        nn.LeakyReLU(),
        nn.Conv2d(4 * width, actions, 3, padding=1),
        nn.AdaptiveMaxPool2d(grid),
    )


class PhotoAgent(nn.Module):
    """Likewise for photos, on the last map of a larger network.

    With a ResNet-18 on images of 224 or 448 pixels, and a grid of 1 to 5, 7 or 14, it is the
    official network; maps of other sizes are pooled to fit, and so are other grids up to 14.

    Args:
        trunk: From images to maps `(b, channels, h, w)`.
        channels: Of those maps.
        num_operations: Operations to choose from.
        grid: Patches along each side, 14 at the most.
    """

    def __init__(
        self, trunk: nn.Module, *, channels: int, num_operations: int = 15, grid: int = 4
    ) -> None:
        super().__init__()
        side = MAP if grid <= MAP else 2 * MAP
        self.fea_extracter = trunk
        self.pool = nn.AdaptiveMaxPool2d(side)
        self.fea_last_conv = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        )
        self.value = nn.Sequential(nn.Linear(32 * side**2, 256), nn.ReLU(), nn.Linear(256, 1))
        self.policy_neck = nn.Sequential(
            nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), *_norm(64),
            nn.Conv2d(64, 64, 3, padding=1), *_norm(64),
        )  # fmt: skip
        self.policy_head = nn.Sequential(*_head(grid, num_operations))

    def forward(
        self, image: Float[Tensor, "b i h w"]
    ) -> tuple[Float[Tensor, "b a n n"], Float[Tensor, " b"]]:
        """Scores (logits) of operations a patch, and values."""
        state = self.fea_last_conv(self.pool(self.fea_extracter(image)))
        return self.policy_head(self.policy_neck(state)), self.value(state.flatten(1)).squeeze(1)


def _norm(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()


def _head(grid: int, actions: int) -> tuple[nn.Module, ...]:
    """From a map of 64 channels, of 7 x 7 or 14 x 14, to scores for every patch of the grid."""
    halved = nn.Conv2d(64, 128, 3, stride=2, padding=1), *_norm(128)
    if grid == 1:
        quarter = nn.Conv2d(128, 128, 2, stride=2), nn.AvgPool2d(2)
        return *halved, *quarter, nn.Conv2d(128, actions, 1)
    if grid == 2:
        return *halved, nn.Conv2d(128, actions, 2, stride=2)
    if grid == 3:
        return nn.Conv2d(64, 128, 3), *_norm(128), nn.Conv2d(128, actions, 3)
    if grid == 4:
        return (nn.Conv2d(64, actions, 3, stride=2, padding=1),)
    if grid == 5:
        return (nn.Conv2d(64, actions, 3),)
    whole = nn.Conv2d(64, actions, 3, padding=1)
    return (whole,) if grid in (MAP, 2 * MAP) else (whole, nn.AdaptiveMaxPool2d(grid))


def choose(scores: Float[Tensor, "b a n n"]) -> Int[Tensor, "b n n"]:
    """Draw an action a patch, by the softmax of the scores and the device's global generator."""
    # The largest of scores with Gumbel noise is a draw from their softmax, without a pass a row.
    uniform = torch.rand_like(scores, dtype=torch.float32).clamp_(min=1e-20)
    return (scores.float() - (-uniform.log()).log()).argmax(dim=1)
