"""AugReg's RandAugment: cases worked by hand at the paper's magnitudes, and naive loops."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import transforms

from ninefold.augment.augreg import ARGUMENTS, OPERATIONS, AugRegRandAugment, contrast_about_mean
from ninefold.augment.randaugment import read_randaugment
from ninefold.core.errors import Refused
from ninefold.core.preprocess import Preprocess

MAGNITUDES = (0, 10, 15, 20)
VALUES = (0, 3, 77, 100, 127, 128, 200, 255)
CORNER = torch.zeros(1, 2, dtype=torch.int64)


def grey(rows: object) -> Tensor:
    return torch.tensor(rows, dtype=torch.uint8)[None, None]


def operated(name: str, x: Tensor, magnitude: float, sign: int = 1, at: Tensor = CORNER) -> Tensor:
    return OPERATIONS[name](x, ARGUMENTS[name](magnitude / 10, sign), at)


# vit-augreg-sam specification, section 6.5, row by row.
TABLE = {
    "Rotate": (0, 30, 45, 60),
    "Posterize": (0, 4, 6, 8),
    "Solarize": (0, 256, 384, 512),
    "SolarizeAdd": (0, 110, 165, 220),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), (0.1, 1.9, 2.8, 3.7)),
    **dict.fromkeys(("ShearX", "ShearY"), (0, 0.3, 0.45, 0.6)),
    **dict.fromkeys(("TranslateX", "TranslateY"), (0, 100, 150, 200)),
    "Cutout": (0, 40, 60, 80),
}
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")


@pytest.mark.parametrize("name", TABLE)
def test_arguments_are_those_of_the_table(name: str) -> None:
    for magnitude, expected in zip(MAGNITUDES, TABLE[name], strict=True):
        found = ARGUMENTS[name](magnitude / 10, 1)
        assert found == pytest.approx(expected, abs=1e-12)
        assert type(found) is float or float(found).is_integer()
        other = ARGUMENTS[name](magnitude / 10, -1)
        assert other == pytest.approx(-expected if name in SIGNED else expected, abs=1e-12)


def test_there_are_sixteen_operations_in_the_official_order() -> None:
    order = "AutoContrast Equalize Invert Rotate Posterize Solarize Color Contrast Brightness"
    order += " Sharpness ShearX ShearY TranslateX TranslateY Cutout SolarizeAdd"
    assert list(OPERATIONS) == order.split()
    assert set(ARGUMENTS) == set(OPERATIONS)


INVERTED = (255, 252, 178, 155, 128, 127, 55, 0)
BY_VALUE = {
    "Invert": (INVERTED,) * 4,
    "Posterize": (
        (0,) * 8,
        (0, 0, 64, 96, 112, 128, 192, 240),
        (0, 0, 76, 100, 124, 128, 200, 252),
        VALUES,
    ),
    "Solarize": (INVERTED, VALUES, VALUES, VALUES),
    "SolarizeAdd": (
        VALUES,
        (110, 113, 187, 210, 237, 128, 200, 255),
        (165, 168, 242, 255, 255, 128, 200, 255),
        (220, 223, 255, 255, 255, 128, 200, 255),
    ),
    "Brightness": (
        (0, 0, 7, 10, 12, 12, 20, 25),
        (0, 5, 146, 190, 241, 243, 255, 255),
        (0, 8, 215, 255, 255, 255, 255, 255),
        (0, 11, 255, 255, 255, 255, 255, 255),
    ),
}


@pytest.mark.parametrize("name", BY_VALUE)
def test_operations_on_single_values_equal_cases_worked_by_hand(name: str) -> None:
    for magnitude, expected in zip(MAGNITUDES, BY_VALUE[name], strict=True):
        assert operated(name, grey([VALUES]), magnitude).flatten().tolist() == list(expected)


def test_color_leaves_each_pixels_grey_as_worked_by_hand() -> None:
    """(0.2989 200 + 0.587 100 + 0.114 50) 255.5 / 255 = 124.4, cut to 124."""
    pixel = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = ([131, 121, 116], [255, 78, 0], [255, 56, 0], [255, 35, 0])
    for magnitude, values in zip(MAGNITUDES, expected, strict=True):
        assert operated("Color", pixel, magnitude).flatten().tolist() == values
        assert torch.equal(operated("Color", grey([VALUES]), magnitude), grey([VALUES]))


@pytest.mark.parametrize(
    ("side", "value", "expected"),
    [(16, 101, (11, 191, 255, 255)), (224, 96, (186, 6, 0, 0)), (384, 155, (245, 65, 0, 0))],
)
def test_official_contrast_is_about_a_constant_of_the_size(
    side: int, value: int, expected: tuple[int, ...]
) -> None:
    """The constants are 1, 196 and, cut from 576, 255."""
    x = torch.full((1, 1, side, side), value, dtype=torch.uint8)
    for magnitude, one in zip(MAGNITUDES, expected, strict=True):
        assert operated("Contrast", x, magnitude).unique().tolist() == [one]


def test_contrast_about_the_mean_equals_a_case_worked_by_hand() -> None:
    x = grey([[0, 50], [100, 250]])  # mean 100
    expected = ([90, 95, 100, 115], [0, 5, 100, 255], [0, 0, 100, 255], [0, 0, 100, 255])
    for magnitude, values in zip(MAGNITUDES, expected, strict=True):
        factor = ARGUMENTS["Contrast"](magnitude / 10, 1)
        assert contrast_about_mean(x, factor).flatten().tolist() == values


def test_sharpness_equals_a_case_worked_by_hand() -> None:
    """A single 130 is smoothed to 5 130 / 13 = 50; borders stay."""
    x = grey([[0, 0, 0], [0, 130, 0], [0, 0, 0]])
    for magnitude, value in zip(MAGNITUDES, (58, 202, 255, 255), strict=True):
        expected = grey([[0, 0, 0], [0, value, 0], [0, 0, 0]])
        assert torch.equal(operated("Sharpness", x, magnitude), expected)


def test_a_sharpened_inside_is_the_cut_mean_of_nine() -> None:
    x = noise(1, 3, 7, 9)
    smooth = OPERATIONS["Sharpness"](x, 0.0, CORNER)
    for c, row, column in np.ndindex(3, 7, 9):
        expected = int(x[0, c, row, column])
        if 0 < row < 6 and 0 < column < 8:
            around = x[0, c, row - 1 : row + 2, column - 1 : column + 2]
            expected = (int(around.sum()) + 4 * expected) // 13
        assert int(smooth[0, c, row, column]) == expected


def test_autocontrast_and_equalize_equal_cases_worked_by_hand_at_any_magnitude() -> None:
    halves = torch.tensor([10] * 256 + [20] * 256, dtype=torch.uint8).view(1, 1, 16, 32)
    for magnitude in MAGNITUDES:
        stretched = operated("AutoContrast", grey([[10, 20, 30]]), magnitude)
        assert stretched.flatten().tolist() == [0, 127, 255]  # 127.5 is cut
        assert operated("AutoContrast", grey([[7, 7]]), magnitude).flatten().tolist() == [7, 7]
        spread = operated("Equalize", halves, magnitude)  # a step of (512 - 256) // 255 = 1
        assert spread.unique(return_counts=True)[0].tolist() == [0, 255]
        few = grey([[10, 20, 30]])  # no step: as it was
        assert torch.equal(operated("Equalize", few, magnitude), few)


def test_equalize_is_pillows() -> None:
    x = (noise(1, 3, 40, 50).float() * 0.4 + 30).to(torch.uint8)
    theirs = ImageOps.equalize(Image.fromarray(x[0].permute(1, 2, 0).numpy()))
    found = OPERATIONS["Equalize"](x, 0, CORNER)[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, np.array(theirs))


NINE = grey([[0, 1, 2], [10, 11, 12], [20, 21, 22]])


@pytest.mark.parametrize(
    ("magnitude", "moved"),
    [
        (10, {(0, 0): 1, (0, 2): 12, (1, 1): 11}),
        (15, {(0, 0): 1, (1, 2): 22, (2, 1): 20, (1, 1): 11}),
        (20, {(0, 0): 1, (0, 2): 12, (1, 1): 11}),
    ],
)
def test_rotation_against_the_clock_equals_cases_worked_by_hand(
    magnitude: int, moved: dict[tuple[int, int], int]
) -> None:
    """By 30, 45 and 60 degrees, each corner's source is the nearest of what cos and sin give."""
    found = operated("Rotate", NINE, magnitude)[0, 0]
    assert {place: int(found[place]) for place in moved} == moved
    assert torch.equal(operated("Rotate", NINE, 0), NINE)
    clockwise = operated("Rotate", NINE, magnitude, sign=-1)[0, 0]
    assert (int(clockwise[0, 0]), int(clockwise[1, 1])) == (10, 11)


