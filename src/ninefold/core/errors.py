"""The two ways in which a command ends badly, and the nearest-name hint that errors carry.

Messages have the form `<where>: <what is wrong, with its value>; <what would be right>`: one line,
lower case after the colon.
"""

import difflib
from collections.abc import Iterable


class Refused(ValueError):
    """What the user asked for cannot be done; said before any work starts. Exit code 2."""


class Failed(RuntimeError):
    """The work started and found a fault: a loss that is not finite, no memory. Exit code 1."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the known word closest to `word`; nothing where none is close."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""
