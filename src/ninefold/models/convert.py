"""Checkpoints of other libraries under our keys, ours under theirs, and what a file is."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ninefold.core.errors import Refused
from ninefold.core.objects import find, is_reference
from ninefold.core.weights import (
    WeightsFile,
    check_writable,
    local_file,
    read_weights,
    write_weights,
)
from ninefold.models.create import create_model
from ninefold.models.layout import NEVER, Keys, Tensors, head_options
from ninefold.models.load import KEYS, classes_in, keys_of
from ninefold.models.presets import FAMILIES, PRESETS, Preset, preset_of

OURS = "ninefold"
"""The layout that is written unless another is asked for."""
_HEAD = re.compile(r"^(head|classifier)\.")
_COUNTED = re.compile(r"\.(running_mean|running_var|num_batches_tracked)$")
"""What is counted in training, and is no parameter."""
ARCHIVE = ".npz"
"""What flax and TensorFlow name by `/` is written as an archive of arrays."""


@dataclass(frozen=True)
class Converted:
    """What a file turned out to be.

    Args:
        family: Whose keys it has.
        layout: From which library; `ninefold` for our own.
        preset: What the file or the caller says, or the one preset whose shapes it has; nothing
            where none or several have.
        candidates: All presets that have its shapes; they differ in what no tensor tells.
        options: What must be told `create_model` beside the preset's name.
        classes: Number of classes whose names are known, from the file or by its rows.
        tensors: Its keys, as written.
        skipped: Keys of other parts of a larger model, left out.
        parameters: Numbers in the tensors.
        bytes: Size of the file that was read.
        sha256: Of the file that was read.
    """

    family: str
    layout: str
    preset: str
    candidates: tuple[str, ...]
    options: dict[str, Any]
    classes: int
    tensors: tuple[str, ...]
    skipped: tuple[str, ...]
    parameters: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Found:
    """Keys of a family, and a file's tensors under our names."""

    keys: Keys
    layout: str
    tensors: Tensors
    skipped: tuple[str, ...]
    options: dict[str, Any]
    presets: tuple[str, ...]


def convert(
    source: str | Path, out: str | Path | None = None, *, to: str = OURS, model: str = ""
) -> Converted:
    """Read a checkpoint of any known layout, and rewrite it as `out`.

    Metadata of our own layout say `family`, `layout`, and, where they are known, `preset`,
    `model_options` (JSON), `preprocess` (JSON) and `classes` (JSON list), as the files of runs do.

    Args:
        source: As for `load_weights`.
        out: Without it nothing is written. A `.safetensors` file; or, for other libraries, a
            `.pth` file: a plain state dict, below `model` for the authors' own code; or, for flax
            and TensorFlow, a `.npz` file.
        to: `ninefold`, or the layout of another library, by the names that `Converted` tells.
        model: A preset or `timm/NAME` that the file is of: for guests, and where several presets
            have its shapes.

    Raises:
        Refused: the file cannot be read, its keys are of no known family or not those of `model`,
            or the other library has no place for one of them.
    """
    if out is not None:
        check_writable(out)
    if out is not None and to == OURS:
        _check_suffix(Path(out), (".safetensors",))
    file, path, where = read_weights(source), local_file(source), str(source)
    name = model or file.metadata.get("preset", "")
    found = _named(name, file, where) if name else _recognised(file.tensors, where)
    preset = found.presets[0] if len(found.presets) == 1 else ""
    classes = classes_in(file, found.options.get("num_classes", 0))
    if to == OURS:
        written = found.tensors
    else:
        written = found.keys.write(found.tensors, to, _shared_options(found))
    if out is not None and to == OURS:
        write_weights(out, written, _metadata(file, found, preset, classes))
    elif out is not None:
        slashes = any("/" in key for key in written)
        _check_suffix(Path(out), (ARCHIVE,) if slashes else (".safetensors", ".pth"))
        inside = "model" if to == "official" else ""
        write_weights(out, written, {"format": "pt"}, inside=inside)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Converted(
        family=found.keys.family, layout=found.layout, preset=preset, candidates=found.presets,
        options=found.options, classes=len(classes), tensors=tuple(written), skipped=found.skipped,
        parameters=sum(value.numel() for value in found.tensors.values()),
        bytes=path.stat().st_size, sha256=digest,
    )  # fmt: skip


def _metadata(
    file: WeightsFile, found: _Found, preset: str, classes: tuple[str, ...]
) -> dict[str, str]:
    metadata = {**file.metadata, "family": found.keys.family}
    metadata.setdefault("layout", found.layout)
    if preset and "preset" not in metadata:
        metadata["preset"] = preset
        metadata["preprocess"] = json.dumps(preset_of(preset).preprocess.model_dump(mode="json"))
        metadata["model_options"] = json.dumps(found.options)
    if classes:
        metadata["classes"] = json.dumps(classes, ensure_ascii=False)
    return metadata


