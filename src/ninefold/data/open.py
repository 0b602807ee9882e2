"""From an address, a path or an object to an opened data set."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ninefold.core.batch import Sample
from ninefold.core.errors import Refused, nearest, printable
from ninefold.core.objects import find, is_reference, name_of
from ninefold.data.decode import decode
from ninefold.data.folder import look_folder
from ninefold.data.kept import Kept, free_memory
from ninefold.data.listing import (
    WHOLE,
    Found,
    Part,
    files_part,
    images_below,
    is_path,
    no_such_path,
)
from ninefold.data.own import look_object, look_torchvision
from ninefold.data.records import DataSet, Records
from ninefold.data.split import content_keys, hold_out
from ninefold.data.subset import free_validation, keep_classes, keep_some, subset_of
from ninefold.data.synthetic import open_synthetic
from ninefold.data.table import TABLES, look_table

_SCHEMES = ("synthetic", "torchvision")
_TASKS = ("auto", "classification", "multilabel")


def open_data(
    address: Any, *, task: str = "auto", channels: int = 3, cut: bool = True, cache: float = 0.25
) -> DataSet:
    """Open a data set without decoding it.

    Args:
        address: A folder, a table, `synthetic://...`, `torchvision://...`, `package.module:Name`,
            or an object as `data.own` describes. `?classes=cat,dog&per_class=100&hold_out=0.02`
            behind it (or among its keys) opens a part of the set: see `data.subset`.
        task: What the labels must be for; `auto` takes what is there.
        channels: Of the decoded images.
        cut: Cut validation and test parts that are lacking from what is there. Without it a set
            has the splits it came with, and one without splits is the split `all`.
        cache: Share of the free memory for decoded images; `data.kept` says which are kept.

    Raises:
        Refused: no such path, no images, no labels, another task; one line each.
    """
    if task not in _TASKS:
        raise Refused(f"data: task {task!r} is not built yet{nearest(task, _TASKS)}")
    name = printable(address if isinstance(address, str | Path) else name_of(address))
    place, subset = subset_of(address)
    found = _look(place, printable(place) if subset else name, task)
    _check_task(name, found.task, task)
    found = _named_task(found, task)
    if subset:
        found = keep_classes(found, subset, name)
        found = free_validation(found, subset, name) if cut else found
    if cut:
        found = _cut(found, name, subset.hold_out if subset else 0.0)
    if subset:
        found = keep_some(found, subset, name)
    found = replace(found, notes=found.notes + _shared_groups(found))
    several = found.task == "multilabel"
    loads = _loads(found, channels, cache)
    splits = {
        split: Records(
            part.files,
            part.labels,
            loads[split],
            part.groups,
            num_classes=len(found.classes) if several else 0,
        )
        for split, part in found.parts.items()
    }
    return DataSet(name, found.task, found.classes, splits, found.notes, _fingerprint(found, place))


def open_images(paths: str | Path | Sequence[str | Path], *, channels: int = 3) -> Records:
    """All images of some files and folders, at any depth, without labels.

    Raises:
        Refused: a path that is not there, or a folder without images.
    """
    files: list[str] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        if not is_path(path):
            raise no_such_path(path)
        if Path(path).is_dir():
            below = images_below(path)
            if not below:
                raise Refused(f"{printable(path)}: holds no images, in whatever folder")
            files += below
        else:
            files.append(os.fspath(path))
    return Records(files, (), _Load(files_part(files, ()), channels))


def _look(address: Any, name: str, task: str) -> Found:
    if not isinstance(address, str | Path):
        return look_object(address, name)
    path = Path(address)
    if is_path(path):
        if path.is_dir():
            return look_folder(path)
        if path.suffix.lower() not in TABLES:
            raise Refused(f"{name}: is no data set; a folder is, or a table ({', '.join(TABLES)})")
        return look_table(path, task=task)
    scheme, is_url, _ = str(address).partition("://")
    if scheme == "synthetic" and is_url:
        return _look_synthetic(name)
    if scheme == "torchvision" and is_url:
        return look_torchvision(str(address))
    if is_url:
        hint = nearest(scheme, _SCHEMES, f"there are: {', '.join(_SCHEMES)}")
        raise Refused(f"{name}: {scheme}:// is not built yet{hint}")
    if is_reference(str(address)):
        return look_object(find(str(address)), name)
    raise no_such_path(path)


def _look_synthetic(address: str) -> Found:
    """Painted anew at every start, but once for each process."""
    data = open_synthetic(address)
    parts = {
        split: Part(records.files, records.labels, _picture(records), keys=records.files)
        for split, records in data.splits.items()
    }
    return Found(data.classes, parts, data.task, identity=data.fingerprint)


def _picture(records: Records) -> Callable[[int], Any]:
    return lambda i: records.load(i).x


def _check_task(name: str, found: str, wanted: str) -> None:
    if wanted not in ("auto", found) and not (wanted, found) == ("multilabel", "classification"):
        raise Refused(f"{name}: is labelled for {found}, not for {wanted}")


def _named_task(found: Found, wanted: str) -> Found:
    """Single labels as sets of one, where several are expected."""
    if wanted != "multilabel" or found.task == wanted:
        return found
    parts = {
        split: replace(part, labels=[(label,) for label in part.labels])
        for split, part in found.parts.items()
    }
    return replace(found, parts=parts, task=wanted)


def _cut(found: Found, name: str, share: float) -> Found:
    """Test and validation parts, where they are lacking.

    Args:
        share: Of the training part for validation; 0 for a tenth of what there is.
    """
    parts, notes = dict(found.parts), list(found.notes)
    if WHOLE in parts:
        whole = parts.pop(WHOLE)
        rest, parts["test"] = _parted(whole, 0.1, "test", name)
        parts["train"], parts["val"] = _parted(rest, share or 1 / 9, "val", name)
        cut = "a tenth for testing, then hold_out" if share else "split 80/10/10"
        notes.append(f"{cut} by {_by(whole)}: {_told(parts)}")
    elif "val" not in parts and "train" in parts:
        whole = parts["train"]
        parts["train"], parts["val"] = _parted(whole, share or 0.1, "val", name)
        part = f"a share of {share:g}" if share else "a tenth"
        kept = "; the test part is untouched" if "test" in parts else ""
        notes.append(
            f"no validation part: {part} of the training part, by {_by(whole)}, takes its place"
            f" ({_told(parts)}){kept}"
        )
    order = [split for split in ("train", "val", "test") if split in parts]
    return replace(found, parts={split: parts[split] for split in order}, notes=tuple(notes))


def _parted(part: Part, share: float, salt: str, name: str) -> tuple[Part, Part]:
    units = part.groups or part.keys or content_keys(part.files)
    held = hold_out(units, part.labels, share, salt=salt)
    if not any(held):
        what = f"group {units[0]!r}" if part.groups else "image"
        raise Refused(
            f"{name}: cannot cut off a {salt} part, for there is but one {what}; add more, or give "
            "the parts yourself"
        )
    rest = [i for i, out in enumerate(held) if not out]
    return part.take(rest), part.take([i for i, out in enumerate(held) if out])


def _by(part: Part) -> str:
    return "group" if part.groups else part.rule


def _told(parts: dict[str, Part]) -> str:
    order = [split for split in ("train", "val", "test") if split in parts]
    return ", ".join(f"{len(parts[split].files)} {split}" for split in order)


def _shared_groups(found: Found) -> tuple[str, ...]:
    """A warning for each pair of splits that share groups."""
    notes: list[str] = []
    splits = list(found.parts)
    for i, one in enumerate(splits):
        for other in splits[i + 1 :]:
            both = sorted(set(found.parts[one].groups) & set(found.parts[other].groups) - {""})
            if both:
                more = f" and {len(both) - 1} more" if len(both) > 1 else ""
                notes.append(
                    f"warning: group {printable(both[0])!r}{more} in both {one} and {other}; "
                    f"the {other} numbers will look better than they are"
                )
    return tuple(notes)


def root_of(address: Any) -> str:
    """How the names of a set's files begin for the place that it stands in; without it, they are
    the same wherever that is."""
    place, _ = subset_of(address)
    if not isinstance(place, str | Path) or not is_path(place):
        return ""
    path = Path(place)
    return f"{path if path.is_dir() else path.parent}{os.sep}"


def _fingerprint(found: Found, address: Any) -> str:
    """A hash of names below the set's place, sizes, labels and classes."""
    root = root_of(address)
    told = repr((found.task, found.classes, found.identity))
    digest = hashlib.sha256(told.encode("utf-8", "surrogateescape"))
    for split, part in found.parts.items():
        for i, file in enumerate(part.files):
            size = Path(file).stat().st_size if part.on_disk else 0
            line = f"{split}\0{file.removeprefix(root)}\0{size}\0{part.labels[i]}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _loads(found: Found, channels: int, cache: float) -> "dict[str, _Load]":
    count = sum(len(part.files) for part in found.parts.values() if part.fixed)
    kept = Kept(count, channels, int(cache * free_memory()))
    loads: dict[str, _Load] = {}
    first = 0
    for split, part in found.parts.items():
        loads[split] = _Load(part, channels, kept if part.fixed else None, first)
        first += len(part.files) * part.fixed
    return loads


@dataclass(frozen=True)
class _Load:
    """Decodes example `i`, unless it is kept.

    Args:
        first: Place among the kept images of the part's first.
    """

    part: Part
    channels: int
    kept: Kept | None = None
    first: int = 0

    def __call__(self, i: int) -> Sample:
        label = self.part.labels[i] if self.part.labels else None
        image = self.kept.find(self.first + i) if self.kept else None
        if image is None:
            image = _named(self.part.read(i), self.part.files[i], self.channels)
            if self.kept:
                self.kept.put(self.first + i, image)
        return Sample(image, label)


def _named(source: Any, name: str, channels: int) -> torch.Tensor:
    try:
        return decode(source, channels=channels)
    except Refused as error:
        if isinstance(source, str | Path):
            raise
        raise Refused(f"{printable(name)}: {str(error).removeprefix('image: ')}") from None
