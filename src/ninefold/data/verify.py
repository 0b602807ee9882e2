"""Finding files that cannot be read before a training begins."""

import itertools
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ninefold.core.errors import Refused, printable
from ninefold.data.decode import read_size
from ninefold.data.records import Records

log = logging.getLogger(__name__)

_TAIL = 64
_ENDINGS = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}
"""How whole JPEG and PNG files begin, and what stands near their end."""
_AT_ONCE = 64
"""Files that a thread looks at one after the other: handing over each costs more than a look."""


def verify(records: Records, *, headers: float = 10.0, decoding: float = 2.0) -> None:
    """Look at the files of a split, as far as some seconds allow, and refuse the first bad ones.

    First files in random order are decoded whole. Then the header and the end of every other file
    are read; what looks cut short is decoded to be sure. Records that are no files are not looked
    at.

    Args:
        headers: Seconds for the second pass.
        decoding: Seconds for the first, which small sets need not use up.

    Raises:
        Refused: naming a file that cannot be decoded, and how many more.
    """
    places = [i for i, file in enumerate(records.files) if Path(file).is_file()]
    random.Random(len(places)).shuffle(places)
    decoded = _pass(records.load, places, decoding)
    rest = [place for place in places if place not in decoded]
    seen = _pass(lambda i: _look(records, i), rest, headers)
    bad = sorted(filter(None, [*decoded.values(), *seen.values()]))
    if bad:
        more = f" (and {len(bad) - 1} more such files; `ninefold check` lists them)"
        raise Refused(bad[0] + (more if len(bad) > 1 else ""))
    if len(seen) < len(rest):
        whole = len(decoded) + len(seen)
        log.info("looked at %d of %d files, decoded %d", whole, len(places), len(decoded))


def _look(records: Records, place: int) -> None:
    read_size(records.files[place])
    with Path(records.files[place]).open("rb") as file:
        ending = _ENDINGS.get(file.read(2))
        file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        whole = ending is None or ending in file.read()
    if not whole:
        records.load(place)


def _pass(look: Callable[[int], object], places: Sequence[int], seconds: float) -> dict[int, str]:
    """What is wrong with each place, nothing where all is well, as far as there was time."""
    stop = time.monotonic() + seconds

    def tried(place: int) -> str:
        try:
            look(place)
        except Refused as error:
            return str(error)
        except OSError as error:
            return f"{printable(error.filename)}: cannot be read: {error.strerror}"
        return ""

    def several(start: int) -> dict[int, str]:
        some = places[start : start + _AT_ONCE]
        return {i: tried(i) for i in itertools.takewhile(lambda _: time.monotonic() <= stop, some)}

    said: dict[int, str] = {}
    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        for part in threads.map(several, range(0, len(places), _AT_ONCE)):
            said |= part
    return said
