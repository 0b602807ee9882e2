"""What the readers of layouts give to `open`: examples by name, before any is decoded."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ninefold.core.errors import Refused, nearest, printable
from ninefold.data.decode import SUFFIXES

WHOLE = "all"
"""Name of the one part of a set that comes without splits."""

SPLITS = {
    **{"train": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test"},
}
"""What folders and columns call a split, in lower case, and what it is called here."""

_HIDDEN = (".", "__MACOSX", "@eaDir")


@dataclass(frozen=True)
class Part:
    """Some examples.

    Args:
        files: A path or address each.
        labels: A class id each, or a tuple of them; ids count in the classes of `Found`.
        read: Gives what `decode` takes for example `i`.
        groups: A group each, or nothing.
        keys: What decides on the split of each; nothing for files, where it is their content.
        rule: In words, what decides.
        fixed: Whether `read` gives the same every time, so that it may be kept.
    """

    files: Sequence[str]
    labels: Sequence[Any]
    read: Callable[[int], Any]
    groups: Sequence[str] = ()
    keys: Sequence[str] = ()
    rule: str = "a hash of the content"
    fixed: bool = True

    @property
    def on_disk(self) -> bool:
        """Whether `files` are paths."""
        return not self.keys

    def take(self, places: Sequence[int]) -> "Part":
        """Only these examples."""

        def chosen(values: Sequence[Any]) -> list[Any]:
            return [values[i] for i in places] if values else []

        return replace(
            self,
            files=chosen(self.files),
            labels=chosen(self.labels),
            read=lambda i: self.read(places[i]),
            groups=chosen(self.groups),
            keys=chosen(self.keys),
        )


def files_part(files: Sequence[str], labels: Sequence[Any], groups: Sequence[str] = ()) -> Part:
    """Examples that are files."""
    return Part(files, labels, files.__getitem__, groups)


@dataclass(frozen=True)
class Found:
    """A set as it stands: by split, or as `WHOLE`.

    Args:
        identity: What else the fingerprint depends on.
    """

    classes: tuple[str, ...]
    parts: dict[str, Part]
    task: str = "classification"
    notes: tuple[str, ...] = ()
    identity: str = ""


def natural(name: str) -> tuple[Any, ...]:
    """Sorts `2` before `10`, and as the alphabet does otherwise."""
    pieces = re.split(r"(\d+)", name.casefold())
    return (*(int(p) if i % 2 else p for i, p in enumerate(pieces)), name)


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What is in a folder, by name, without hidden files and systems' own folders.

    Raises:
        Refused: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(_HIDDEN)]
    except OSError as error:
        raise Refused(f"{printable(folder)}: cannot be read: {error.strerror}") from None
    return sorted(found, key=lambda entry: natural(entry.name))


def folders_in(folder: str | Path) -> list[str]:
    """Names of the visible folders, and of links to folders, in natural order."""
    return [entry.name for entry in visible(folder) if _is_folder(entry)]


def images_below(folder: str | Path, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """Paths of all image files at any depth; each folder is entered once, links included."""
    files: list[str] = []
    entered: set[tuple[int, int]] = set()
    waiting = [os.fspath(folder)]
    while waiting:
        here = waiting.pop()
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        below: list[str] = []
        for entry in visible(here):
            if _is_folder(entry):
                below.append(entry.path)
            elif is_image(entry.name, suffixes) and not _is_dangling(entry):
                files.append(entry.path)
        waiting += reversed(below)
    return files


def is_image(name: str, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Whether a file's name ends as an image's does."""
    return f".{name.rpartition('.')[2].lower()}" in suffixes


def is_path(name: str | Path) -> bool:
    """Whether a file or folder of that name is there.

    A name longer than a file's may be is none; addresses with many classes are so long.
    """
    try:
        return Path(name).exists()
    except OSError:
        return False


def no_such_path(path: str | Path) -> Refused:
    """The refusal, with the nearest name beside it."""
    path = Path(path)
    missing = path
    while not is_path(missing.parent) and missing.parent != missing:
        missing = missing.parent
    try:
        beside = [entry.name for entry in missing.parent.iterdir()]
    except OSError:
        beside = []
    where = "" if missing == path else f" (nor is there {printable(missing)})"
    return Refused(
        f"{printable(path)}: there is no such path{where}{nearest(missing.name, beside)}"
    )


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_dangling(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()