@pytest.mark.parametrize(
    ("magnitude", "starts"), [(0, (0, 0, 0, 0)), (10, (0, 0, 1, 1)), (15, (0, 0, 1, 1)),
                              (20, (0, 1, 1, 2))],
)  # fmt: skip
def test_shear_equals_cases_worked_by_hand(magnitude: int, starts: tuple[int, ...]) -> None:
    """Row y starts at the column nearest to 0.3 y, 0.45 y and 0.6 y; what is uncovered is grey."""
    x = grey([[10 * row + column for column in range(3)] for row in range(4)])
    expected = [
        [10 * row + column if column < 3 else 128 for column in range(start, start + 3)]
        for row, start in enumerate(starts)
    ]
    assert torch.equal(operated("ShearX", x, magnitude), grey(expected))
    turned = operated("ShearY", x.transpose(2, 3), magnitude)
    assert torch.equal(turned, grey(expected).transpose(2, 3))
    back = operated("ShearX", x.flip(3), magnitude, sign=-1)
    assert torch.equal(back, grey(expected).flip(3))


@pytest.mark.parametrize(("magnitude", "pixels"), [(0, 0), (10, 100), (15, 150), (20, 200)])
def test_translation_is_by_pixels_as_worked_by_hand(magnitude: int, pixels: int) -> None:
    line = torch.arange(230) % 97
    left = torch.cat([line[pixels:], torch.full((pixels,), 128)])
    right = torch.cat([torch.full((pixels,), 128), line[: 230 - pixels]])
    for sign, expected in ((1, left), (-1, right)):
        found = operated("TranslateX", grey([line.tolist()]), magnitude, sign)
        assert found.flatten().tolist() == expected.tolist()
        column = grey([[v] for v in line.tolist()])
        found = operated("TranslateY", column, magnitude, sign)
        assert found.flatten().tolist() == expected.tolist()


