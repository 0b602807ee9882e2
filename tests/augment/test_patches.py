"""Patch AutoAugment: operations against torchvision, grids against loops, agents and credits."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from ninefold.augment.patch_agent import PatchAgent, PhotoAgent, choose
from ninefold.augment.patch_credit import Credit, a2c_loss
from ninefold.augment.patch_ops import HALVED, OPERATIONS, draw, operate
from ninefold.augment.patches import augment_patches, draw_execution, draw_fading, patch_size
from ninefold.core.errors import Refused

TOGETHER = ("patch_mean", "cutmix", "mixup")
"""Operations on all patches that they are chosen for."""


def stack(patches: int = 6, height: int = 24, width: int = 24) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    return torch.randint(256, (patches, 3, height, width), generator=draws) / 255


def whole(x: Tensor) -> Tensor:
    return (x * 255).round().byte()


# Operations


@pytest.mark.parametrize("name", ["posterize", "equalize", "color_hue", "sharpness", "rotation"])
def test_an_operation_is_torchvisions(name: str) -> None:
    torch.manual_seed(1)
    x = stack()
    draws = draw(len(x), 24, 24)
    found = operate(name, x, draws)
    for i, patch in enumerate(x):
        if name == "posterize":
            expected = TF.posterize(whole(patch), int(draws.bits[i])) / 255
        elif name == "equalize":
            expected = TF.equalize(whole(patch)) / 255
        elif name == "color_hue":
            expected = TF.adjust_hue(patch, float(draws.hue[i]))
        elif name == "sharpness":
            expected = TF.adjust_sharpness(patch, float(draws.sharpness[i]))
        else:
            expected = TF.rotate(
                patch, float(draws.degrees[i]), interpolation=InterpolationMode.BILINEAR
            )
        torch.testing.assert_close(found[i], expected, rtol=0, atol=2e-5)


def test_shear_moves_rows_by_their_distance_from_the_centre() -> None:
    x = torch.zeros(1, 3, 21, 21)
    x[:, :, :, 10] = 1.0
    found = operate("shear", x, draw(1, 21, 21))[0, 0]
    centres = (found * torch.arange(21.0)).sum(1) / found.sum(1)
    rows = torch.arange(21.0) - 10
    torch.testing.assert_close(centres, 10 - 0.5773503 * rows, atol=1e-3, rtol=0)


def test_translation_goes_right_and_down_and_leaves_zeros() -> None:
    x = stack(1, 12, 9)
    # 8 / 9 and 11 / 12 of a pixel are stretched to 1, kornia's way.
    draws = replace(draw(1, 12, 9), shift=torch.tensor([[8 / 9, 2 * 11 / 12]]))
    found = operate("translate", x, draws)
    torch.testing.assert_close(found[..., 2:, 1:], x[..., :-2, :-1], atol=1e-5, rtol=0)
    assert float(found[..., :2, :].abs().max()) < 1e-5
    assert float(found[..., :1].abs().max()) < 1e-5


def test_colours_are_the_formulas() -> None:
    x = stack()
    draws = draw(len(x), 24, 24)
    f = draws.brightness.view(-1, 1, 1, 1)
    gray = (x * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    expected = {
        "brightness": (x + f - 1).clamp(0, 1),
        "contrast": x * draws.contrast.view(-1, 1, 1, 1),
        "gray": gray.expand_as(x),
        "invert": 1 - x,
        "patch_mean": torch.full_like(x, float(x.mean())),
        "cutmix": x.roll(-1, 0),
        "mixup": draws.weight * x + (1 - draws.weight) * x.roll(-1, 0),
    }
    for name, value in expected.items():
        torch.testing.assert_close(operate(name, x, draws), value, atol=1e-6, rtol=0)


def test_the_official_program_gives_the_last_patch_the_first_as_it_has_become() -> None:
    x = stack(3)
    draws = draw(3, 24, 24)
    assert torch.equal(operate("cutmix", x, draws, quirks=True), x[[1, 2, 1]])
    mixed = operate("mixup", x, draws, quirks=True)
    w = draws.weight
    torch.testing.assert_close(mixed[2], w * x[2] + (1 - w) * (w * x[0] + (1 - w) * x[1]))


def test_erasing_blanks_the_box_alone() -> None:
    x = torch.ones(2, 3, 9, 9)
    boxes = torch.tensor([[1, 2, 3, 4], [8, 8, 5, 5]])
    found = operate("random_erasing", x, replace(draw(2, 9, 9), box=boxes))
    assert found.sum(dim=(1, 2, 3)).tolist() == [3 * (81 - 12), 3 * 80]
    assert float(found[0, :, 2:6, 1:4].sum()) == 0


def test_draws_lie_in_their_ranges_and_fill_them() -> None:
    torch.manual_seed(0)
    draws = draw(4000, 16, 20)
    x, y, columns, rows = draws.box.unbind(1)
    assert bool(((x >= 0) & (x + columns <= 20) & (y >= 0) & (y + rows <= 16)).all())
    share = (columns * rows).float() / 320
    assert 0.05 < float(share.min()) < 0.1
    assert 0.33 < float(share.max()) < 0.42
    assert sorted(set(draws.bits.tolist())) == [3, 4, 5, 6, 7]
    bounds = {"brightness": (0.5, 0.95), "contrast": (0.5, 0.95), "degrees": (-30, 30),
              "hue": (-0.3, 0.3), "sharpness": (0, 0.5)}  # fmt: skip
    for name, (low, high) in bounds.items():
        value: Tensor = getattr(draws, name)
        assert low <= float(value.min()) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < float(value.max()) <= high
    assert float(draws.shift[:, 0].abs().max()) == pytest.approx(8.0, abs=0.1)
    assert float(draws.shift[:, 1].abs().max()) == pytest.approx(6.4, abs=0.1)


# Grids


@pytest.mark.parametrize(
    ("grid", "size"), [((2, 2), (32, 32)), ((3, 4), (50, 45)), ((1, 1), (9, 9))]
)
def test_a_batch_is_what_a_loop_over_patches_makes_of_it(
    grid: tuple[int, int], size: tuple[int, int]
) -> None:
    """Of the operations that look at one patch alone; rests and unexecuted patches stay."""
    torch.manual_seed(2)
    images = stack(5, *size)
    alone = torch.tensor([i for i, name in enumerate(OPERATIONS) if name not in TOGETHER])
    operations = alone[torch.randint(len(alone), (5, *grid))]
    executed = torch.rand(5, *grid) < 0.7
    rows, columns = patch_size(*size, grid)
    draws = draw(operations.numel(), rows, columns)
    before = images.clone()
    found = augment_patches(images, operations, executed, draws)
    assert torch.equal(images, before)
    places = itertools.product(range(5), range(grid[0]), range(grid[1]))
    for p, (b, n, m) in enumerate(places):
        part = (
            b,
            slice(None),
            slice(n * rows, (n + 1) * rows),
            slice(m * columns, (m + 1) * columns),
        )
        if executed[b, n, m]:
            at = torch.tensor([p])
            name = OPERATIONS[int(operations[b, n, m])]
            before[part] = operate(name, images[part][None], draws.rows(at))[0]
    torch.testing.assert_close(found, before, atol=1e-6, rtol=0)


def test_operations_on_several_patches_take_them_by_image_row_and_column() -> None:
    images = stack(2, 8, 8)
    cutmix = torch.full((2, 2, 2), OPERATIONS.index("cutmix"))
    executed = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [0, 0]]]).bool()
    found = augment_patches(images, cutmix, executed)
    expected = images.clone()
    expected[0, :, :4, :4] = images[0, :, 4:, 4:]
    expected[0, :, 4:, 4:] = images[1, :, :4, 4:]
    expected[1, :, :4, 4:] = images[0, :, :4, :4]
    assert torch.equal(found, expected)


def test_the_official_crop_leaves_the_last_row_and_column_of_each_patch() -> None:
    images = stack(1, 8, 8)
    invert = torch.full((1, 2, 2), OPERATIONS.index("invert"))
    found = augment_patches(images, invert, torch.ones(1, 2, 2).bool(), quirks=True)
    same = (found == images).all(dim=(0, 1))
    assert bool(same[[3, 7]].all())
    assert bool(same[:, [3, 7]].all())
    assert int((~same).sum()) == 36


def test_nothing_executed_changes_nothing_and_all_operations_stay_in_range() -> None:
    images = stack(30, 32, 32)
    operations = (torch.arange(30 * 4) % 15).view(30, 2, 2)
    assert torch.equal(augment_patches(images, operations, torch.zeros(30, 2, 2).bool()), images)
    found = augment_patches(images, operations, torch.ones(30, 2, 2).bool())
    assert 0 <= float(found.min()) <= float(found.max()) <= 1 + 1e-6


def test_half_of_all_patches_are_executed_and_officially_a_quarter_by_some() -> None:
    torch.manual_seed(0)
    operations = (torch.arange(15 * 4000) % 15).view(-1, 2, 2)
    assert float(draw_execution(operations).float().mean()) == pytest.approx(0.5, abs=0.01)
    official = draw_execution(operations, quirks=True).flatten().view(-1, 15).float().mean(0)
    for name, share in zip(OPERATIONS, official.tolist(), strict=True):
        assert share == pytest.approx(0.25 if name in HALVED else 0.5, abs=0.03)


def test_patches_that_fade_are_a_quarter_at_first_and_one_in_two_hundred_at_last() -> None:
    """Of all, as half of the batches stay as they are."""
    torch.manual_seed(0)
    operations = torch.zeros(50, 4, 4).long()
    for done, share in ((0.0, 0.5), (0.5, 0.255), (1.0, 0.01)):
        drawn = torch.stack([draw_fading(operations, done) for _ in range(300)]).float()
        some = drawn.mean(dim=(1, 2, 3))
        assert float((some > 0).float().mean()) == pytest.approx(0.5, abs=0.1)
        assert float(some[some > 0].mean()) == pytest.approx(share, rel=0.1)


def test_patches_of_less_than_three_pixels_are_refused_in_one_line() -> None:
    with pytest.raises(Refused, match=r"grid of 12 x 12 makes patches of 2 x 2 .* at most 10 x 10"):
        augment_patches(
            stack(1, 32, 32), torch.zeros(1, 12, 12).long(), torch.ones(1, 12, 12).bool()
        )


# Agents and credits


def test_the_agent_for_cifar_has_the_official_size_and_others_fit_any_grid() -> None:
    assert sum(p.numel() for p in PatchAgent().parameters()) == 279_728
    for grid, side in ((1, 32), (3, 48), (7, 64)):
        agent = PatchAgent(grid=grid, widths=(8, 16, 16), num_chances=10)
        scores, value, chances = agent.scores(torch.rand(2, 3, side, side))
        assert scores.shape == (2, 15, grid, grid)
        assert value.shape == (2,)
        assert chances is not None
        assert chances.shape == (2, 10, grid, grid)


@pytest.mark.parametrize(
    ("grid", "head"),
    [
        (1, 64 * 128 * 9 + 3 * 128 + 128 * 128 * 4 + 128 + 128 * 13 + 13),
        (2, 64 * 128 * 9 + 3 * 128 + 128 * 13 * 4 + 13),
        (3, 64 * 128 * 9 + 3 * 128 + 128 * 13 * 9 + 13),
        *((grid, 64 * 13 * 9 + 13) for grid in (4, 5, 7, 14)),
    ],
)
def test_the_agent_for_photos_has_the_official_size_and_form(grid: int, head: int) -> None:
    side = 14 if grid == 14 else 7
    stem = nn.Conv2d(3, 512, 32, stride=32)  # in place of a ResNet-18: maps of the same form
    agent = PhotoAgent(stem, channels=512, num_operations=13, grid=grid)
    official = (
        512 * 32 * 9 + 64 + (32 * side**2 + 1) * 256 + 257
        + (32 * 64 + 64 * 64) * 9 + 2 * 64 + 4 * 64 + head
    )  # fmt: skip
    own = sum(p.numel() for name, p in agent.named_parameters() if "extracter" not in name)
    assert own == official
    for size in (448,) if grid == 14 else (224, 448, 96):
        scores, value = agent(torch.rand(2, 3, size, size))
        assert scores.shape == (2, 13, grid, grid)
        assert value.shape == (2,)


def test_other_grids_are_pooled_to_fit() -> None:
    for grid in (6, 9):
        agent = PhotoAgent(nn.Conv2d(3, 8, 8, stride=8), channels=8, grid=grid)
        assert agent(torch.rand(2, 3, 64, 64))[0].shape == (2, 15, grid, grid)


def test_choices_follow_the_softmax() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1).expand(2000, 3, 4, 4)
    share = torch.bincount(choose(scores).flatten(), minlength=3) / 32_000
    torch.testing.assert_close(share, scores[0, :, 0, 0].softmax(0), atol=0.01, rtol=0)


def test_each_image_is_credited_with_its_own_loss_and_executed_patches_alone() -> None:
    scores = torch.randn(4, 5, 2, 2, requires_grad=True)
    value = torch.randn(4, requires_grad=True)
    actions, reward = torch.randint(5, (4, 2, 2)), torch.rand(4)
    executed = torch.rand(4, 2, 2) < 0.5
    told = a2c_loss(scores, actions, value, reward, executed=executed, entropy_weight=0.01)
    told["loss"].backward()
    expected = torch.zeros(())
    guess = value.detach()
    policy = scores.detach().clone().requires_grad_()
    for b in range(4):
        for i, j in itertools.product(range(2), range(2)):
            log_probs = policy[b, :, i, j].log_softmax(0)
            if executed[b, i, j]:
                expected = expected - log_probs[actions[b, i, j]] * (reward[b] - guess[b]) / 4
            expected = expected + 0.01 * (log_probs.exp() * log_probs).sum() / 16
    (gradient,) = torch.autograd.grad(expected, policy)
    assert scores.grad is not None
    assert value.grad is not None
    torch.testing.assert_close(scores.grad, gradient, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(value.grad, (guess - reward) / 4)


@pytest.mark.parametrize(("credit", "learns"), [("image", True), ("official", False)])
def test_credit_by_image_finds_the_operation_that_hurts_most_and_the_official_need_not(
    credit: Credit, learns: bool
) -> None:
    """The toy of the specification, section B4: loss 0.5 + 0.4 times the share of operation 3."""
    torch.manual_seed(0)
    scores, value = nn.Parameter(torch.zeros(15)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([scores, value], lr=0.3)
    for _ in range(800):
        spread = scores.view(1, 15, 1, 1).expand(64, 15, 2, 2)
        actions = choose(spread.detach())
        executed = draw_execution(actions)
        hurt = ((actions == 3) & executed).float().mean(dim=(1, 2))
        reward = 0.5 + 0.4 * hurt + 0.1 * torch.randn(64).abs()
        told = a2c_loss(spread, actions, value.expand(64), reward, credit=credit, executed=executed)
        optimizer.zero_grad()
        told["loss"].backward()
        optimizer.step()
    assert (float(scores.detach().softmax(0)[3]) > 0.9) == learns
