"""Checkpoints of other libraries under our keys, ours under theirs, and what a file is."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ninefold.core.errors import Refused
from ninefold.core.weights import local_file, read_weights, write_weights
from ninefold.models.create import create_model
from ninefold.models.layout import Keys, Tensors
from ninefold.models.load import KEYS, classes_in
from ninefold.models.presets import PRESETS, preset_of

OURS = "ninefold"
"""The layout that is written unless another is asked for."""


@dataclass(frozen=True)
class Converted:
    """What a file turned out to be.

    Args:
        family: Whose keys it has.
        layout: From which library.
        preset: What the file says, or the one preset whose shapes it has; nothing where none or
            several have.
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
    options: dict[str, Any]
    classes: int
    tensors: tuple[str, ...]
    skipped: tuple[str, ...]
    parameters: int
    bytes: int
    sha256: str


def convert(source: str | Path, out: str | Path | None = None, *, to: str = OURS) -> Converted:
    """Read a checkpoint of any known layout, and rewrite it as `out`.

    Metadata of our own layout say `family`, `layout`, and, where they are known, `preset`,
    `model_options` (JSON), `preprocess` (JSON) and `classes` (JSON list), as the files of runs do.

    Args:
        source: As for `load_weights`.
        out: Without it nothing is written. A `.safetensors` file; or, for other libraries, a
            `.pth` file: a plain state dict, below `model` for the authors' own code.
        to: `ninefold`, or the layout of another library, by the names that `Converted` tells.

    Raises:
        Refused: the file cannot be read, its keys are of no known family, or the other library has
            no place for one of them.
    """
    if out is not None:
        _check_suffix(Path(out), to)
    file, path = read_weights(source), local_file(source)
    keys, (layout, tensors, skipped) = _recognised(file.tensors, str(source))
    options, preset = keys.options(tensors), file.metadata.get("preset", "")
    if preset:  # a file of ours
        options = json.loads(file.metadata["model_options"])
    else:
        preset = _preset(keys.family, tensors, options)
    classes = classes_in(file, options.get("num_classes", 0))
    metadata = {**file.metadata, "family": keys.family, "layout": layout}
    if preset and "preset" not in metadata:
        metadata["preset"] = preset
        metadata["preprocess"] = json.dumps(preset_of(preset).preprocess.model_dump(mode="json"))
        metadata["model_options"] = json.dumps(options)
    if classes:
        metadata["classes"] = json.dumps(classes, ensure_ascii=False)
    written = tensors if to == OURS else keys.write(tensors, to)
    if out is not None and to == OURS:
        write_weights(out, written, metadata)
    elif out is not None:
        inside = "model" if to == "official" else ""
        write_weights(out, written, {"format": "pt"}, inside=inside)
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Converted(
        family=keys.family, layout=layout, preset=preset, options=options, classes=len(classes),
        tensors=tuple(written), skipped=tuple(skipped),
        parameters=sum(value.numel() for value in tensors.values()),
        bytes=path.stat().st_size, sha256=digest,
    )  # fmt: skip


def _check_suffix(out: Path, to: str) -> None:
    known = (".safetensors",) if to == OURS else (".safetensors", ".pth")
    if out.suffix not in known:
        names = " or ".join(f"{out.stem}{suffix}" for suffix in known)
        raise Refused(f"{out}: is written as {' or '.join(known)}; name it {names}")


def _recognised(tensors: Tensors, where: str) -> tuple[Keys, tuple[str, Tensors, list[str]]]:
    for keys in KEYS.values():
        found = keys.read(tensors, where)
        if found:
            return keys, found
    some = ", ".join(list(tensors)[:4])
    known = ", ".join(keys.family for keys in KEYS.values())
    raise Refused(f"{where}: its keys ({some}, ...) are of no known family; known are {known}")


def _preset(family: str, tensors: Tensors, options: dict[str, Any]) -> str:
    """The preset that has exactly these keys and shapes, if one alone has."""
    shapes = {key: value.shape for key, value in tensors.items()}
    same: list[str] = []
    for name, preset in PRESETS.items():
        if preset.family == family:
            with torch.device("meta"):
                state = create_model(name, **options).state_dict()
            if {key: value.shape for key, value in state.items()} == shapes:
                same.append(name)
    return same[0] if len(same) == 1 else ""
