"""Image files of every odd kind that users have, made on the spot."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ROWS, COLUMNS = 48, 64


def photo(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> np.ndarray:
    """Smooth colours, different at each of the four corners."""
    values = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(values).resize((columns, rows), Image.Resampling.BILINEAR))


def chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def write_png_header(path: Path, columns: int, rows: int) -> None:
    """A PNG that claims a size and holds next to nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))


def write_good(folder: Path) -> list[Path]:
    """Files that can be decoded, all showing `photo()` or its grey version."""
    colour = Image.fromarray(photo())
    grey = colour.convert("L")
    folder.mkdir(parents=True, exist_ok=True)
    palette = colour.quantize(32)
    alpha = colour.copy()
    alpha.putalpha(255)
    made: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "plain.jpg": (colour, {"quality": 95}),
        "grey.jpg": (grey, {"quality": 95}),
        "cmyk.jpg": (colour.convert("CMYK"), {"quality": 95}),
        "plain.png": (colour, {}),
        "grey.png": (grey, {}),
        "bits.png": (grey.convert("1"), {}),
        "palette.png": (palette, {}),
        "palette_clear.png": (palette, {"transparency": 3}),
        "alpha.png": (alpha, {}),
        "grey_alpha.png": (alpha.convert("LA"), {}),
        "sixteen.png": (Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), {}),
        "animated.gif": (
            palette,
            {"save_all": True, "append_images": [Image.new("P", colour.size)]},
        ),
        "plain.webp": (colour, {"lossless": True}),
        "plain.bmp": (colour, {}),
        "plain.tiff": (colour, {}),
        "float.tiff": (Image.fromarray(np.asarray(grey).astype(np.float32) / 255), {}),
        "a name, with späces and ünicode.png": (colour, {}),
    }
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
    (folder / "png named.jpg").write_bytes((folder / "plain.png").read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.rotate(90, expand=True).save(folder / "turned.jpg", exif=turned, quality=95)
    np.save(folder / "bands.npy", photo())
    return sorted(folder.iterdir())


def write_bad(folder: Path) -> list[Path]:
    """Files that look like images by their names."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo()).save(folder / "whole.jpg")
    Image.fromarray(photo()).save(folder / "whole.png")
    whole = {end: (folder / f"whole.{end}").read_bytes() for end in ("jpg", "png")}
    for end, content in whole.items():
        (folder / f"truncated.{end}").write_bytes(content[: len(content) * 2 // 3])
        (folder / f"whole.{end}").unlink()
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image\n")
    (folder / "random.png").write_bytes(np.random.default_rng(0).bytes(999))
    write_png_header(folder / "huge.png", 20_000, 20_000)
    return sorted(folder.iterdir())
