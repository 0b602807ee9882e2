"""A foreign checkpoint as a safetensors file under our keys, with what is known of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ninefold.core.errors import Refused
from ninefold.core.weights import read_weights, write_weights
from ninefold.models.create import create_model
from ninefold.models.layout import Tensors
from ninefold.models.load import KEYS, classes_in
from ninefold.models.presets import PRESETS, preset_of


@dataclass(frozen=True)
class Converted:
    """What a file turned out to be.

    Args:
        family: Whose keys it has.
        layout: From which library.
        preset: The one preset whose shapes it has; nothing where none or several have.
        options: What must be told `create_model` beside the preset's name.
        classes: Number of classes whose names are known, from the file or by its rows.
        tensors: Keys written.
        skipped: Keys of other parts of a larger model, left out.
    """

    family: str
    layout: str
    preset: str
    options: dict[str, Any]
    classes: int
    tensors: tuple[str, ...]
    skipped: tuple[str, ...]


def convert(source: str | Path, out: str | Path) -> Converted:
    """Rewrite a checkpoint of any known layout as `out`, a safetensors file.

    Metadata say `family`, `layout`, and, where they are known, `preset`, `model_options` (JSON),
    `preprocess` (JSON) and `classes` (JSON list), as the files of runs do.

    Raises:
        Refused: the file cannot be read, or its keys are of no known family.
    """
    if Path(out).suffix != ".safetensors":
        raise Refused(f"{out}: is written as safetensors; name it {Path(out).stem}.safetensors")
    file = read_weights(source)
    for keys in KEYS.values():
        found = keys.read(file.tensors, str(source))
        if found:
            break
    else:
        some = ", ".join(list(file.tensors)[:4])
        known = ", ".join(keys.family for keys in KEYS.values())
        raise Refused(f"{source}: its keys ({some}, ...) are of no known family; known are {known}")
    layout, tensors, skipped = found
    options = keys.options(tensors)
    preset = _preset(keys.family, tensors, options)
    classes = classes_in(file, options.get("num_classes", 0))
    metadata = {**file.metadata, "family": keys.family, "layout": layout}
    if preset:
        metadata["preset"] = preset
        metadata["preprocess"] = json.dumps(preset_of(preset).preprocess.model_dump(mode="json"))
        metadata["model_options"] = json.dumps(options)
    if classes:
        metadata["classes"] = json.dumps(classes, ensure_ascii=False)
    write_weights(out, tensors, metadata)
    return Converted(
        keys.family, layout, preset, options, len(classes), tuple(tensors), tuple(skipped)
    )


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
