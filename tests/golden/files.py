"""A golden file as it lies on the disk: arrays and a configuration, or a JSON document."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

PASSED_OVER = {".py", ".pyc", ".md"}
"""Suffixes of what stands beside golden files without being one."""


@dataclass(frozen=True)
class Golden:
    """One golden file.

    Args:
        path: Where it lies; its name says nothing.
        kind: What it is a record of; nothing where that cannot be told.
        config: How the reference was built.
        tensors: Inputs, weights and outputs by name.
        atol: Absolute tolerance that the file asks for, as written; or nothing.
        document: The content of a JSON file.
        told: All that the file says of itself, as written.
    """

    path: Path
    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    atol: str = ""
    document: Any = None
    told: dict[str, str] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose names start with `prefix`, without it."""
        return {k.removeprefix(prefix): v for k, v in self.tensors.items() if k.startswith(prefix)}

    def tolerance(self, atol: float) -> float:
        """The file's absolute tolerance (in float32, where it gives several), or else `atol`."""
        found = re.search(r"([\d.]+(?:e-?\d+)?) in float32", self.atol)
        text = found[1] if found else self.atol
        return float(text) if text else atol


def read(path: Path) -> Golden | None:
    """The golden file at `path`; None for a JSON file that only describes another file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return _read_json(path)
    try:
        config = json.loads(metadata.get("config", "{}"))
    except ValueError:
        return Golden(path, "")
    kind, atol = metadata.get("kind", ""), metadata.get("atol", "")
    return Golden(path, kind, config, tensors, atol, told=metadata)


def _read_json(path: Path) -> Golden | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return Golden(path, "")
    if isinstance(document, dict) and {"file", "config"} <= document.keys():
        return None
    return Golden(path, _kind_of(document), document=document)


def _kind_of(document: Any) -> str:
    match document:
        case {"models": dict(), "how": str()}:
            return "hierarchical_param_counts"
        case {"gt": dict()}:
            return "coco_eval"
        case [{"out_hw": _, "max_size": _}, *_]:
            return "yolos_resize"
    return ""
