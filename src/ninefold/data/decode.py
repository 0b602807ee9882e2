"""The one way from a file, bytes or an array to an upright uint8 image.

EXIF and TIFF orientation is applied; 16 bits are scaled to 8, never clamped; what is transparent
shows white; of an animation the first frame counts; CMYK, palettes and single bits become grey or
RGB. Grey becomes RGB and RGB grey (ITU-R 601) where the other is asked for; nothing else is
converted silently.

Shapes: c channels, h rows, w columns.
"""

import functools
import io
import warnings
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ninefold.core.errors import Refused, printable
from ninefold.data.jpeg import fast_jpeg

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, np.dtype[Any]]

PIXEL_LIMIT = 178_956_970
"""Pixels above which Pillow too takes an image for an attack."""

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".gif", ".tif", ".tiff"),
    *(".webp", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".npy"),
)
"""Endings, in lower case, of the files that are taken for images when a folder is read."""

_ORIENTATION_TAG = 0x0112
_TRANSPARENT = ("RGBA", "RGBa", "LA", "La", "PA")


def decode(
    source: "str | Path | bytes | Image | Array | Tensor",
    *,
    channels: int = 3,
    pixel_limit: int = PIXEL_LIMIT,
) -> UInt8[Tensor, "c h w"]:
    """The upright image, laid out channels-last in memory.

    Args:
        source: A path (`.npy` files hold arrays, for any number of channels), a file's bytes, a
            Pillow image, an array `(h, w)` or `(h, w, c)`, or a tensor `(h, w)` or `(c, h, w)`.
            Where only the other axis order gives the right number of channels, that is taken.
            Floats are read as shares of 1 where none is larger, else as levels up to 255 or
            65535; from files also stretched from their least to their largest value.
        channels: What the result has. A file of just so many bands (RGBA for 4) is left as it is.
        pixel_limit: Rows times columns, checked on the header, before anything is decoded.

    Raises:
        Refused: not an image, cut short, too large, or of another number of channels.
    """
    if isinstance(source, Tensor):
        name, values = "image", _planes_last(source, channels)
        return _levelled(values, name, channels, pixel_limit)
    if isinstance(source, np.ndarray):
        return _levelled(_array(source, channels), "image", channels, pixel_limit)
    if isinstance(source, str | Path):
        name = printable(source)
        if str(source).lower().endswith(".npy"):
            return _read_npy(source, name, channels, pixel_limit)
    elif isinstance(source, bytes) or hasattr(source, "getbands"):
        name = "image"
    else:
        kind = type(source).__name__
        raise Refused(f"image: a {kind} is none; a path, bytes, a Pillow image, an array or a "
                      "tensor is")  # fmt: skip
    try:
        values = _read(source, name, channels, pixel_limit)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # a broken file may raise anything, by its format
        raise _refusal(source, name, error) from None
    return _levelled(values, name, channels, pixel_limit, stretch=True)


def read_size(path: str | Path, *, pixel_limit: int = PIXEL_LIMIT) -> tuple[int, int]:
    """Rows and columns by the header alone, as stored; orientation may exchange them.

    Raises:
        Refused: as `decode`, as far as the header tells.
    """
    name = printable(path)
    if str(path).lower().endswith(".npy"):
        return tuple(_map_npy(path, name).shape[:2])
    try:
        with _pillow().open(path) as image:
            _check_pixels(name, image.height, image.width, pixel_limit)
            return image.height, image.width
    except (Refused, MemoryError):
        raise
    except Exception as error:
        raise _refusal(path, name, error) from None


@functools.cache
def _pillow() -> ModuleType:
    """Pillow's `Image`, imported when the first file is read."""
    from PIL import Image

    # Our own limit stands before every decoding; Pillow would print of half of its own.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    return Image


def _refusal(source: Any, name: str, error: Exception) -> Refused:
    """What a failure to decode means, in a line."""
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return Refused(f"{name}: there is no such file")
    if isinstance(error, IsADirectoryError):
        return Refused(f"{name}: is a folder, not an image")
    if isinstance(error, PermissionError):
        return Refused(f"{name}: cannot be read: permission denied")
    if kind in ("DecompressionBombError", "DecompressionBombWarning"):
        return Refused(f"{name}: has too many pixels ({error}); make the image smaller")
    if _is_empty(source):
        return Refused(f"{name}: the file is empty; replace or remove it")
    if kind == "UnidentifiedImageError":
        return Refused(f"{name}: is not an image of any known format; replace or remove it")
    reason = " ".join(str(error).split()) or kind
    return Refused(f"{name}: cannot be decoded: {printable(reason)}; replace or remove it")


def _is_empty(source: Any) -> bool:
    if isinstance(source, bytes):
        return not source
    return isinstance(source, str | Path) and Path(source).stat().st_size == 0


def _check_pixels(name: str, rows: int, columns: int, limit: int) -> None:
    if rows * columns > limit:
        raise Refused(
            f"{name}: {columns} x {rows} pixels are over the limit of {limit:,}; make it smaller"
        )


def _read(source: Any, name: str, channels: int, pixel_limit: int) -> Array:
    """Values `(h, w, c)` of the upright image: uint8, or wider as the file has them."""
    if isinstance(source, str | Path | bytes):
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with _pillow().open(file) as image:
            _check_pixels(name, image.height, image.width, pixel_limit)
            if image.format == "JPEG":
                pixels = fast_jpeg(source, image.mode)
                if pixels is not None:
                    return _upright(pixels, orientation(image))
            image.load()
            return _upright(_values(image, channels), orientation(image))
    _check_pixels(name, source.height, source.width, pixel_limit)
    return _upright(_values(source, channels), orientation(source))