@pytest.mark.parametrize(("magnitude", "half"), [(0, 0), (10, 40), (15, 60), (20, 80)])
def test_cutout_greys_half_a_side_before_and_behind_its_centre(magnitude: int, half: int) -> None:
    x = torch.zeros(2, 3, 200, 300, dtype=torch.uint8)
    centres = torch.tensor([[90, 100], [199, 0]])
    found = operated("Cutout", x, magnitude, at=centres)
    expected = x.clone()
    expected[0, :, 90 - half : 90 + half, 100 - half : 100 + half] = 128
    expected[1, :, 199 - half if half else 200 :, :half] = 128
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", SIGNED)
def test_what_moves_equals_a_naive_loop_over_pixels(name: str) -> None:
    x = noise(1, 3, 19, 26)
    h, w = 19, 26
    for magnitude in (10, 15, 20):
        for sign in (1, -1):
            amount = np.float32(ARGUMENTS[name](magnitude / 10, sign))
            (a, b, c), (d, e, f) = matrix(name, float(amount), h, w)
            expected = np.full((3, h, w), 128)
            for row, column in np.ndindex(h, w):
                across = a * np.float32(column) + b * np.float32(row) + c
                down = d * np.float32(column) + e * np.float32(row) + f
                u, v = (int(math.copysign(math.floor(abs(z) + 0.5), z)) for z in (across, down))
                if 0 <= u < w and 0 <= v < h:
                    expected[:, row, column] = x[0, :, v, u]
            found = operated(name, x, magnitude, sign)[0].numpy()
            assert np.array_equal(found, expected), (magnitude, sign)


def matrix(name: str, amount: float, h: int, w: int) -> list[list[np.float32]]:
    """Rows of the map from a pixel of the result to its source."""
    cos, sin = math.cos(math.radians(amount)), math.sin(math.radians(amount))
    maps = {
        "ShearX": [[1, amount, 0], [0, 1, 0]],
        "ShearY": [[1, 0, 0], [amount, 1, 0]],
        "TranslateX": [[1, 0, amount], [0, 1, 0]],
        "TranslateY": [[1, 0, 0], [0, 1, amount]],
        "Rotate": [
            [cos, -sin, ((w - 1) - (cos * (w - 1) - sin * (h - 1))) / 2],
            [sin, cos, ((h - 1) - (sin * (w - 1) + cos * (h - 1))) / 2],
        ],
    }
    return [[np.float32(value) for value in row] for row in maps[name]]


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_batch_is_changed_as_its_images_one_by_one() -> None:
    images = noise(60, 3, 30, 34)
    for policy in (AugRegRandAugment(2, 15), AugRegRandAugment(3, 7.5, True, True)):
        draws = torch.stack([policy.draw(seeded(i)) for i in range(60)])
        one_by_one = torch.stack([policy(x, seeded(i)) for i, x in enumerate(images)])
        assert torch.equal(policy.operate(images, draws), one_by_one)


