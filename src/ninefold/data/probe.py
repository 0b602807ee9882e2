"""One image as `check` sees it: what is wrong with it, and what it shows."""

import hashlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ninefold.data.decode import decode, orientation
from ninefold.data.duplicates import SIDE, fingerprint

TINY = 8
"""A side of fewer pixels is told."""
ASPECT = 10
"""A long side of more than so many times the short one is told."""


Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a data set, or worth knowing.

    Args:
        kind: Its name, as in `docs/data.md`.
        level: An `error` spoils training or its result; a `warning` may; a `note` does not.
        file: A file, a file and line, a folder, or the data set itself.
    """

    kind: str
    level: Level
    file: str
    message: str


@dataclass(frozen=True)
class Probe:
    """What one image is.

    Args:
        findings: What is wrong with it.
        digest: Hash of its bytes; nothing where there are none.
        hash: Of what it shows, with `thumbnail`; nothing where it is flat or cannot be decoded.
        rotated: Whether it is stored turned or mirrored, and says so.
    """

    findings: tuple[Finding, ...]
    digest: bytes = b""
    hash: int | None = None
    thumbnail: UInt8[np.ndarray, "16 16"] | None = None
    rotated: bool = False


def probe_file(path: str, pixel_limit: int) -> Probe:
    """Read one image file, header first, and decode it."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return Probe((Finding("unreadable", "error", path, f"cannot be read: {error.strerror}"),))
    if not content:
        return Probe((Finding("empty-file", "error", path, "the file is empty"),))
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        if path.lower().endswith(".npy"):
            return replace(_probe_array(path, pixel_limit), digest=digest)
        with Image.open(BytesIO(content)) as image:
            findings = _header(image, path, pixel_limit)
            if any(finding.level == "error" for finding in findings):
                return Probe(findings, digest)
            turned = orientation(image) in range(2, 9)
            grey = _grey(image, path, turned, pixel_limit)
    except Image.DecompressionBombError:
        return Probe((_too_many(path, "far more", pixel_limit),), digest)
    except UnidentifiedImageError:
        reason = "not an image of any known format"
        return Probe((Finding("unreadable", "error", path, reason),), digest)
    except Exception as error:  # a broken file may raise anything, by its format
        reason = " ".join(str(error).split()).removeprefix(f"{path}: ")
        kind = "truncated" if "truncated" in reason.lower() else "unreadable"
        return Probe((Finding(kind, "error", path, f"cannot be decoded: {reason}"),), digest)
    return Probe(findings, digest, *_shown(grey), rotated=turned)


def probe_pixels(image: UInt8[np.ndarray, "c h w"], name: str) -> Probe:
    """An image that comes decoded, from a data set that is not files."""
    digest = hashlib.blake2b(f"{image.shape}".encode() + image.tobytes(), digest_size=16).digest()
    grey = Image.fromarray(image.mean(axis=0).astype(np.uint8))
    return Probe(_extent(grey, name), digest, *_shown(grey))


def _probe_array(path: str, pixel_limit: int) -> Probe:
    """A `.npy` file, which may have any number of channels."""
    shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    channels = min(shape[0], shape[2]) if len(shape) == 3 else 1
    return probe_pixels(decode(path, channels=channels, pixel_limit=pixel_limit).numpy(), path)


def _header(image: Image.Image, path: str, pixel_limit: int) -> tuple[Finding, ...]:
    findings = list(_extent(image, path))
    suffix = Path(path).suffix.lower()
    named = Image.registered_extensions().get(suffix, image.format)
    if image.format != named and {image.format, named} != {"JPEG", "MPO"}:
        message = f"is a {image.format} file and not {named}; it is decoded as what it is"
        findings.append(Finding("extension", "warning", path, message))
    if image.width * image.height > pixel_limit:
        findings.append(_too_many(path, f"{image.width} x {image.height}", pixel_limit))
    return tuple(findings)


def _extent(image: Image.Image, name: str) -> tuple[Finding, ...]:
    short, long = sorted(image.size)
    pixels = f"{image.width} x {image.height} pixels"
    if short < TINY:
        return (Finding("tiny", "warning", name, f"{pixels}; there is little to learn from"),)
    if long > ASPECT * short:
        return (Finding("aspect", "warning", name, f"{pixels}; a square crop shows little of it"),)
    return ()


def _too_many(path: str, pixels: str, limit: int) -> Finding:
    message = f"{pixels} pixels, over the limit of {limit:,}; make the image smaller"
    return Finding("pixel-limit", "error", path, message)


def _grey(image: Image.Image, path: str, turned: bool, pixel_limit: int) -> Image.Image:
    """The whole image decoded; a JPEG small and grey at once, which is several times faster."""
    if image.format == "JPEG":
        image.draft("L", (2 * SIDE, 2 * SIDE))
        grey = image.convert("L")
        return ImageOps.exif_transpose(grey) if turned else grey
    return Image.fromarray(decode(path, channels=1, pixel_limit=pixel_limit)[0].numpy())


def _shown(grey: Image.Image) -> tuple[int | None, UInt8[np.ndarray, "16 16"] | None]:
    small = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    return fingerprint(np.asarray(small)) or (None, None)
