"""Weights into models: whose keys they are, which sizes differ, what becomes of the head.

Everything is checked before the model changes; whatever does not fit is named.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ninefold.core.errors import Refused
from ninefold.core.labels import labels_for, row_map, spoken
from ninefold.core.weights import WeightsFile, read_weights
from ninefold.models.efficientnet import EfficientNet
from ninefold.models.efficientnet_keys import EFFICIENTNET
from ninefold.models.focal import Focal
from ninefold.models.focal_keys import FOCAL
from ninefold.models.guest import Guest
from ninefold.models.guest_keys import guest_keys
from ninefold.models.layout import Keys, Tensors
from ninefold.models.mixer import Mixer
from ninefold.models.mixer_keys import MIXER
from ninefold.models.resnet import ResNet
from ninefold.models.resnet_keys import RESNET
from ninefold.models.swin import Swin
from ninefold.models.swin_keys import SWIN
from ninefold.models.vit import ViT
from ninefold.models.vit_keys import VIT

log = logging.getLogger(__name__)

KEYS: dict[type[nn.Module], Keys] = {
    Focal: FOCAL,
    Swin: SWIN,
    ViT: VIT,
    Mixer: MIXER,
    ResNet: RESNET,
    EfficientNet: EFFICIENTNET,
}
"""How files are read for each family of models; a user's own model takes its own keys alone."""

SWIN_22K = 21841
"""Rows of the heads that Swin's authors trained on ImageNet-22K."""

HeadMap = str | Path | Tensor | Sequence[int]
Head = Literal["", "loaded", "reordered", "mapped", "reset"]


