"""Every kind of file to the same upright uint8 image."""

import inspect
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from zoo import COLUMNS, ROWS, chunk, photo, write_bad, write_good, write_png_header

from ninefold.core.errors import Refused
from ninefold.data.decode import decode, read_size
from ninefold.data.jpeg import fast_jpeg


def test_every_file_of_the_zoo_shows_the_photo(tmp_path: Path) -> None:
    colour = torch.tensor(photo()).permute(2, 0, 1).float()
    grey = torch.tensor(np.asarray(Image.fromarray(photo()).convert("L"))).float()
    for path in write_good(tmp_path):
        image = decode(path)
        assert image.shape == (3, ROWS, COLUMNS), path
        assert image.dtype == torch.uint8
        is_grey = any(word in path.name for word in ("grey", "bits", "sixteen", "float"))
        coarse = {"bits.png": 128, "animated.gif": 30, "palette.png": 30, "palette_clear.png": 30}
        near = (image.float() - (grey if is_grey else colour)).abs().mean()
        assert near < coarse.get(path.name, 8), path


def test_every_broken_file_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    paths = write_bad(tmp_path)
    assert len(paths) == 6
    for path in paths:
        with pytest.raises(Refused) as caught:
            decode(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_all_eight_orientations_give_the_same_image(tmp_path: Path) -> None:
    upright = photo()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    for orientation, pixels in stored.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        for name in (f"{orientation}.png", f"{orientation}.tiff"):
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / name, exif=exif)
            image = decode(tmp_path / name)
            assert np.array_equal(image.permute(1, 2, 0).numpy(), upright), name


def test_a_broken_exif_block_does_not_spoil_the_image() -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).save(file, "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert decode(file.getvalue()).shape == (3, ROWS, COLUMNS)


def test_sixteen_bits_are_scaled_and_not_clamped(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256 * 16).reshape(16, 256).astype(np.uint16)
    for name in ("ramp.png", "ramp.tiff"):
        Image.fromarray(values).save(tmp_path / name)
        image = decode(tmp_path / name, channels=1)[0].numpy().astype(float)
        assert np.abs(image - values / 257).max() <= 0.5
    (tmp_path / "ramp.pgm").write_bytes(b"P5 256 16 65535\n" + values.astype(">u2").tobytes())
    assert abs(float(decode(tmp_path / "ramp.pgm").float().mean()) - 127.5) < 0.5


def test_floats_are_read_by_their_range(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.rint(ramp * 255)
    for name, values in {"share": ramp, "levels": ramp * 255, "metres": ramp * 5e6 - 300}.items():
        Image.fromarray(values).save(tmp_path / f"{name}.tiff")
        image = decode(tmp_path / f"{name}.tiff", channels=1)[0].numpy()
        assert np.abs(image - expected).max() <= 1, name


def test_no_data_in_a_float_file_is_its_least_value(tmp_path: Path) -> None:
    values = np.full((4, 4), 7.0, dtype=np.float32)
    values[0, 0], values[1, 1] = np.nan, -900.0
    Image.fromarray(values).save(tmp_path / "gap.tiff")
    image = decode(tmp_path / "gap.tiff", channels=1)[0]
    assert image[0, 0] == 0
    assert image[2, 2] == 255


def test_what_is_transparent_shows_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), dtype=np.uint8)
    pixels[0, 1] = (200, 100, 50, 255)
    pixels[0, 2] = (0, 0, 0, 51)
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    image = decode(tmp_path / "clear.png")
    assert image[:, 0, 0].tolist() == [255, 255, 255]
    assert image[:, 0, 1].tolist() == [200, 100, 50]
    assert image[:, 0, 2].tolist() == [204, 204, 204]
    Image.new("L", (2, 2), 9).save(tmp_path / "key.png", transparency=9)
    assert decode(tmp_path / "key.png", channels=1).unique().tolist() == [255]


