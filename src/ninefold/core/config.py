"""Configurations: frozen values that are written to `run.yaml` and read back equal.

A configuration never holds a tensor, a module or a callable; the user's own parts stand in it by
name (`core.objects`). Modules that define configurations import neither torch nor numpy.
"""

from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from ninefold.core.errors import Refused, nearest
from ninefold.core.results import write_text


class Config(BaseModel):
    """Base of all configurations: frozen, numbers finite, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @classmethod
    def parse(cls, values: object, where: str) -> Self:
        """Check plain values (as read from YAML); all faults are told in one line.

        Raises:
            Refused: naming each bad field by its path, with the nearest field for an unknown one.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(_fault(cls, fault, values) for fault in error.errors())
            raise Refused(f"{where}: {faults}".replace("?; ", "? ")) from None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file; `Refused` where it is missing, unreadable or wrong."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Refused(f"{path}: there is no such file") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise Refused(f"{path}: cannot be read as YAML: {reason}") from None
        return cls.parse(values, where=str(path))

    def write(self, path: str | Path) -> None:
        """Write YAML that `read` turns back into an equal object, in one move: a run that is killed
        on the way keeps the file that it goes on by."""
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(path, text)

    def changed(self, **values: Any) -> Self:
        """A copy with some fields changed, checked as a whole.

        Raises:
            Refused: a field that does not exist, or a value it does not take.
        """
        merged = {**self.model_dump(), **_plain(values)}
        return self.parse(merged, where=type(self).__name__.lower())


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v.model_dump() if isinstance(v, BaseModel) else v for k, v in values.items()}


def _fault(cls: type[BaseModel], error: ErrorDetails, values: object) -> str:
    path = ".".join(_place(error["loc"], values))
    if error["type"] == "extra_forbidden":
        return f"unknown field {path!r}{nearest(str(error['loc'][-1]), cls.model_fields)}"
    reason = error["msg"].removeprefix("Value error, ")
    reason = f"{reason[:1].lower()}{reason[1:]}"
    if not path or isinstance(error["input"], dict):  # of several fields: the reason has them
        return f"{path}: {reason}" if path else reason
    return f"{path}: {reason}, not {error['input']!r}"


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """A fault's path as it is written: pydantic puts the kind of a union's member into it."""
    path: list[str] = []
    for part in loc:
        if isinstance(values, dict) and part == cast(dict[Any, Any], values).get("kind"):
            continue
        path.append(str(part))
        values = cast(dict[Any, Any], values).get(part) if isinstance(values, dict) else None
    return path
