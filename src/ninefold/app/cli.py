"""`ninefold VERB ...`: the parser, the exit codes, and nothing that takes long to import.

Only the standard library is imported until a verb has been understood, so `--help` and
`--version` answer at once. Every error of the user's is one line on stderr.

Exit codes: 0 done; 1 ran and found or failed; 2 refused before work; 130 and 143 signals.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from ninefold import __version__
from ninefold.app.verbs import VERBS
from ninefold.core.errors import Failed, Refused, Stopped, nearest


class Parser(argparse.ArgumentParser):
    """argparse that raises `Refused` where it would print several lines and exit."""

    def error(self, message: str) -> NoReturn:
        raise Refused(message)

    def format_help(self) -> str:
        """For `train`, every field of a run as well."""
        text = super().format_help()
        return text + import_module("ninefold.app.flags").listing() if _trains(self) else text

    def flags(self) -> set[str]:
        """All flags that exist, the fields of a run among them for `train`."""
        own = {flag for action in self._actions for flag in action.option_strings}
        return own | set(import_module("ninefold.app.flags").FIELDS) if _trains(self) else own


def run() -> NoReturn:
    """The console command. A reader that closes the pipe early is no error."""
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def main(words: list[str]) -> int:
    """Run one command in this process; return its exit code."""
    name = f"ninefold {words[0]}" if words and words[0] in VERBS else "ninefold"
    speaker = _Speaker(name)
    logger = logging.getLogger("ninefold")
    logger.addHandler(speaker)
    before, _ = logger.level, logger.setLevel(logging.INFO)
    try:
        return _verb(words[0], words[1:]) if words and words[0] in VERBS else _top(words)
    except Refused as error:
        return _complain(name, error, 2)
    except Failed as error:
        return _complain(name, error, 1)
    except Stopped as error:
        return _complain(name, error, error.code)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0
    except KeyboardInterrupt:
        return 130
    finally:
        logger.removeHandler(speaker)
        logger.setLevel(before)


def _top(words: list[str]) -> int:
    verbs = "\n".join(f"  {name:<10} {verb.what}" for name, verb in VERBS.items())
    parser = Parser(
        prog="ninefold",
        usage="ninefold VERB ...",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"Train, measure and use image models.\n\nverbs:\n{verbs}",
        epilog="`ninefold VERB --help` tells the flags of one. To begin with: ninefold train",
    )
    parser.add_argument("--version", action="version", version=f"ninefold {__version__}")
    _, rest = parser.parse_known_args(words)
    if rest:
        flag = rest[0].startswith("-")
        hint = _hint(rest[0], parser.flags() if flag else VERBS)
        raise Refused(f"unknown {'flag' if flag else 'verb'} {rest[0]}{hint}")
    parser.print_help()
    return 0


def _verb(name: str, words: list[str]) -> int:
    given = read(name, words)
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)  # for the user's own `package.module:Name`
    module, _, function = VERBS[name].where.partition(":")
    return getattr(import_module(module), function)(given)


def read(name: str, words: list[str]) -> argparse.Namespace:
    """What the words after a verb say; for `train`, fields of the run by flag in `fields`."""
    verb = VERBS[name]
    parser = Parser(
        prog=f"ninefold {name}",
        description=verb.what[:1].upper() + verb.what[1:] + ".",
        allow_abbrev=False,
    )
    verb.arguments(parser)
    fields: dict[str, list[str]] = {}
    if _trains(parser) and not {"-h", "--help"}.intersection(words):
        words, fields = import_module("ninefold.app.flags").split(words)
    given, rest = parser.parse_known_args(words, argparse.Namespace(fields=fields))
    if rest:
        word = rest[0].partition("=")[0]
        flag = word.startswith("-")
        hint = _hint(word, parser.flags()) if flag else ""
        raise Refused(f"unknown {'flag' if flag else 'argument'} {word}{hint}")
    return given


def _trains(parser: argparse.ArgumentParser) -> bool:
    return parser.prog == "ninefold train"


def _hint(word: str, known: Iterable[str]) -> str:
    return nearest(word, known).replace("'", "")


def _complain(name: str, error: Exception, code: int) -> int:
    _tell(name, " ".join(str(error).split()))
    return code


def _tell(name: str, words: str) -> None:
    """A line on stderr; what the library begins with the verb's own name has it once."""
    print(f"{name}: {words.removeprefix(f'{name.split()[-1]}: ')}", file=sys.stderr)


class _Speaker(logging.Handler):
    """Tells on stderr what the library logs, above a progress bar where there is one."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.INFO)
        self.name_of_verb = name

    def emit(self, record: logging.LogRecord) -> None:
        _tell(self.name_of_verb, record.getMessage())
