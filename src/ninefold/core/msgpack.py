"""Decoder of flax's msgpack files: nested dictionaries whose leaves are arrays. Nothing is run.

Source: the msgpack specification; flax `serialization.py`: extension 1 is an array and 3 a scalar,
each packed as `(shape, dtype name, bytes)`; arrays above a gigabyte are cut into chunks.
"""

import math
import struct
from typing import Any, cast

import torch
from torch import Tensor

_DEPTH = 64
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
    )
}
_NUMBERS = {  # first byte -> struct format of a number
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_SIZES = {1: ">B", 2: ">H", 4: ">I"}
_FIXED = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}


def decode(data: bytes) -> Any:
    """The value that `data` holds: dictionaries, lists, numbers, strings, bytes and tensors.

    Raises:
        ValueError: the bytes are cut off, malformed, nested too deeply, or of a type that weights
            have no use for.
    """
    reader = _Reader(memoryview(data))
    value = reader.value(0)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the end of the data")
    return value


class _Reader:
    """A cursor over the bytes; every length is checked before it is believed."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> memoryview:
        if count > len(self.data) - self.at:
            raise ValueError(f"cut off at byte {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError(f"nested more than {_DEPTH} deep")
        first = self.number(">B")
        if first < 0x80:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first < 0x90:
            return self.mapping(first & 0x0F, depth)
        if first < 0xA0:
            return self.sequence(first & 0x0F, depth)
        if first < 0xC0:
            return self.text(first & 0x1F)
        if first in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[first]
        if first in _NUMBERS:
            return self.number(_NUMBERS[first])
        if 0xC4 <= first <= 0xC6:
            return bytes(self.take(self.length(first - 0xC4)))
        if 0xC7 <= first <= 0xC9:
            return self.extension(self.length(first - 0xC7))
        if first in _FIXED:
            return self.extension(_FIXED[first])
        if 0xD9 <= first <= 0xDB:
            return self.text(self.length(first - 0xD9))
        if first in (0xDC, 0xDD):
            return self.sequence(self.length(first - 0xDC + 1), depth)
        if first in (0xDE, 0xDF):
            return self.mapping(self.length(first - 0xDE + 1), depth)
        raise ValueError(f"byte {first:#x} at {self.at - 1} begins no value")

    def length(self, power: int) -> int:
        return self.number(_SIZES[2**power])

    def text(self, size: int) -> str:
        return str(self.take(size), "utf-8")

    def sequence(self, size: int, depth: int) -> list[Any]:
        return [self.value(depth + 1) for _ in range(size)]

    def mapping(self, size: int, depth: int) -> Any:
        pairs: dict[str, Any] = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if not isinstance(key, str):
                raise ValueError(f"a key is {type(key).__name__}, not text")
            pairs[key] = self.value(depth + 1)
        return _joined(pairs) if "__msgpack_chunked_array__" in pairs else pairs

    def extension(self, size: int) -> Tensor:
        kind = self.number(">b")
        body = self.take(size)
        if kind not in (1, 3):
            raise ValueError(f"extension type {kind} is no array")
        return _array(_Reader(body).value(0))


def _array(packed: Any) -> Tensor:
    match packed:
        case [[*shape], str(name), bytes(content)] if all(type(n) is int for n in shape):
            pass
        case _:
            raise ValueError("an array is not packed as shape, dtype and bytes")
    if name not in _DTYPES:
        raise ValueError(f"arrays of dtype {name!r} cannot be read")
    dtype = _DTYPES[name]
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {tuple(shape)} has {len(content)} bytes")
    flat = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0)
    return flat.to(dtype).reshape(shape)


def _joined(pairs: dict[str, Any]) -> Tensor:
    shape, chunks = (_items(pairs.get(name)) for name in ("shape", "chunks"))
    if not all(isinstance(chunk, Tensor) for chunk in chunks):
        raise ValueError("a chunk of an array is no array")
    return torch.cat([chunk.flatten() for chunk in chunks]).reshape(shape)


def _items(numbered: Any) -> list[Any]:
    """A list that flax stores as a dictionary by position."""
    if not isinstance(numbered, dict):
        raise ValueError("a chunked array lacks its shape or its chunks")
    by_position = cast(dict[str, Any], numbered)
    return [by_position[str(i)] for i in range(len(by_position))]
