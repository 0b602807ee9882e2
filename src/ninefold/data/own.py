"""Data sets that are Python objects: a user's own, and torchvision's by name.

A user's own is a callable `(split) -> set`, which gives `None` where there is no such split, or
one set. A set is map-style: `len(s)`, and `s[i] -> (image, label)` with whatever `decode` takes as
image and a class id, or several in a tuple or list, as label. `s.classes` names the classes;
`s.targets`, where it is there, gives all labels without decoding the images.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import torch
import yaml

from ninefold.core.errors import Refused, nearest
from ninefold.data.listing import WHOLE, Found, Part, files_part

_SPLITS = ("train", "val", "test")


def look_object(value: Any, name: str) -> Found:
    """The examples of a user's own data set.

    Raises:
        Refused: it is no data set, its labels are no class ids, or opening it failed.
    """
    sets = _opened(value, name)
    if not sets:
        raise Refused(f"{name}: gave no set for any of the splits {', '.join(_SPLITS)}")
    parts = {split: _part(data, f"{name}[{split}]") for split, data in sets.items()}
    return _found(parts, [getattr(data, "classes", None) for data in sets.values()], name)


def look_torchvision(address: str) -> Found:
    """The examples of one of torchvision's classification sets.

    `torchvision://MNIST?root=FOLDER` opens the class of that name; `download=1` downloads first,
    and further keys go to its constructor.

    Raises:
        Refused: no such class or key, no root, or the files are not there.
    """
    from torchvision import datasets

    parts = urlsplit(address)
    name, query = parts.netloc, dict(parse_qsl(parts.query, keep_blank_values=True))
    if name not in datasets.__all__:
        hint = nearest(name, datasets.__all__)
        raise Refused(f"{address}: torchvision has no data set {name!r}{hint}")
    made = getattr(datasets, name)
    known = set(inspect.signature(made).parameters)
    if "root" in known and not query.get("root"):
        raise Refused(f"{address}: names no folder; torchvision://{name}?root=FOLDER does")
    for key in query:
        if key not in known:
            hint = nearest(key, known)
            raise Refused(f"{address}: {name} has no option {key!r}{hint}")
    options = {
        key: value if key == "root" else yaml.safe_load(value) for key, value in query.items()
    }
    if "download" in options:
        options["download"] = bool(options["download"])
    sets = _torchvision_splits(made, known, options, address)
    found = {
        split: _part(data, f"torchvision://{name}/{split}", fixed=True)
        for split, data in sets.items()
    }
    return _found(found, [getattr(data, "classes", None) for data in sets.values()], address)


def _torchvision_splits(
    made: Callable[..., Any], known: set[str], options: dict[str, Any], address: str
) -> dict[str, Any]:
    """torchvision has three ways to name splits."""
    ways: dict[str, list[dict[str, Any]]] = {WHOLE: [{}]}
    if "train" in known and "train" not in options:
        ways = {"train": [{"train": True}], "test": [{"train": False}]}
    elif "split" in known and "split" not in options:
        names = {
            "train": ("train", "trainval", "train-standard"),
            "val": ("val", "valid"),
            "test": ("test",),
        }
        ways = {split: [{"split": one} for one in given] for split, given in names.items()}
    sets: dict[str, Any] = {}
    for split, tries in ways.items():
        for way in tries:
            try:
                sets[split] = made(**options, **way)
                break
            except ValueError:  # no such split
                continue
            except (RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())
                raise Refused(
                    f"{address}: cannot be opened: {reason}; download=1 downloads what is missing"
                ) from None
    if not sets:
        raise Refused(f"{address}: has none of the splits {', '.join(ways)}")
    return sets


def _opened(value: Any, name: str) -> dict[str, Any]:
    def is_set(one: Any) -> bool:
        return not isinstance(one, type) and hasattr(one, "__getitem__") and hasattr(one, "__len__")

    if is_set(value):
        return {WHOLE: value}
    if not callable(value):
        raise Refused(
            f"{name}: is of type {type(value).__name__} and no data set; that has len() and [i], "
            "or takes a split's name and gives such a set"
        )
    try:
        sets = {s: value(s) for s in _SPLITS} if _takes_split(value) else {WHOLE: value()}
    except Refused:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise Refused(f"{name}: opening it raised {type(error).__name__}: {reason}") from error
    sets = {split: data for split, data in sets.items() if data is not None}
    for split, data in sets.items():
        if not is_set(data):
            raise Refused(
                f"{name}: gave {type(data).__name__} for {split!r}; a set has len() and [i]"
            )
    return sets


def _takes_split(value: Callable[..., Any]) -> bool:
    """Whether a callable wants to be told a split: its first parameter is `split`, or required."""
    first = next(iter(inspect.signature(value).parameters.values()), None)
    return first is not None and (first.name == "split" or first.default is first.empty)


def _part(data: Any, name: str, *, fixed: bool = False) -> Part:
    count = len(data)
    samples = getattr(data, "samples", None)
    if fixed and isinstance(samples, list) and len(samples) == count and _are_files(samples):
        return files_part([str(path) for path, _ in samples], [int(label) for _, label in samples])
    targets = _targets(data, count)
    if targets is None:
        targets = [data[i][1] for i in range(count)]
    labels = [_label(label, f"{name}[{i}]") for i, label in enumerate(targets)]
    files = [f"{name}[{i}]" for i in range(count)]
    pixels = _pixel_keys(data, count) if fixed else None
    return Part(
        files,
        labels,
        lambda i: data[i][0],
        keys=pixels or [str(i) for i in range(count)],
        rule="a hash of the content" if pixels else "position",
        fixed=fixed,
    )


def _are_files(samples: list[Any]) -> bool:
    first = samples[0] if samples else None
    return isinstance(first, tuple) and len(first) == 2 and Path(str(first[0])).is_file()


def _targets(data: Any, count: int) -> Sequence[Any] | None:
    for name in ("targets", "labels", "_labels"):
        values = getattr(data, name, None)
        if isinstance(values, torch.Tensor | np.ndarray):
            values = values.tolist()
        if isinstance(values, list | tuple) and len(values) == count:
            return values
    return None


def _pixel_keys(data: Any, count: int) -> list[str] | None:
    """Hashes of the pixels, of sets that hold them all in one array."""
    pixels = getattr(data, "data", None)
    if isinstance(pixels, torch.Tensor):
        pixels = pixels.numpy()
    if not isinstance(pixels, np.ndarray) or len(pixels) != count:
        return None
    return [hashlib.blake2b(one.tobytes(), digest_size=16).hexdigest() for one in pixels]


def _label(label: Any, name: str) -> int | tuple[int, ...]:
    if isinstance(label, torch.Tensor | np.ndarray | np.generic):
        label = label.tolist()
    if isinstance(label, list | tuple) and all(isinstance(one, int) for one in label):
        return tuple(sorted(set(label)))
    if isinstance(label, int) and label >= 0:
        return int(label)
    raise Refused(
        f"{name}: label {label!r} is no class id; an int from 0 on is, or a tuple of them"
    )


def _found(parts: dict[str, Part], given: list[Any], name: str) -> Found:
    labels = {split: part.labels for split, part in parts.items()}
    several = any(isinstance(one, tuple) for part in labels.values() for one in part)
    flat = {
        one
        for part in labels.values()
        for label in part
        for one in (label if isinstance(label, tuple) else (label,))
    }
    named = next((names for names in given if names is not None), None)
    count = max(flat, default=-1) + 1
    classes = tuple(map(str, named)) if named is not None else tuple(map(str, range(count)))
    if count > len(classes):
        raise Refused(f"{name}: has label {count - 1}, but `classes` names only {len(classes)}")
    return Found(classes, parts, "multilabel" if several else "classification")
