"""A model: any `nn.Module`; of `num_classes`, `in_channels`, `image_size` it gets what it takes."""

from torch import Tensor, nn


class Small(nn.Module):
    """Three convolutions and a linear head."""

    def __init__(self, *, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((in_channels, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [
                nn.Conv2d(inside, outside, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image))
