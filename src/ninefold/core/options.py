"""Options given as `KEY=VALUE` words, for parts whose keywords no configuration can know."""

from collections.abc import Iterable
from typing import Any, cast

import yaml

from ninefold.core.errors import Refused


def read_options(words: Iterable[str], where: str) -> dict[str, Any]:
    """Keywords by name; values are read as YAML, numbers in any of Python's spellings.

    Args:
        words: `KEY=VALUE` each, as on a command line.
        where: What the message begins with.

    Raises:
        Refused: a word without `=` or without a name, a value that is no YAML, a name given twice.

    Departs: `1e-3` is a number here; YAML 1.1 asks for `1.0e-3` and would give a string.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            raise Refused(f"{where}: cannot read the option {word!r}; options are KEY=VALUE")
        if name in options:
            raise Refused(f"{where}: the option {name!r} is given twice; once would be right")
        try:
            options[name] = _value(yaml.safe_load(text))
        except yaml.YAMLError:
            raise Refused(
                f"{where}: the value of {word!r} cannot be read as YAML; put text into quotes"
            ) from None
    return options


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in cast(list[Any], value)]
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
