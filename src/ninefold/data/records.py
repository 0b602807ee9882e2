"""What an opened data set offers: everything that can be known without decoding, and a decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ninefold.core.batch import Sample


@dataclass(frozen=True)
class Records:
    """One split.

    Args:
        files: One path or address an example, for messages, predictions and the fingerprint.
        labels: One class id an example, or several (multi-label); empty for unlabelled data.
        load: Decodes example `i`; raises `Refused` with the file's name where it cannot.
        groups: One group an example, or empty; a group never stands in two splits.
        num_classes: Width of the targets of a batch, where an example has several labels.
    """

    files: Sequence[str]
    labels: Sequence[int] | Sequence[tuple[int, ...]]
    load: Callable[[int], Sample]
    groups: Sequence[str] = ()
    num_classes: int = 0

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True)
class DataSet:
    """An opened data set.

    Args:
        address: What the user named.
        task: What the labels are for: `classification`, `multilabel`, ...
        classes: Names by id.
        splits: `train`, `val` and, where the data have one, `test`.
        notes: What was decided on the way (a validation part cut from the training part), to tell.
        fingerprint: Hash of names, sizes, labels and classes; a resumed run compares it.
    """

    address: str
    task: str
    classes: tuple[str, ...]
    splits: dict[str, Records]
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
