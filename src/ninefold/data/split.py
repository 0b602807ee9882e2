"""Cutting a part from a set: by content, stratified, and never through a group.

A part is a function of the files' contents alone: names, order and dates do not count, equal files
stay together, and files that are added move few of the others.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_ENDS = 32768
"""Bytes hashed at the start and at the end of a large file."""
_AT_ONCE = 256
"""Files that a thread hashes one after the other: handing over each costs more than a small one."""


def content_keys(paths: Sequence[str]) -> list[str]:
    """A hash of the content of each file; of its size and both ends where it is large."""
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        parts = [paths[i : i + _AT_ONCE] for i in range(0, len(paths), _AT_ONCE)]
        return [key for keys in threads.map(_content_keys, parts) for key in keys]


def _content_keys(paths: Sequence[str]) -> list[str]:
    return [_content_key(path) for path in paths]


def _content_key(path: str) -> str:
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        if size <= 2 * _ENDS:
            digest.update(file.read())
        else:
            digest.update(file.read(_ENDS))
            file.seek(-_ENDS, os.SEEK_END)
            digest.update(file.read())
    return digest.hexdigest()


def hold_out(
    units: Sequence[str], labels: Sequence[int | tuple[int, ...]], share: float, *, salt: str
) -> list[bool]:
    """Which examples to hold out: about this share of each class.

    Args:
        units: What must not be parted, an example each: its group, or the hash of its content.
        labels: Class ids; of several the rarest counts.
        share: Of each class of two or more examples one is held out at least, if units allow.
        salt: Another one gives another choice.
    """
    strata = _strata(labels)
    missing = {
        stratum: max(1, round(count * share)) if count > 1 else 0
        for stratum, count in Counter(strata).items()
    }
    members: defaultdict[str, list[int]] = defaultdict(list)
    for i, unit in enumerate(units):
        members[unit].append(i)
    held = [False] * len(units)

    def hold(unit: str) -> None:
        for i in members[unit]:
            held[i] = True
            missing[strata[i]] -= 1

    order = sorted(members, key=lambda unit: _rank(salt, unit))
    for unit in order:
        counts = Counter(strata[i] for i in members[unit])
        if sum(abs(missing[s]) - abs(missing[s] - n) for s, n in counts.items()) > 0:
            hold(unit)
    if not any(held) and len(order) > 1:  # all units are large
        hold(min(order, key=lambda unit: len(members[unit])))
    return held


def some_of_each(keys: Sequence[str], labels: Sequence[int], count: int, *, salt: str) -> list[int]:
    """Places of up to `count` examples of each class, in their order.

    Args:
        keys: A hash of the content of each example. Which examples are chosen depends on these
            alone, and those of a smaller count are among those of a larger one.
        labels: A class id each.
        count: Examples of each class, where there are as many.
        salt: Another one gives another choice.
    """
    left: defaultdict[int, int] = defaultdict(lambda: count)
    chosen: list[int] = []
    for i in sorted(range(len(keys)), key=lambda i: _rank(salt, keys[i])):
        if left[labels[i]]:
            left[labels[i]] -= 1
            chosen.append(i)
    return sorted(chosen)


def _rank(salt: str, unit: str) -> bytes:
    return hashlib.blake2b(f"{salt} {unit}".encode("utf-8", "surrogateescape")).digest()


def _strata(labels: Sequence[int | tuple[int, ...]]) -> list[Hashable]:
    several = [(label,) if isinstance(label, int) else label for label in labels]
    often = Counter(one for label in several for one in label)
    return [min(label, key=lambda one: (often[one], one), default=-1) for label in several]