def orientation(image: "Image") -> int:
    """EXIF's 1 to 8; 1 where the EXIF block is broken, which spoils no pixel."""
    try:
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1


def _upright(values: Array, orientation: int) -> Array:
    """Source: EXIF 2.32, tag 274: where the first row and the first column are to be seen."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _values(image: "Image", channels: int) -> Array:
    """The pixels of a Pillow image as an array of its own."""
    mode = image.mode
    if mode.startswith("I;16"):
        values = np.array(image).astype(np.uint16)  # to this machine's byte order
        return _white_where(values, values == _transparent_level(image))[..., None]
    if mode in ("I", "F"):
        values = np.array(image)
        small = mode == "I" and values.size > 0 and values.min() >= 0 and values.max() <= 65535
        return (values.astype(np.uint16) if small else values)[..., None]
    if len(image.getbands()) == channels and mode in ("RGBA", "CMYK", "LA"):
        return np.array(image)
    if mode in _TRANSPARENT or image.has_transparency_data:
        return np.array(_on_white(image))
    if mode in ("1", "L"):
        return np.array(image.convert("L"))[..., None]
    return np.array(image if mode == "RGB" else image.convert("RGB"))


def _on_white(image: "Image") -> "Image":
    """Colours under a transparent pixel are arbitrary, and often black."""
    clear = image.convert("RGBA")
    white = _pillow().new("RGB", image.size, (255, 255, 255))
    white.paste(clear, mask=clear.getchannel("A"))
    return white


def _transparent_level(image: "Image") -> int:
    level = image.info.get("transparency", -1)
    return level if isinstance(level, int) else -1


def _white_where(values: Array, where: Array) -> Array:
    return np.where(where, np.uint16(65535), values) if where.any() else values


def _map_npy(path: str | Path, name: str) -> Array:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _refusal(path, name, error) from None
    if not isinstance(values, np.ndarray) or values.ndim not in (2, 3):
        raise Refused(f"{name}: holds no array of the form (h, w), (h, w, c) or (c, h, w)")
    return values


def _read_npy(path: str | Path, name: str, channels: int, limit: int) -> UInt8[Tensor, "c h w"]:
    values = _array(_map_npy(path, name), channels)
    _check_pixels(name, values.shape[0], values.shape[1], limit)
    return _levelled(np.array(values), name, channels, limit, stretch=True)


def _array(values: Array, channels: int) -> Array:
    """`(h, w, c)`, whichever of the two orders has a fitting number of channels."""
    if values.ndim == 2:
        return values[..., None]
    if (
        values.ndim == 3
        and not _fits(values.shape[2], channels)
        and _fits(values.shape[0], channels)
    ):
        return values.transpose(1, 2, 0)
    return values


def _planes_last(image: Tensor, channels: int) -> Array:
    values = image.detach().cpu()
    values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if values.ndim == 3 and (
        _fits(values.shape[0], channels) or not _fits(values.shape[2], channels)
    ):
        return values.transpose(1, 2, 0)
    return values[..., None] if values.ndim == 2 else values


def _fits(found: int, channels: int) -> bool:
    return found == channels or {found, channels} == {1, 3}


def _levelled(
    values: Array, name: str, channels: int, limit: int, *, stretch: bool = False
) -> UInt8[Tensor, "c h w"]:
    """From values `(h, w, c)` of any type to the tensor that was asked for."""
    if values.ndim != 3 or not values.size:
        form = " x ".join(map(str, values.shape))
        raise Refused(f"{name}: an array of {form} is no image; (h, w, c) or (c, h, w) would be")
    _check_pixels(name, values.shape[0], values.shape[1], limit)
    if not _fits(values.shape[2], channels):
        raise Refused(
            f"{name}: has {values.shape[2]} channels where the model takes {channels}; "
            f"--preprocess.channels {values.shape[2]} trains on all of them"
        )
    levels = np.ascontiguousarray(_levels(values, name, stretch))
    image = torch.from_numpy(levels if levels.flags.writeable else levels.copy()).permute(2, 0, 1)
    if image.shape[0] == channels:
        return image
    if channels == 3:
        return image.permute(1, 2, 0).repeat(1, 1, 3).permute(2, 0, 1)
    red, green, blue = image.int()
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)[None]


def _levels(values: Array, name: str, stretch: bool) -> UInt8[np.ndarray, "h w c"]:
    """Any numbers to 0..255."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise Refused(f"{name}: holds {values.dtype} values, which are no image's")
    real = values.astype(np.float64)
    finite = np.isfinite(real)
    if not finite.any() or not (stretch or finite.all()):
        raise Refused(f"{name}: holds values that are not finite")
    low, high = float(real[finite].min()), float(real[finite].max())
    whole = [1.0] if values.dtype.kind == "f" else []
    full = next((top for top in (*whole, 255.0, 65535.0) if low >= 0 and high <= top), 0.0)
    if not full and not stretch:
        raise Refused(
            f"{name}: values from {low:g} to {high:g} are no image's; give uint8, or floats from "
            "0 to 1, before any normalisation"
        )
    start, span = (0.0, full) if full else (low, max(high - low, 1e-300))
    real = np.where(finite, real, start)
    return np.rint((real - start) * (255 / span)).astype(np.uint8)
