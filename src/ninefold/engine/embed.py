"""Features of a data set by a frozen model, as rows of one matrix and as a file.

Shapes: n images, d features, c classes.
"""

# torch leaves some types open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Integer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ninefold.core.errors import Failed, Refused
from ninefold.core.preprocess import Preprocess
from ninefold.core.weights import check_writable, read_weights, write_weights
from ninefold.data.folder import holds_plain_images
from ninefold.data.listing import WHOLE
from ninefold.data.loader import evaluation_batches
from ninefold.data.open import open_data, open_images
from ninefold.data.records import DataSet, Records
from ninefold.engine.failure import memory_told
from ninefold.engine.prepare import Prepare

KIND = "features"


@dataclass(frozen=True)
class Embeddings:
    """Features of images, with what is known of each; rows stand by split, in the data's order.

    Args:
        features: What the model's head would get.
        labels: Class ids; 0 and 1 a class where an image has several labels; nothing where the
            images have none.
        files: A path or address each.
        splits: By name the rows of it; `all` for images without labels.
        classes: Names of the data's classes by id, whatever the model's own are.
        task: `classification`, `multilabel`, or nothing for images without labels.
        about: The model, its weights, its preprocessing and the data, as plain values.
    """

    features: Float[Tensor, "n d"]
    labels: Integer[Tensor, " n"] | Integer[Tensor, "n c"] | None
    files: Sequence[str]
    splits: dict[str, slice]
    classes: tuple[str, ...] = ()
    task: str = ""
    about: dict[str, Any] = field(default_factory=dict[str, Any])

    def __len__(self) -> int:
        return len(self.features)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; one that is there is replaced at once or not at all.

        Tensors: `features`, float32 `(n, d)`; `labels`, int64 `(n,)` or uint8 `(n, c)`; `split`,
        uint8 `(n,)`, an index of the metadata's `splits`; `files`, the bytes of a JSON list, since
        a header ends at 100 MB, which a million paths pass. Metadata: the other fields, as JSON.

        Raises:
            Refused: the path is no `.safetensors`, or what is there holds no features.
            Failed: the disk is full or the folder cannot be written.
        """
        check_place(path)
        names = json.dumps(list(self.files)).encode()
        split = torch.zeros(len(self), dtype=torch.uint8)
        for i, rows in enumerate(self.splits.values()):
            split[rows] = i
        tensors = {
            "features": self.features,
            "split": split,
            "files": torch.frombuffer(bytearray(names), dtype=torch.uint8),
        }
        if self.labels is not None:
            tensors["labels"] = self.labels
        told = {
            "splits": list(self.splits), "classes": self.classes, "task": self.task, **self.about
        }  # fmt: skip
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in told.items()}
        write_weights(path, tensors, {"kind": KIND, **metadata})

    @classmethod
    def read(cls, path: str | Path) -> "Embeddings":
        """What `save` wrote.

        Raises:
            Refused: no such file, or another kind of file.
        """
        file = read_weights(path)
        told = file.metadata
        if told.get("kind") != KIND:
            raise Refused(f"{path}: holds no features; `ninefold embed` writes such files")
        split = file.tensors["split"]
        counts = [int((split == i).sum()) for i in range(len(json.loads(told["splits"])))]
        about: dict[str, Any] = {k: told[k] for k in _ABOUT if k in told}
        about["preprocess"] = json.loads(told["preprocess"])
        return cls(
            features=file.tensors["features"],
            labels=file.tensors.get("labels"),
            files=json.loads(file.tensors["files"].numpy().tobytes()),
            splits=_slices(dict(zip(json.loads(told["splits"]), counts, strict=True))),
            classes=tuple(json.loads(told["classes"])),
            task=told["task"],
            about=about,
        )


_ABOUT = ("model", "weights", "weights_sha256", "data")


def embed(
    model: nn.Module,
    data: Any,
    *,
    preprocess: Preprocess,
    device: torch.device,
    batch_size: int = 64,
    workers: int = -1,
    about: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Embeddings:
    """`model.pool(model.features(x))` of every image, in fp32.

    Args:
        model: In evaluation mode, on the device.
        data: Whatever `Run.data` may be, with the splits that a training has of it; or a folder of
            images without labels, or one image.
        workers: As for `data.evaluation_batches`.
        about: Kept in the result.
        progress: Called after each batch with images done and images in all.

    Raises:
        Refused: the model has no `features` and `pool`, or the data cannot be opened.
        Failed: features that are no row an image, or no memory.
    """
    refuse_featureless(model)
    opened = open_embedded(data, channels=preprocess.channels)
    total = sum(len(records) for records in opened.splits.values())
    prepare = Prepare(preprocess, device)
    features = torch.empty(0)
    done = 0
    advice = f"try a batch size below {batch_size}"
    with memory_told(device, step=lambda: "embed", advice=advice):
        for records in opened.splits.values():
            batches = evaluation_batches(
                records, preprocess=preprocess, batch_size=batch_size, workers=workers
            )
            for loaded in batches:
                with torch.inference_mode():
                    rows = _features(model, prepare(loaded).x)
                if not done:  # the width is known now, and the whole is held once
                    features = torch.empty(total, rows.shape[1])
                features[done : done + len(rows)] = rows
                done += len(rows)
                if progress is not None:
                    progress(done, total)
    return Embeddings(
        features=features,
        labels=_labels(opened),
        files=[file for records in opened.splits.values() for file in records.files],
        splits=_slices({split: len(records) for split, records in opened.splits.items()}),
        classes=opened.classes,
        task=opened.task,
        about={**(about or {}), "preprocess": preprocess.model_dump(mode="json"),
               "data": opened.address},
    )  # fmt: skip


def open_embedded(data: Any, *, channels: int) -> DataSet:
    """A data set as a training opens it; images without labels are the split `all`."""
    if isinstance(data, str | Path) and holds_plain_images(Path(data)):
        records = open_images(data, channels=channels)
        return DataSet(str(data), "", (), {WHOLE: records})
    return open_data(data, channels=channels)


def refuse_featureless(model: nn.Module) -> None:
    """See that a model gives features."""
    lacking = [name for name in ("features", "pool") if not callable(getattr(model, name, None))]
    if lacking:
        raise Refused(
            f"{type(model).__name__}: has no {' and no '.join(lacking)}; embed calls "
            "model.pool(model.features(images)), which gives (batch, features)"
        )


def check_place(path: str | Path) -> None:
    """See that a features file may be written there: nothing else is overwritten."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise Refused(f"{path}: is written as safetensors; name it {path.stem}.safetensors")
    check_writable(path)
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            kind = (file.metadata() or {}).get("kind")
    except (OSError, SafetensorError):
        kind = None
    if kind != KIND:
        raise Refused(f"{path}: is there and holds no features; choose another --out")


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _features(model: Any, x: Any) -> Float[Tensor, "b d"]:
    rows: Any = model.pool(model.features(x))
    if not (isinstance(rows, Tensor) and rows.ndim == 2 and len(rows) == len(x)):
        form = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
        raise Failed(
            f"{type(model).__name__}: pool(features(x)) gave {form} for {len(x)} images; one row "
            "of features an image is needed"
        )
    return rows.float().cpu()


def _labels(data: DataSet) -> Tensor | None:
    every = list(data.splits.values())
    if not all(len(records.labels) for records in every):
        return None
    if data.task != "multilabel":
        return torch.tensor([label for records in every for label in records.labels])
    labels = torch.zeros(sum(map(len, every)), len(data.classes), dtype=torch.uint8)
    row = 0
    for records in every:
        for several in _sets(records):
            labels[row, list(several)] = 1
            row += 1
    return labels


def _sets(records: Records) -> Sequence[tuple[int, ...]]:
    return [label if isinstance(label, tuple) else (label,) for label in records.labels]


def _slices(counts: dict[str, int]) -> dict[str, slice]:
    slices: dict[str, slice] = {}
    start = 0
    for split, count in counts.items():
        slices[split] = slice(start, start + count)
        start += count
    return slices
