"""Stochastic depth, patches, perceptron and position tables."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ninefold.layers.drop import DropPath, rising_rates
from ninefold.layers.mlp import Mlp
from ninefold.layers.patch import PatchEmbed, PatchMerging
from ninefold.layers.position import resize_positions


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    out = DropPath(0.3)(torch.ones(20_000, 2, 3))
    kept = out[:, 0, 0] > 0
    assert torch.equal(out, torch.where(kept, 1 / 0.7, 0.0)[:, None, None].expand_as(out))
    assert abs(kept.float().mean().item() - 0.7) < 0.015
    assert abs(out.mean().item() - 1) < 0.025


def test_drop_path_does_nothing_in_evaluation() -> None:
    x = torch.randn(5, 4)
    assert torch.equal(DropPath(0.9).eval()(x), x)


def test_rates_rise_linearly_from_zero_to_the_last_block() -> None:
    assert rising_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rising_rates(0.2, 1) == [0]


def test_merging_concatenates_a_cell_column_by_column() -> None:
    merging = PatchMerging(3)
    x = torch.randn(2, 5, 6, 3)
    padded = F.pad(x, (0, 0, 0, 0, 0, 1))
    cells: list[Tensor] = [padded[:, r::2, c::2] for c in (0, 1) for r in (0, 1)]
    expected = merging.reduction(merging.norm(torch.cat(cells, -1)))
    assert merging(x).shape == (2, 3, 3, 6)
    torch.testing.assert_close(merging(x), expected)


def test_patches_of_an_image_that_does_not_divide_see_zeros() -> None:
    embed, image = PatchEmbed((4, 2), 3, 8), torch.randn(1, 3, 9, 5)
    expected = embed(F.pad(image, (0, 1, 0, 3)))
    assert expected.shape == (1, 3, 3, 8)
    assert torch.equal(embed(image), expected)


def test_one_patch_is_a_linear_map_of_its_pixels() -> None:
    embed, image = PatchEmbed((4, 4), 3, 8, norm=False), torch.randn(2, 3, 8, 8)
    patch = image[:, :, 4:, :4].flatten(1)
    expected = patch @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(embed(image)[:, 1, 0], expected)


def test_the_perceptron_uses_the_exact_gelu() -> None:
    mlp, x = Mlp(4, 8), torch.randn(3, 2, 4)
    hidden = mlp.fc1(x)
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), mlp.fc2(hidden))


def test_position_tables_keep_a_plane_and_come_back_unchanged_at_their_size() -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    table = torch.stack([rows, columns], -1).view(64, 2)
    assert resize_positions(table, (8, 8), (8, 8)) is table
    larger = resize_positions(table, (8, 8), (16, 16)).view(16, 16, 2)
    inside = larger[4:12, 4:12, 0].mean(1)
    plane = (torch.arange(4.0, 12.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(inside, plane, atol=0.06, rtol=0)  # torch's cubic bends by 3/64
