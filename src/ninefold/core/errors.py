"""The ways in which a command ends before its time, and the nearest-name hint that errors carry.

Messages have the form `<where>: <what is wrong, with its value>; <what would be right>`: one line,
lower case after the colon.
"""

import difflib
from collections.abc import Iterable


class Refused(ValueError):
    """What the user asked for cannot be done; said before any work starts. Exit code 2."""


class Failed(RuntimeError):
    """The work started and found a fault: a loss that is not finite, no memory. Exit code 1."""


class Stopped(Exception):
    """A signal, or an observer, ended the work at a step boundary; all is saved and can go on.

    Args:
        message: What was saved and where.
        code: Exit code: 143 after SIGTERM, 130 after Ctrl-C.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def nearest(word: str, known: Iterable[str], rest: str = "") -> str:
    """`; did you mean 'x'?` with the known word closest to `word`; nothing where none is close.

    Args:
        rest: What follows, as a sentence of its own behind the question and behind `;` without.
    """
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    if not found:
        return f"; {rest}" if rest else ""
    return f"; did you mean {found[0]!r}?{' ' * bool(rest)}{rest}"


def printable(name: object) -> str:
    """A name as it may stand in a message: on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(name))
