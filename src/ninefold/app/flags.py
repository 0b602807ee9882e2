"""Every field of a run as a flag: `--optim.lr 0.1 --augment.crop-area 0.2 1 --no-compile`.

Departs: read on the configuration's own fields and checked by pydantic, not by tyro: tyro prints
its errors as boxes of several lines and offers no other way to get at them, and every error of
this command is one line.
"""

from argparse import ArgumentParser
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ninefold.app.verbs import VERBS
from ninefold.core.errors import Refused
from ninefold.engine.config import Run


@dataclass(frozen=True)
class Field:
    """One value of a run.

    Args:
        path: Its place: `("optim", "lr")`.
        many: Whether it takes several words, or no word at all (a switch).
        takes: Its values in a word: `N`, `N N`, `{cosine,linear}`; nothing for a switch.
        what: Its docstring, in one line.
    """

    path: tuple[str, ...]
    many: bool
    switch: bool
    takes: str
    what: str


def _fields(config: type[BaseModel], path: tuple[str, ...] = ()) -> dict[str, Field]:
    found: dict[str, Field] = {}
    for name, info in config.model_fields.items():
        choices: tuple[Any, ...] = (info.annotation, *get_args(info.annotation))
        parts = [t for t in choices if isinstance(t, type) and issubclass(t, BaseModel)]
        for part in parts:
            for flag, field in _fields(part, (*path, name)).items():
                if not (info.discriminator and field.path[-1] == info.discriminator):
                    found.setdefault(flag, field)
        if not parts:
            flag = "--" + ".".join((*path, name)).replace("_", "-")
            found[flag] = _field(info, (*path, name))
    return found


def _field(info: FieldInfo, path: tuple[str, ...]) -> Field:
    what, kind = " ".join((info.description or "").split()), info.annotation
    return Field(path, get_origin(kind) is tuple, kind is bool, _takes(kind), what)


def _takes(kind: Any) -> str:
    """What may stand behind a flag of that type."""
    parts, origin = get_args(kind), get_origin(kind)
    if kind is bool:
        return ""
    if origin is Literal:
        return "{" + ",".join(map(str, parts)) + "}"
    if origin is tuple:
        return " ".join("..." if part is Ellipsis else _takes(part) for part in parts)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_takes, parts)))
    if origin is Annotated:
        return _takes(parts[0])
    return "N" if kind in (int, float) else "TEXT"


def _unnamed() -> dict[str, Field]:
    parser = ArgumentParser()
    VERBS["train"].arguments(parser)
    named = {flag for action in parser._actions for flag in action.option_strings}
    return {f: v for f, v in _fields(Run).items() if f not in named and f != "--recipe"}


FIELDS = _unnamed()
"""By flag, without those that `app.verbs` names: a recipe is told these, and computes with them."""


def listing() -> str:
    """The flags of `FIELDS` for the help of `train`."""
    lines = [f"  {_written(flag, field)}\n      {field.what}" for flag, field in FIELDS.items()]
    head = "\nvalues of the finished run (`ninefold recipes RECIPE` tells what they are):\n"
    return head + "\n".join(lines) + "\n"


def _written(flag: str, field: Field) -> str:
    return f"{flag}, --no-{flag[2:]}" if field.switch else f"{flag} {field.takes}"


def values(run: Run) -> list[tuple[str, str]]:
    """Every flag with the value that a run has for it; without flags of other kinds' fields."""
    rows: list[tuple[str, str]] = [("--optim", run.optim.kind)]
    for flag, field in _fields(Run).items():
        place: Any = run.model_dump()
        for part in field.path:
            place = place.get(part, _ABSENT) if isinstance(place, dict) else _ABSENT
        if place is not _ABSENT and flag != "--recipe":
            words = list(place) if field.many else [place]
            rows.append((flag, " ".join(_word(word) for word in words) or "-"))
    return rows


_ABSENT = object()


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else _number(value)


def _number(value: Any) -> str:
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def split(words: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Take the flags of `FIELDS` with their words out of a command line; both parts of it."""
    rest: list[str] = []
    found: dict[str, list[str]] = {}
    at = 0
    while at < len(words):
        word, equals, value = words[at].partition("=")
        at += 1
        flag = word.replace("_", "-") if word.startswith("--") else word
        switch = "--" + flag[5:] if flag.startswith("--no-") else ""
        if switch in FIELDS and FIELDS[switch].switch:
            found[switch] = ["false"]
        elif flag not in FIELDS:
            rest.append(words[at - 1])
        elif equals:
            found[flag] = [v for v in value.split(",") if v] if FIELDS[flag].many else [value]
        elif FIELDS[flag].switch:
            found[flag] = ["true"]
        else:
            end = at
            while end < len(words) and not words[end].startswith("--"):
                end += 1
            end = end if FIELDS[flag].many else min(end, at + 1)
            if end == at:
                raise Refused(f"{flag} needs a value: {FIELDS[flag].what}")
            found[flag] = words[at:end]
            at = end
    return rest, found


def change(run: Run, fields: dict[str, list[str]]) -> Run:
    """The run with some fields changed and all of them checked.

    Raises:
        Refused: a value of a wrong type or out of its bounds, or a field that the run's kind of
            optimizer does not have.
    """
    values = run.model_dump()
    for flag, words in fields.items():
        field, place = FIELDS[flag], values
        for part in field.path[:-1]:
            place = place[part]
        if field.path[-1] not in place:
            kind = place.get("kind", "")
            raise Refused(
                f"{flag} does not belong to {'.'.join(field.path[:-1])} {kind!r}, which has "
                f"{', '.join(name for name in place if name != 'kind')}"
            )
        place[field.path[-1]] = words if field.many else words[0]
    return Run.parse(values, where="run")
