"""Running statistics stay where they must."""

from contextlib import suppress

import torch
from torch import nn
from torch.nn.modules.batchnorm import BatchNorm2d

from ninefold.layers.norm import keep_statistics, recomputed


def test_statistics_are_kept_within_and_restored_after_nesting_and_errors() -> None:
    norm = BatchNorm2d(2, momentum=None)
    frozen = BatchNorm2d(2).eval()
    both = nn.ModuleList([norm, frozen])
    x = torch.randn(3, 2, 4, 4)
    with torch.no_grad():
        expected = norm(x)
        before = {name: value.clone() for name, value in both.state_dict().items()}
        with suppress(KeyError), keep_statistics(both), keep_statistics(both):
            assert torch.equal(norm(x), expected)
            torch.testing.assert_close(frozen(x), x / (1 + frozen.eps) ** 0.5)
            raise KeyError
        for name, value in both.state_dict().items():
            assert torch.equal(value, before[name])
        norm(x + 1)
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 2
    assert norm.momentum is None


def test_a_block_that_is_recomputed_counts_the_batch_once_and_draws_its_noise_once() -> None:
    found = []
    for call in (recomputed, lambda block, x: block(x)):
        torch.manual_seed(0)
        block = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Dropout(0.5), BatchNorm2d(3))
        call(block, torch.randn(4, 2, 5, 5)).square().sum().backward()
        values = {name: value.detach() for name, value in block.state_dict().items()}
        found.append([*values.values(), *(p.grad for p in block.parameters())])
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
