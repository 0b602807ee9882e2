"""A BatchNorm that a convolution computes gives the same outputs, or is refused."""

import pytest
import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.models import create_model, fuse
from ninefold.study.steps import randomise


@pytest.mark.parametrize("name", ["resnet_atto", "efficientnet_atto", "efficientnet_v2_atto"])
def test_no_batch_norm_is_left_and_outputs_stay(name: str) -> None:
    model, images = create_model(name), torch.randn(2, 3, 64, 64)
    randomise(model)
    fused = fuse(model, images)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert model.training
    with torch.no_grad():
        expected, given = model.eval()(images), fused(images)
        features = zip(model.features(images), fused.features(images), strict=True)  # type: ignore[operator]
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=1e-4)
    for a, b in features:
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


class Elsewhere(nn.Module):
    """Its norm stands after the convolution, and normalises what goes into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(torch.relu(self.bn(x)))).mean((2, 3))


def test_a_model_that_it_would_change_is_refused() -> None:
    model = Elsewhere()
    randomise(model)
    with pytest.raises(Refused, match="outputs of Elsewhere change by"):
        fuse(model, torch.randn(2, 3, 8, 8))
