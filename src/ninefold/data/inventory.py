"""What a data set claims to hold, taken down without judging; `check` judges it.

Opening a data set for training refuses it at the first fault. This goes on, and keeps for every
image the place where a person would mend it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ninefold.core.batch import Sample
from ninefold.core.errors import Refused, nearest
from ninefold.data.folder import refuse_other_tasks, split_folders
from ninefold.data.listing import (
    SPLITS,
    WHOLE,
    folders_in,
    images_below,
    is_image,
    is_path,
    visible,
)
from ninefold.data.open import open_data
from ninefold.data.probe import Finding, Probe, probe_file, probe_pixels
from ninefold.data.records import DataSet
from ninefold.data.table import TABLES, table_rows


@dataclass(frozen=True)
class Entry:
    """One image.

    Args:
        file: Its path, or its address where it is not a file.
        split: `train`, `val`, `test`, or `all`.
        where: The file itself, or the line of the table that names it.
        load: Gives an image that is not a file.
    """

    file: str
    split: str
    labels: tuple[str, ...]
    where: str
    group: str = ""
    load: Callable[[], Sample] | None = None

    @property
    def name(self) -> str:
        """The file, and the line of the table."""
        return self.file if self.where == self.file else f"{self.file} ({self.where})"

    def probe(self, pixel_limit: int) -> Probe:
        """Look into the image."""
        if self.load is None:
            return probe_file(self.file, pixel_limit)
        try:
            x = self.load().x
        except Refused as error:
            reason = str(error).removeprefix(f"{self.file}: ")
            return Probe((Finding("unreadable", "error", self.file, reason),))
        assert isinstance(x, Tensor)
        return probe_pixels(x.numpy(), self.file)


@dataclass
class Inventory:
    """A data set as it lies there.

    Args:
        path: As the user named it.
        entries: Every image, in order of its name or line.
        classes: By split, the classes that have a folder or a row.
        folders: The folder of a class in a split, where there is one.
        findings: What was wrong with the list itself.
    """

    path: str
    entries: list[Entry] = field(default_factory=list[Entry])
    classes: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    folders: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, entry: Entry) -> None:
        """Take an image in, with its classes."""
        self.entries.append(entry)
        self.classes.setdefault(entry.split, set()).update(entry.labels)

    def place(self, split: str, label: str) -> str:
        """The folder of a class, or the data set where classes have none."""
        return self.folders.get((split, label), self.path)

    def fault(self, kind: str, where: str, message: str) -> None:
        """Take down an error of the list."""
        self.findings.append(Finding(kind, "error", where, message))


def take_inventory(path: str) -> Inventory:
    """List a folder, a table, or what an address opens.

    Raises:
        Refused: there is no such thing, or no image in it.
    """
    place = Path(path)
    if is_path(path) and place.is_dir():
        inventory = _folder(path)
    elif is_path(path) and place.suffix.lower() in TABLES:
        inventory = _table(path)
    else:
        return _opened(open_data(path, cut=False))
    if not inventory.entries and not inventory.findings:
        raise Refused(f"{path}: no images; a data set is FOLDER/<class>/*.jpg or a table")
    return inventory


def _opened(data: DataSet) -> Inventory:
    inventory = Inventory(data.address)
    for split, records in data.splits.items():
        for i, (file, label) in enumerate(zip(records.files, records.labels, strict=True)):
            names = tuple(
                data.classes[k] for k in (label if isinstance(label, tuple) else (label,))
            )
            group = records.groups[i] if records.groups else ""
            load = None if Path(file).is_file() else partial(records.load, i)
            inventory.add(Entry(file, split, names, file, group, load))
    return inventory


def _folder(path: str) -> Inventory:
    root = Path(path)
    refuse_other_tasks(root)
    inventory = Inventory(path)
    splits = split_folders(root)
    order = list(SPLITS.values())
    tops = sorted(
        ((split, root / name) for name, split in splits.items()),
        key=lambda top: order.index(top[0]),
    )
    for split, top in tops or [(WHOLE, root)]:
        inventory.classes.setdefault(split, set())
        for label in folders_in(top):
            inventory.classes[split].add(label)
            inventory.folders[split, label] = str(top / label)
            for file in images_below(top / label):
                inventory.add(Entry(file, split, (label,), file))
        loose = [entry.path for entry in visible(top) if is_image(entry.name)]
        if loose:
            message = f"{len(loose)} images lie beside the folders of classes and in none of them"
            inventory.fault("without-class", loose[0], message)
    return inventory


def _table(path: str) -> Inventory:
    inventory = Inventory(path)
    rows = table_rows(Path(path))
    columns = list(rows[0][1]) if rows else []
    for name in ("image", "label"):
        if rows and name not in columns:
            inventory.fault("missing-column", path, f"no column {name!r}{nearest(name, columns)}")
    for line, row in [] if inventory.findings else rows:
        _row(inventory, row, f"{path}:{line}")
    inventory.classes = {
        s: inventory.classes[s] for s in (*SPLITS.values(), WHOLE) if s in inventory.classes
    }
    return inventory


def _row(inventory: Inventory, row: dict[str, Any], where: str) -> None:
    label = row["label"]
    parts = label.split(";") if isinstance(label, str) else label
    labels = tuple(part.strip() for part in parts if part.strip())
    if not labels:
        inventory.fault("empty-label", where, f"image {row['image']!r} has no label")
    split = row.get("split", WHOLE)
    if split != WHOLE and split.lower() not in SPLITS:
        hint = nearest(split.lower(), SPLITS) or "; there are train, val and test"
        inventory.fault("unknown-split", where, f"split {split!r} is none{hint}")
        return
    file = Path(inventory.path).parent / row["image"]
    if not row["image"] or not file.is_file():
        inventory.fault("missing-file", where, f"there is no file {str(file)!r}")
        return
    split = SPLITS.get(split.lower(), WHOLE)
    inventory.add(Entry(str(file), split, labels, where, row.get("group", "")))