def test_as_many_bands_as_channels_are_left_alone(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "four.png")
    image = decode(tmp_path / "four.png", channels=4)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    for name in ("two.gif", "two.png", "two.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        image = decode(tmp_path / name)
        assert image[0].min() > 250
        assert image[2].max() < 5


def test_grey_and_colour_turn_into_each_other() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert torch.equal(decode(grey), torch.tensor(grey).expand(3, 3, 4))
    luma = np.asarray(Image.fromarray(photo()).convert("L"))
    assert np.array_equal(decode(photo(), channels=1)[0].numpy(), luma)


@pytest.mark.parametrize("channels", [2, 5, 12])
def test_arrays_of_any_number_of_channels_come_in_either_order(
    tmp_path: Path, channels: int
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (7, 9, channels), dtype=np.uint8)
    expected = torch.tensor(values).permute(2, 0, 1)
    for given in (values, values.transpose(2, 0, 1)):
        assert torch.equal(decode(given, channels=channels), expected)
        assert torch.equal(decode(torch.tensor(given), channels=channels), expected)
        np.save(tmp_path / "values.npy", given)
        assert torch.equal(decode(tmp_path / "values.npy", channels=channels), expected)


def test_arrays_of_shares_levels_and_truths_become_levels() -> None:
    assert decode(np.full((2, 2), 0.5, dtype=np.float32))[0, 0, 0] == 128
    assert decode(np.full((2, 2), 77, dtype=np.int64))[0, 0, 0] == 77
    assert decode(torch.ones(2, 2, dtype=torch.bool))[0, 0, 0] == 255
    assert decode(torch.full((3, 2, 2), 1.0, dtype=torch.bfloat16))[0, 0, 0] == 255


def test_normalised_values_are_refused_rather_than_stretched() -> None:
    with pytest.raises(Refused, match=r"values from -2 to 2\.5 are no image's"):
        decode(torch.tensor([[-2.0, 2.5]]))
    with pytest.raises(Refused, match="not finite"):
        decode(torch.tensor([[0.1, float("nan")]]))


def test_what_is_no_image_at_all_is_refused_by_its_type() -> None:
    for value in (None, 3, ["a.png"]):
        with pytest.raises(Refused, match=f"image: a {type(value).__name__} is none; a path"):
            inspect.unwrap(decode)(value)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(Refused, match="has 5 channels where the model takes 3"):
        decode(np.zeros((4, 4, 5), dtype=np.uint8))


@pytest.mark.parametrize("form", [(0, 4, 3), (4,), (1, 4, 4, 3)])
def test_what_has_no_pixels_or_other_axes_is_refused(form: tuple[int, ...]) -> None:
    with pytest.raises(Refused, match="is no image"):
        decode(np.zeros(form, dtype=np.uint8))


def test_the_pixel_limit_counts_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    write_png_header(path, 12_000, 12_000)
    with pytest.raises(Refused, match="pixels"):
        decode(path, pixel_limit=40_000_000)
    write_png_header(path, 20_000, 20_000)
    with pytest.raises(Refused, match="too many pixels"):
        decode(path)
    write_png_header(path, 1_000, 1_000)
    with pytest.raises(Refused, match="1000 x 1000 pixels are over the limit of 999,999"):
        decode(path, pixel_limit=999_999)
    np.save(tmp_path / "big.npy", np.zeros((100, 100), dtype=np.uint8))
    with pytest.raises(Refused, match="over the limit"):
        decode(tmp_path / "big.npy", pixel_limit=9_999)


def test_text_blocks_that_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 100_000_000))
    (tmp_path / "a.png").write_bytes(content[:33] + bomb + content[33:])
    with pytest.raises(Refused, match=r"a\.png: cannot be decoded"):
        decode(tmp_path / "a.png")


def test_the_longest_of_images_is_read(tmp_path: Path) -> None:
    Image.new("L", (65535, 1), 7).save(tmp_path / "long.png")
    assert decode(tmp_path / "long.png").shape == (3, 1, 65535)
    assert read_size(tmp_path / "long.png") == (1, 65535)


def test_pickles_in_npy_files_are_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(Refused, match=r"object\.npy"):
        decode(tmp_path / "object.npy")


def test_missing_files_and_folders_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no such file"):
        decode(tmp_path / "nothing.jpg")
    with pytest.raises(Refused, match="is a folder"):
        decode(tmp_path)


def test_control_characters_in_a_name_do_not_reach_the_message(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines\x1b[31m.jpg"
    path.write_bytes(b"")
    with pytest.raises(Refused) as caught:
        decode(path)
    assert str(caught.value).isprintable()


def test_bytes_and_pillow_images_take_the_same_way(tmp_path: Path) -> None:
    for path in write_good(tmp_path):
        if path.suffix == ".npy":
            continue
        from_bytes = decode(path.read_bytes())
        with Image.open(path) as opened:
            assert torch.equal(decode(opened), from_bytes)
        assert torch.equal(decode(path), from_bytes)


@pytest.mark.parametrize("options", [{"quality": 30}, {"subsampling": 0}, {"progressive": True}])
def test_the_fast_way_for_jpeg_gives_pillows_pixels(options: dict[str, int]) -> None:
    for mode in ("RGB", "L"):
        file = io.BytesIO()
        Image.fromarray(photo(51, 77)).convert(mode).save(file, "JPEG", **options)
        pixels = fast_jpeg(file.getvalue(), mode)
        assert pixels is not None
        with Image.open(file) as image:
            assert np.array_equal(pixels.squeeze(), np.asarray(image))


def test_damaged_jpegs_end_as_pillow_has_it() -> None:
    file = io.BytesIO()
    Image.fromarray(photo(51, 77)).save(file, "JPEG")
    whole, values = file.getvalue(), np.random.default_rng(0)
    for place in values.integers(0, len(whole), 60).tolist():
        for damaged in (whole[:place], whole[:place] + b"\x5a" + whole[place + 1 :]):
            try:
                with Image.open(io.BytesIO(damaged)) as image:
                    expected = np.asarray(image.convert("RGB"))
            except Exception:
                with pytest.raises(Refused):
                    decode(damaged)
            else:
                assert np.array_equal(decode(damaged).permute(1, 2, 0).numpy(), expected)


def test_the_result_is_interleaved_for_fast_resizing(tmp_path: Path) -> None:
    for path in write_good(tmp_path):
        assert decode(path).permute(1, 2, 0).is_contiguous(), path