@dataclass(frozen=True)
class LoadReport:
    """What became of a file of weights.

    Args:
        loaded: Keys of the model whose values were taken as they are.
        resized: Keys whose values were resampled to the model's size.
        skipped: Keys of the file that were not used.
        missing: Keys of the model that kept the values they had.
        head: What became of the head: nothing for a model or file without one; `reordered` where
            the same classes stand in another order; `mapped` where rows were picked; `reset` where
            it is zero and untrained.
        new_classes: Classes of the model whose rows of a `mapped` head are zero and untrained.
        layout: Whose names of keys the file has; nothing where they are the model's own alone.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    head: Head
    new_classes: tuple[str, ...] = ()
    layout: str = ""


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    *,
    strict: bool = True,
    reset_head: bool = False,
    head_map: HeadMap | None = None,
) -> LoadReport:
    """Load a file of weights, from us or from another library, into a model.

    Args:
        model: Its class decides which layouts of keys are known; its `classes`, where it has them,
            are compared with the file's.
        source: A file or `hf://org/repo/file` (`core.weights`), or tensors by name.
        strict: Refuse keys that are unknown, missing or of another shape; else report them.
        reset_head: Where the file's classes are not the model's, start with a zero head.
        head_map: The row of the file's head for each class of the model: a text file with one
            number a line, `imagenet-22k-to-1k`, or the numbers themselves; or `names`: the rows of
            the classes of the same names, zero for classes that the file does not know. Where it
            knows none of them or names none, it is as if nothing were given.

    Raises:
        Refused: what does not fit, by name; the model is then unchanged.

    Source: microsoft/Swin-Transformer `utils.py` for resizing, mapping and zeroing the head.
    """
    if isinstance(source, Mapping):
        where, file = "weights", WeightsFile(dict(source))
    else:
        where, file = str(source), read_weights(source)
    layout, tensors, skipped = "", file.tensors, list[str]()
    keys = keys_of(model)
    found = keys.read(tensors, where) if keys else None
    if found:
        layout, tensors, skipped = found
    state = model.state_dict()
    name = _name_of_head(model)
    try:
        head, new_classes = _fit_head(model, name, tensors, file, where, reset_head, head_map)
    except Refused:  # not to be blamed where nothing else fits either
        body = {k: v for k, v in tensors.items() if not k.startswith(f"{name}.")}
        plan = _Plan(model, state, keys, body, "reset", name)
        if strict and plan.faults():
            raise _unfit(where, plan, found is None) from None
        raise
    plan = _Plan(model, state, keys, tensors, head, name)
    faults = plan.faults()
    if not plan.values or (faults and strict):
        raise _unfit(where, plan, found is None)
    model.load_state_dict(plan.values, strict=False)
    if head == "reset":
        for parameter in model.get_submodule(name).parameters():
            nn.init.zeros_(parameter)
    if faults:
        log.warning("%s: %s", where, "; ".join(faults))
    return LoadReport(
        loaded=tuple(k for k in plan.values if k not in plan.resized),
        resized=tuple(plan.resized),
        skipped=(*skipped, *plan.skipped, *plan.unknown, *plan.misshaped),
        missing=(*plan.missing, *plan.fresh, *(k for k in plan.misshaped if k in state)),
        head=head,
        new_classes=new_classes,
        layout=layout,
    )


class _Plan:
    """Where each tensor of a file goes, made before the model changes."""

    def __init__(
        self, model: nn.Module, state: dict[str, Tensor], keys: Keys | None, tensors: Tensors,
        head: Head, name: str,
    ) -> None:  # fmt: skip
        self.model, self.state, self.keys = model, state, keys
        self.taken = head in ("loaded", "reordered", "mapped")
        self.values: Tensors = {}
        self.resized: list[str] = []
        self.skipped: list[str] = []
        self.unknown: list[str] = []
        self.missing: list[str] = []
        self.fresh: list[str] = []
        self.misshaped: dict[str, str] = {}
        for key, value in tensors.items():
            self.place(key, value)
        self.lack(head, name)

    def place(self, key: str, value: Tensor) -> None:
        target = self.state.get(key)
        if target is None:
            spare = self.keys is not None and (
                self.keys.spare.search(key) or (not self.taken and self.keys.with_head.search(key))
            )
            (self.skipped if spare else self.unknown).append(key)
        elif value.shape == target.shape:
            self.values[key] = value
        else:
            resized = self.keys and self.keys.resize(key, value, target, self.model)
            if resized is None:
                here, there = tuple(target.shape), tuple(value.shape)
                self.misshaped[key] = f"{key} {there} for {here}"
            else:
                self.values[key] = resized
                self.resized.append(key)

    def lack(self, head: Head, name: str) -> None:
        """Keys of the model that the file says nothing about."""
        for key in self.state:
            if key in self.values or key in self.misshaped:
                continue
            if head == "reset" and key.startswith(f"{name}."):
                continue
            fresh = self.keys is not None and self.keys.fresh.search(key)
            (self.fresh if fresh else self.missing).append(key)

    def faults(self) -> list[str]:
        parts = {
            "missing": self.missing,
            "unknown": self.unknown,
            "of another shape": list(self.misshaped.values()),
        }
        return [f"{len(keys)} {what} ({_some(keys, 6)})" for what, keys in parts.items() if keys]


def _name_of_head(model: nn.Module) -> str:
    head: Any = getattr(model, "head", None)
    return next((n for n, m in model.named_modules() if m is head), "")


def _fit_head(
    model: nn.Module, name: str, tensors: Tensors, file: WeightsFile, where: str,
    reset_head: bool, head_map: HeadMap | None,
) -> tuple[Head, tuple[str, ...]]:  # fmt: skip
    """What becomes of the head, and which classes are new to it; the head's rows in `tensors`
    change accordingly."""
    head: Any = getattr(model, "head", None)
    layers = _linear_layers(head, name)  # several of equal width where there is a second head
    keys = [f"{n}.{leaf}" for n in layers for leaf in ("weight", "bias")]
    keys = [k for k in keys if k in tensors and tensors[k].dim()]
    if not layers or not keys:
        return ("reset" if layers and reset_head else ""), ()
    rows, width = len(tensors[keys[0]]), next(iter(layers.values())).out_features
    by_name = isinstance(head_map, str) and head_map == "names"
    if head_map is not None and not by_name:
        chosen = _rows(head_map, rows, width)
        tensors.update({k: tensors[k][chosen] for k in keys})
        return "mapped", ()
    theirs = spoken(classes_in(file, rows, model))
    ours = spoken(getattr(model, "classes", ()) or ())
    if theirs and len(ours) == width:
        if theirs == ours:
            return "loaded", ()
        same = sorted(theirs) == sorted(ours) and len(set(ours)) == len(ours)
        row = _rows_by_name(theirs, ours)
        if (same or by_name) and row:
            for key in keys:
                old, new = tensors[key], tensors[key].new_zeros(len(ours), *tensors[key].shape[1:])
                new[list(row)] = old[list(row.values())]
                tensors[key] = new
            missing = tuple(label for i, label in enumerate(ours) if i not in row)
            return ("reordered" if same else "mapped"), missing
    elif rows == width:
        return "loaded", ()
    if reset_head:
        for key in keys:
            del tensors[key]
        return "reset", ()
    raise Refused(
        f"{where}: its head knows {_listing(theirs, rows)}, and the model's "
        f"{_listing(ours, width)}; --reset-head (reset_head=True) starts with a new "
        "head, head_map picks rows of the old one"
    )


def _linear_layers(head: object, name: str) -> dict[str, nn.Linear]:
    """The linear layers of a head by their names in the model: mostly the head itself."""
    if not isinstance(head, nn.Module):
        return {}
    found = {n: m for n, m in head.named_modules() if isinstance(m, nn.Linear)}
    return {".".join(filter(None, (name, inner))): layer for inner, layer in found.items()}


def _rows_by_name(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """The row of their head for each class of ours that has one of its name alone.

    Where names do not agree to the letter, case, `_` and `-` do not count.
    """
    found: dict[int, int] = {}
    for plain in (str, _plainly):
        rows: dict[str, list[int]] = {}
        for row, label in enumerate(theirs):
            rows.setdefault(plain(label), []).append(row)
        for i, label in enumerate(ours):
            if i not in found and len(rows.get(plain(label), ())) == 1:
                found[i] = rows[plain(label)][0]
    return found


def _plainly(label: str) -> str:
    return " ".join(label.casefold().replace("_", " ").replace("-", " ").split())


def classes_in(file: WeightsFile, rows: int, model: nn.Module | None = None) -> tuple[str, ...]:
    """Class names of a file; of a foreign one where its number of rows is that of ImageNet.

    Heads of 21,841 rows stand in the order of Swin's authors or in another: those of guests other
    than Swin have no names.
    """
    if "classes" in file.metadata:
        return tuple(json.loads(file.metadata["classes"]))
    if isinstance(model, Guest) and rows == SWIN_22K and not model.name.startswith("swin"):
        return ()
    return (labels_for(rows) or ()) if rows >= 1000 else ()


def _rows(head_map: HeadMap, rows: int, num_classes: int) -> Tensor:
    if isinstance(head_map, str | Path):
        name, numbers = f"head_map {head_map}", row_map(head_map)
    else:
        name, numbers = "head_map", [int(row) for row in head_map]
    if len(numbers) != num_classes:
        raise Refused(f"{name}: {len(numbers)} rows for {num_classes} classes; one row a class")
    wrong = [row for row in numbers if not 0 <= row < rows]
    if wrong:
        raise Refused(f"{name}: row {wrong[0]} is not in a head of {rows} rows; 0 to {rows - 1}")
    return torch.tensor(numbers)


def _listing(names: Sequence[str], count: int) -> str:
    return f"{count} classes" + (f" ({_some(names, 8)})" if names else "")


def _some(names: Sequence[str], most: int) -> str:
    """All names, or the first few of many."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _unfit(where: str, plan: _Plan, strange: bool) -> Refused:
    """The error for a file that does not fit; `strange` if its keys are of no known layout."""
    another = ", as its architecture is another" * (2 * len(plan.values) < len(plan.state))
    faults = "; ".join(plan.faults()) or "it holds nothing for it"
    return Refused(
        f"{where}: does not fit {type(plan.model).__name__}{another}: {faults}"
        f"{_hint(plan, strange)}"
    )


def _hint(plan: _Plan, strange: bool) -> str:
    keys = plan.keys
    if keys is not None and strange:
        return f"; layouts known for {keys.family} are {', '.join(x.name for x in keys.layouts)}"
    if not plan.unknown and {k.rpartition(".")[0] for k in plan.missing} == {"head"}:
        return "; --reset-head (reset_head=True) starts with a new head"
    return "; strict=False loads the rest" if plan.values else ""


def keys_of(model: nn.Module) -> Keys | None:
    """How files for this model are read; nothing for a user's own, which takes its own keys."""
    if isinstance(model, Guest):
        return guest_keys(model)
    return next((keys for kind, keys in KEYS.items() if isinstance(model, kind)), None)
