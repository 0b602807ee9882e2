"""Examines a data set without changing it, and tells what is wrong by file and line.

Every image is read and decoded once, in threads; the work grows as n log n and needs some 400 bytes
an image, so that sets of a hundred thousand files can be checked.
"""

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from ninefold.core.errors import printable
from ninefold.data.decode import PIXEL_LIMIT
from ninefold.data.duplicates import close_pairs, groups
from ninefold.data.inventory import Entry, Inventory, take_inventory
from ninefold.data.probe import Finding, Level, Probe

IMBALANCE = 20
"""How many times more images the largest class may have than the smallest, untold."""
NAMED = 5
"""So many files of a group are named; the rest is counted."""
LEVELS = ("error", "warning", "note")

Progress = Callable[[int, int], None]


def check_data(
    path: str | Path,
    *,
    progress: Progress | None = None,
    pixel_limit: int = PIXEL_LIMIT,
    threads: int = 8,
) -> list[Finding]:
    """What is wrong with a data set: the worst first, then by kind and file.

    Args:
        path: A folder, a table, or the address of a data set.
        progress: Called with the images examined so far and their number.
        pixel_limit: Images with more pixels are told, as training would refuse them.

    Raises:
        Refused: nothing is there that could be a data set.
    """
    inventory = take_inventory(str(path))
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own words about odd files; ours follow
        probes: list[Probe] = []
        for probe in pool.map(lambda entry: entry.probe(pixel_limit), inventory.entries):
            probes.append(probe)
            if progress:
                progress(len(probes), len(inventory.entries))
    findings = {
        *inventory.findings,
        *(finding for probe in probes for finding in probe.findings),
        *_classes(inventory),
        *_names(inventory),
        *_groups(inventory),
        *_rotated(inventory, probes),
        *_duplicates(inventory.entries, probes),
    }
    findings = {replace(f, file=printable(f.file), message=printable(f.message)) for f in findings}
    return sorted(findings, key=lambda f: (LEVELS.index(f.level), f.kind, f.file, f.message))


def count_data(path: str) -> dict[str, dict[str, int]]:
    """Images by split and class; classes without any count 0. Decodes nothing.

    Splits are `train`, `val` and `test`, or `all` where they are still to be cut.
    """
    return _counts(take_inventory(path))


def _counts(inventory: Inventory) -> dict[str, dict[str, int]]:
    counts = {
        split: dict.fromkeys(sorted(classes), 0) for split, classes in inventory.classes.items()
    }
    for entry in inventory.entries:
        for label in entry.labels:
            counts[entry.split][label] += 1
    return counts


def _classes(inventory: Inventory) -> Iterator[Finding]:
    counts = _counts(inventory)
    first = "all" if "all" in counts else "train"
    if first not in counts:
        yield Finding("missing-split", "error", inventory.path, "there is no train split")
    elif "test" not in counts and first == "train":
        message = "there is no test split; the result on val chose the checkpoint and flatters it"
        yield Finding("missing-split", "warning", inventory.path, message)
    learnt = counts.get(first, {})
    for split, classes in counts.items():
        for name, number in classes.items():
            where = inventory.place(split, name)
            if number == 0:
                yield Finding("empty-class", "error", where, f"class {name!r} has no images")
            elif number == 1:
                yield Finding(
                    "single-image", "warning", where, f"class {name!r} has one image in {split}"
                )
            if learnt and number and not learnt.get(name):
                message = f"class {name!r} is in {split} and not in train; it cannot be learnt"
                yield Finding("class-not-in-train", "error", where, message)
    yield from _one_class(inventory)
    yield from _imbalance(inventory.path, {k: v for k, v in learnt.items() if v})


def _one_class(inventory: Inventory) -> Iterator[Finding]:
    """Nothing to tell apart, unless images have several labels, or none."""
    names = {name for classes in inventory.classes.values() for name in classes}
    if len(names) == 1 and not any(len(entry.labels) > 1 for entry in inventory.entries):
        message = f"class {names.pop()!r} is the only one; classification needs two or more"
        yield Finding("one-class", "error", inventory.path, message)


def _imbalance(path: str, counts: dict[str, int]) -> Iterator[Finding]:
    if not counts:
        return
    most, least = max(counts, key=lambda k: counts[k]), min(counts, key=lambda k: counts[k])
    if counts[most] > IMBALANCE * counts[least]:
        message = (
            f"class {most!r} has {counts[most]} images to train on and {least!r} {counts[least]}; "
            "a model may leave out the rare class and still score well"
        )
        yield Finding("imbalance", "warning", path, message)


def _names(inventory: Inventory) -> Iterator[Finding]:
    """Class names that a person would read as the same one."""
    alike: dict[str, set[str]] = defaultdict(set)
    for classes in inventory.classes.values():
        for name in classes:
            folded = unicodedata.normalize("NFKC", name).casefold()
            alike["".join(folded.split()).replace("_", "").replace("-", "")].add(name)
    for names in alike.values():
        if len(names) > 1:
            message = f"classes {_listed(sorted(map(ascii, names)))} differ only in writing"
            yield Finding("class-names", "warning", inventory.path, message)


def _groups(inventory: Inventory) -> Iterator[Finding]:
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in inventory.entries:
        if entry.group:
            splits[entry.group].setdefault(entry.split, entry.where)
    for group, places in splits.items():
        if len(places) > 1:
            others = _listed([f"{split} ({where})" for split, where in sorted(places.items())])
            message = f"group {group!r} stands in {others}; a group belongs to one split"
            yield Finding("group-in-two-splits", "error", min(places.values()), message)


def _rotated(inventory: Inventory, probes: Sequence[Probe]) -> Iterator[Finding]:
    files = [e.file for e, probe in zip(inventory.entries, probes, strict=True) if probe.rotated]
    if files:
        message = f"{len(files)} images are stored turned and are set upright by EXIF, everywhere"
        yield Finding("rotated", "note", files[0], message)


def _duplicates(entries: Sequence[Entry], probes: Sequence[Probe]) -> Iterator[Finding]:
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, probe in enumerate(probes):
        if probe.digest:
            same[probe.digest].append(i)
    for members in same.values():
        if len(members) > 1:
            yield _told("duplicate", [entries[i] for i in members])
    shown = [i for members in same.values() if probes[i := members[0]].hash is not None]
    if len(shown) < 2:
        return
    hashes = np.array([probes[i].hash for i in shown], dtype=np.uint64)
    thumbnails = np.stack([t for i in shown if (t := probes[i].thumbnail) is not None])
    for members in groups(close_pairs(hashes, thumbnails)):
        yield _told("near-duplicate", [entries[shown[i]] for i in members])


def _told(kind: str, entries: Sequence[Entry]) -> Finding:
    """One finding a group; the worst that is true of it gives kind and level."""
    level: Level
    splits, labels = {e.split for e in entries}, {e.labels for e in entries}
    exact = kind == "duplicate"
    words = "have the same content" if exact else "look the same"
    names = _listed([f"{e.name} ({' '.join(filter(None, (e.split, *e.labels)))})" for e in entries])
    if len(labels) > 1:
        kind, level = f"{kind}-other-label", "error" if exact else "warning"
        words += " under different labels"
    elif len(splits) > 1:
        kind, level = f"{kind}-across-splits", "error" if exact else "warning"
        words += " in different splits"
    else:
        level = "warning" if exact else "note"
    return Finding(kind, level, entries[0].name, f"{len(entries)} images {words}: {names}")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
