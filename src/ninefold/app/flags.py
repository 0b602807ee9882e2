"""Every field of a run as a flag: `--optim.lr 0.1 --augment.crop-area 0.2 1 --no-compile`.

Departs: read on the configuration's own fields and checked by pydantic, not by tyro: tyro prints
its errors as boxes of several lines and offers no other way to get at them, and every error of
this command is one line.
"""

from argparse import ArgumentParser
from dataclasses import dataclass
from typing import Any, get_args, get_origin

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
        what: Its docstring, in one line.
    """

    path: tuple[str, ...]
    many: bool
    switch: bool
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
    what = " ".join((info.description or "").split())
    return Field(path, get_origin(info.annotation) is tuple, info.annotation is bool, what)


def _unnamed() -> dict[str, Field]:
    parser = ArgumentParser()
    VERBS["train"].arguments(parser)
    named = {flag for action in parser._actions for flag in action.option_strings}
    return {f: v for f, v in _fields(Run).items() if f not in named and f != "--recipe"}


FIELDS = _unnamed()
"""By flag, without those that `app.verbs` names: a recipe is told these, and computes with them."""


def listing() -> str:
    """The flags of `FIELDS` for the help of `train`."""
    lines = [f"  {flag}\n      {field.what}" for flag, field in FIELDS.items()]
    return "\nvalues of the finished run:\n" + "\n".join(lines) + "\n"


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
