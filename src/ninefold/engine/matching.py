"""Other data for a model: which split of them, and which of their classes is which of its own."""

# torch and Fabric leave some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ninefold.core.batch import Sample
from ninefold.core.errors import Refused, nearest
from ninefold.core.labels import spoken
from ninefold.data.listing import WHOLE, is_path
from ninefold.data.loader import permutation
from ninefold.data.records import DataSet, Records


def plain_address(data: Any) -> str:
    """One name for a path however it is written."""
    text = str(data)
    return str(Path(text).resolve()) if isinstance(data, str | Path) and is_path(text) else text


def choose_split(data: DataSet, split: str) -> Records:
    """The split of that name; of data that came without splits, the whole.

    Raises:
        Refused: there is none.
    """
    if list(data.splits) == [WHOLE]:
        return data.splits[WHOLE]
    if split in data.splits:
        return data.splits[split]
    has = f"it has {', '.join(data.splits)}"
    raise Refused(f"{data.address}: has no {split} split{nearest(split, data.splits, has)}")


def by_name(records: Records, data: DataSet, classes: tuple[str, ...]) -> Records:
    """The records with the ids that the model has for the classes of these names.

    Raises:
        Refused: a class that the model does not have.
    """
    names, known = spoken(data.classes), spoken(classes)
    if names == known:
        return records
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refused(
            f"{data.address}: has other classes than the model: {_some(data.classes)}, where the "
            f"model has {_some(classes)}; {_some(unknown)} are unknown to it"
        )
    ids = [known.index(name) for name in names]

    def moved(label: Any) -> Any:
        if isinstance(label, int):
            return ids[label]
        several: tuple[int, ...] = label
        return tuple(ids[one] for one in several)

    def load(i: int) -> Sample:
        sample = records.load(i)
        return replace(sample, y=moved(sample.y))

    labels = [moved(label) for label in records.labels]
    width = len(classes) if records.num_classes else 0
    return replace(records, labels=labels, load=load, num_classes=width)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def some_of(records: Records, count: int) -> Records:
    """So many of the records, drawn alike from all, the same at every call; all of them for 0."""
    if not 0 < count < len(records):
        return records
    places: list[int] = sorted(permutation(len(records), 0, 0)[:count].tolist())

    def load(i: int) -> Sample:
        return records.load(places[i])

    return replace(
        records,
        files=[records.files[i] for i in places],
        labels=[records.labels[i] for i in places] if records.labels else records.labels,
        load=load,
        groups=[records.groups[i] for i in places] if records.groups else records.groups,
    )
