"""A result: measured numbers with the conditions under which they were measured."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True)
class Result:
    """One line of `results.jsonl`.

    Args:
        split: `train`, `val`, `test`, `ood:<name>` or `shift:<name>:<severity>`.
        step: Optimizer steps behind the model.
        metrics: Values from 0 to 1 (losses aside) under the field's keys; also attributes:
            `result.top1`.
        conditions: What else decides the numbers: data, samples, seed, weights, device, versions.
        curves: Arrays for figures (confusion matrix, per-class values), never written to the line.
    """

    split: str
    step: int
    metrics: dict[str, float]
    conditions: dict[str, Any] = field(default_factory=dict[str, Any])
    curves: dict[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)

    def __getattr__(self, name: str) -> float:
        try:
            return self.__dict__["metrics"][name]
        except KeyError:
            raise AttributeError(f"Result has no metric {name!r}") from None

    def line(self) -> dict[str, Any]:
        """Metrics beside `split`, `step` and the conditions, as written."""
        return {"split": self.split, "step": self.step, **self.metrics, **self.conditions}


def append_line(path: str | Path, record: dict[str, Any]) -> None:
    """Add one JSON line and flush it; values that JSON has no word for (NaN) become null."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(_plain(record), ensure_ascii=False) + "\n")


def write_json(path: str | Path, values: dict[str, Any]) -> None:
    """JSON in one move, so that a stop leaves the old file or the new one."""
    write_text(path, json.dumps(values, indent=1))


def write_text(path: str | Path, text: str) -> None:
    """Text in one move, likewise."""
    path = Path(path)
    aside = path.with_suffix(".part")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def read_lines(path: str | Path) -> list[dict[str, Any]]:
    """All complete lines of a JSON-lines file; a last line cut off by a crash is passed over."""
    if not Path(path).exists():
        return []
    lines = Path(path).read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast(list[Any], value)]
    return value