def _check_suffix(out: Path, known: tuple[str, ...]) -> None:
    if out.suffix not in known:
        names = " or ".join(f"{out.stem}{suffix}" for suffix in known)
        raise Refused(f"{out}: is written as {' or '.join(known)}; name it {names}")


def _named(name: str, file: WeightsFile, where: str) -> _Found:
    """A file of ours, or one that the caller knows."""
    ours = file.metadata.get("preset") == name
    options: dict[str, Any] = json.loads(file.metadata["model_options"]) if ours else {}
    keys = _keys(name, options)
    layout, tensors, skipped = OURS, file.tensors, list[str]()
    if not ours:
        found = keys.read(tensors, where)
        if found:
            layout, tensors, skipped = found
        options = keys.options(tensors)
        _check(name, tensors, options, keys, where)
    return _Found(keys, layout, tensors, tuple(skipped), options, (name,))


def _keys(name: str, options: dict[str, Any]) -> Keys:
    """Those of a model's family; of one that nobody else has, its own alone."""
    keys = None
    if not is_reference(name):
        with torch.device("meta"):
            keys = keys_of(create_model(name, **options))
    return keys or Keys(
        family=preset_of(name).family, layouts=(), mark=NEVER, computed=NEVER, spare=NEVER,
        fresh=NEVER, resize=lambda key, value, target, model: None, options=head_options,
    )  # fmt: skip


def _check(name: str, tensors: Tensors, options: dict[str, Any], keys: Keys, where: str) -> None:
    """See that all tensors of a model are there, and no others."""
    with torch.device("meta"):
        state = create_model(name, **options).state_dict()
    wrong = [f"{k} is missing" for k in state if k not in tensors and not keys.fresh.search(k)]
    wrong += [f"{k} is unknown" for k in tensors if k not in state]
    wrong += [f"{k} is {tuple(v.shape)} for {tuple(state[k].shape)}"
              for k, v in tensors.items() if k in state and v.shape != state[k].shape]  # fmt: skip
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise Refused(f"{where}: is no {name}: {', '.join(wrong[:4])}{more}")


def _recognised(tensors: Tensors, where: str) -> _Found:
    """The family whose marks the keys have in one of its layouts."""
    for keys in KEYS.values():
        found = keys.read(tensors, where)
        if found and any(keys.mark.search(key) for key in found[1]):
            layout, renamed, skipped = found
            options = keys.options(renamed)
            presets = _presets(keys, layout, renamed, options)
            return _Found(keys, layout, renamed, tuple(skipped), options, presets)
    some = ", ".join(list(tensors)[:4])
    known = ", ".join(keys.family for keys in KEYS.values())
    raise Refused(f"{where}: its keys ({some}, ...) are of no known family; known are {known}, and "
                  "with --model timm/NAME timm's")  # fmt: skip


def _presets(keys: Keys, layout: str, tensors: Tensors, options: dict[str, Any]) -> tuple[str, ...]:
    """The presets that have exactly these keys and shapes."""
    shapes, counts = _shapes(tensors), _counts(tensors, options)
    never = next(known.never for known in keys.layouts if known.name == layout)
    same: list[str] = []
    for name, preset in PRESETS.items():
        own = KEYS.get(find(FAMILIES[preset.family].home)) is keys and not name.startswith(never)
        if own and counts(preset):
            try:
                with torch.device("meta"):
                    state = create_model(name, **options).state_dict()
            except Refused:  # options that this one cannot have
                continue
            if _shapes(state) == shapes:
                same.append(name)
    return tuple(same)


def _counts(tensors: Tensors, options: dict[str, Any]) -> Callable[[Preset], bool]:
    """Whether a preset can have these tensors by its number of parameters, which is known without
    building it; always where they are of another kind of model than presets are."""
    rows = options.get("num_classes", 0)
    if not rows or len(options) > 1:
        return lambda preset: True
    head = sum(v.numel() for k, v in tensors.items() if _HEAD.search(k))
    body = sum(v.numel() for k, v in tensors.items() if not _COUNTED.search(k)) - head
    return lambda preset: preset.parameters - preset.num_classes * (head // rows) == body


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Without the counts of BatchNorm, which not every library keeps."""
    return {k: v.shape for k, v in tensors.items() if not k.endswith(".num_batches_tracked")}


def _shared_options(found: _Found) -> dict[str, Any]:
    """What all presets that a file may be of agree on."""
    known = [{**preset_of(name).options, **found.options} for name in found.presets]
    first = known[0] if known else {}
    return {k: v for k, v in first.items() if all(k in o and o[k] == v for o in known)}