def test_layers_are_applied_one_after_the_other_and_always() -> None:
    policy, x = AugRegRandAugment(2, 20), noise(3, 24, 24)
    for seed in range(30):
        expected = x[None]
        for choice, coin, down, right in policy.draw(seeded(seed)).tolist():
            name = list(OPERATIONS)[int(16 * choice)]
            at = torch.tensor([[int(24 * down), int(24 * right)]])
            expected = operated(name, expected, 20, 1 if coin < 0.5 else -1, at)
        assert torch.equal(policy(x, seeded(seed)), expected[0])


def test_all_operations_and_both_signs_are_drawn_alike() -> None:
    draws = AugRegRandAugment(4000).draw(seeded(0))
    counts = Counter((16 * draws[:, 0]).int().tolist())
    assert set(counts) == set(range(16))
    assert all(190 <= count <= 310 for count in counts.values())  # 250 +- 4 deviations
    assert 1850 <= int((draws[:, 1] < 0.5).sum()) <= 2150


def test_magnitude_0_is_no_identity_and_0_layers_are() -> None:
    x = noise(3, 16, 16)
    changed = [not torch.equal(AugRegRandAugment(2, 0)(x, seeded(i)), x) for i in range(40)]
    assert sum(changed) > 20
    assert torch.equal(AugRegRandAugment(0)(x, seeded(0)), x)


def test_relative_distances_shrink_with_the_image_and_are_the_official_ones_at_224() -> None:
    absolute, relative = AugRegRandAugment(2, 10), AugRegRandAugment(2, 10, relative=True)
    large = noise(3, 224, 224)
    assert all(
        torch.equal(absolute(large, seeded(i)), relative(large, seeded(i))) for i in range(24)
    )
    small = noise(3, 32, 32)
    emptied = [
        sum(len(policy(small, seeded(i)).unique()) == 1 for i in range(300))
        for policy in (absolute, relative)
    ]
    assert emptied[0] > 3 * emptied[1] + 30


def test_notation_names_layers_magnitude_and_options() -> None:
    def read(notation: str) -> object:
        return read_randaugment(notation, Preprocess())

    assert read("augreg") == AugRegRandAugment(2, 10)
    assert read("augreg-l3-m15") == AugRegRandAugment(3, 15)
    assert read("augreg-m12.5-mean-rel") == AugRegRandAugment(2, 12.5, True, True)
    assert pickle.loads(pickle.dumps(read("augreg-m20"))) == AugRegRandAugment(2, 20)


@pytest.mark.parametrize(
    ("notation", "message"),
    [
        ("augreg-n2", "cannot read 'n2'; sections are lN mN mean rel"),
        ("augreg-l1.5", r"l is 1\.5; a whole number"),
        ("augreg-m101", "m is 101; a number from 0 to 30"),
        ("augreg-l2-m30.5", "m is 30.5; a number from 0 to 30"),
        ("augregg-m9", "did you mean 'augreg'"),
        ("torchvision-m31", "cannot read 'm31'; sections are nN and m0 to m30"),
        ("torchvision-l2", "cannot read 'l2'"),
    ],
)
def test_what_cannot_be_read_is_refused(notation: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_randaugment(notation, Preprocess())


def test_images_of_other_channels_are_refused_by_all_kinds() -> None:
    four = Preprocess(channels=4, mean=(0.5,), std=(0.5,))
    for notation in ("augreg", "torchvision"):
        with pytest.raises(Refused, match="works on images of 1 or 3 channels, not 4"):
            read_randaugment(notation, four)


def test_torchvisions_is_its_own_for_a_seed_that_our_generator_draws() -> None:
    ours, x = read_randaugment("torchvision-n3-m12", Preprocess()), noise(3, 40, 40)
    state = torch.get_rng_state()
    for seed in range(8):
        found = ours(x, seeded(seed))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(int(torch.randint(2**62, (), generator=seeded(seed))))
            assert torch.equal(found, transforms.RandAugment(3, 12)(x))
    assert torch.equal(torch.get_rng_state(), state)
