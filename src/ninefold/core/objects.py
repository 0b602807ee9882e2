"""A user's own parts: classes, functions and objects named as `package.module:Name`.

Configurations hold names only. An object that has no importable name (one made in a notebook, a
closure, an instance) is held for the life of the process under `held:<name>`; a run that used one
says so when it is opened in another process.
"""

import importlib
from pathlib import PurePath
from typing import Any

from ninefold.core.errors import Refused, nearest

_HELD: dict[str, Any] = {}


def is_reference(name: str) -> bool:
    """Whether a string names a user's own part and not one of the library's."""
    return ":" in name and "://" not in name and not name.startswith(("/", "."))


def find(name: str) -> Any:
    """The object that `package.module:Name` or `held:Name` stands for.

    Raises:
        Refused: the module cannot be imported, or has no such name.
    """
    module_name, _, attribute = name.partition(":")
    if module_name == "held":
        if name not in _HELD:
            raise Refused(
                f"{name}: the object was given in Python and lives only in that process; pass it "
                "again, or put it into a module and name it as 'package.module:Name'"
            )
        return _HELD[name]
    try:
        value: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise Refused(f"{name}: module {module_name!r} cannot be imported: {error}") from None
    for part in attribute.split("."):
        if not hasattr(value, part):
            hint = nearest(part, (name for name in dir(value) if name[0] != "_"))
            raise Refused(f"{name}: {module_name!r} has no {part!r}{hint}")
        value = getattr(value, part)
    return value


def name_of(value: Any) -> str:
    """The name under which `find` gives `value` back; strings and paths are returned as text."""
    if isinstance(value, str | PurePath):
        return str(value)
    module, name = getattr(value, "__module__", ""), getattr(value, "__qualname__", "")
    if module and name and module != "__main__" and "<" not in name:
        reference = f"{module}:{name}"
        if find(reference) is value:
            return reference
    held = f"held:{name or type(value).__name__}-{len(_HELD)}"
    _HELD[held] = value
    return held
