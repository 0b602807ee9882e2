"""Near-duplicate images: a 64-bit hash of what an image shows, and the search for close pairs.

Two images count as near-duplicates when their hashes differ in few bits and their thumbnails agree
in detail. The second test is what keeps flat and synthetic pictures, whose hashes lie close by
nature, from false alarms.

Source: the hash is the sign of the 8 x 8 lowest cosine frequencies of a 32 x 32 grey image against
their median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions").
Shapes: n images, p pairs.
"""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int, UInt8, UInt64

SIDE = 32
"""Side of the grey image that is hashed."""
THUMBNAIL = 16
"""Side of the thumbnail that decides."""
BITS = 6
"""Hashes of near-duplicates differ in at most so many of their 64 bits."""
DIFFERENCE = 0.15
"""Thumbnails of near-duplicates differ by at most this share of their contrast (both r.m.s.)."""
CONTRAST = 2.0
"""Grey images whose values (0 to 255) spread less are flat: nothing in them can be compared."""
NEIGHBOURS = 24
"""How many neighbours each image is compared with in every order of the search."""


def fingerprint(grey: UInt8[np.ndarray, "32 32"]) -> tuple[int, UInt8[np.ndarray, "16 16"]] | None:
    """Hash and thumbnail of a grey image; nothing for a flat one."""
    values = grey.astype(np.float32)
    if values.std() < CONTRAST:
        return None
    waves = _waves()
    low = (waves @ values @ waves.T).ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    small = values.reshape(THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(1, 3))
    return int(np.packbits(bits).view(">u8")[0]), small.astype(np.uint8)


@lru_cache(maxsize=1)
def _waves() -> Float32[np.ndarray, "8 32"]:
    place = (np.arange(SIDE) + 0.5) * math.pi / SIDE
    return np.cos(np.arange(8)[:, None] * place).astype(np.float32)


def close_pairs(
    hashes: UInt64[np.ndarray, " n"], thumbnails: UInt8[np.ndarray, "n 16 16"]
) -> list[tuple[int, int]]:
    """Pairs `(i, j)`, `i < j`, of near-duplicates, sorted.

    Hashes are sorted eight times, each time turned by another eight bits, and each is compared with
    its next neighbours: near-duplicates agree in at least one stretch of 8 bits and in most others,
    so they come to stand together. The work grows as n log n.
    """
    found: set[tuple[int, int]] = set()
    for turn in range(0, 64, 8):
        turned = hashes << np.uint64(turn)
        if turn:
            turned |= hashes >> np.uint64(64 - turn)
        order = np.argsort(turned, kind="stable")
        for step in range(1, min(NEIGHBOURS, len(order) - 1) + 1):
            a, b = order[:-step], order[step:]
            near = np.bitwise_count(hashes[a] ^ hashes[b]) <= BITS
            found.update(_agreeing(np.stack((a[near], b[near]), axis=1), thumbnails))
    return sorted(found)


def _agreeing(
    pairs: Int[np.ndarray, "p 2"], thumbnails: UInt8[np.ndarray, "n 16 16"]
) -> list[tuple[int, int]]:
    pairs = np.sort(pairs, axis=1)
    first, second = (thumbnails[pairs[:, side]].astype(np.float32) for side in (0, 1))
    difference = np.sqrt(np.square(first - second).mean(axis=(1, 2)))
    contrast = np.minimum(first.std(axis=(1, 2)), second.std(axis=(1, 2)))
    same = difference <= DIFFERENCE * contrast
    return [(int(a), int(b)) for a, b in pairs[same]]


def groups(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Sets of numbers connected by pairs, each sorted, in the order of their first numbers."""
    parent: dict[int, int] = {}

    def root(i: int) -> int:
        while parent.setdefault(i, i) != i:
            parent[i] = i = parent[parent[i]]
        return i

    for a, b in pairs:
        a, b = root(a), root(b)
        parent[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = {}
    for i in sorted(parent):
        members.setdefault(root(i), []).append(i)
    return list(members.values())
