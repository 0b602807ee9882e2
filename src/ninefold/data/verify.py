"""Finding files that cannot be read before a training begins."""

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


def verify(records: Records, *, headers: float = 10.0, decoding: float = 2.0) -> None:
    """Look at the files of a split, as far as some seconds allow, and refuse the first bad ones.

    First the header and the end of every file; what looks cut short is decoded to be sure. Then
    files in random order are decoded whole. Records that are no files are not looked at.

    Args:
        headers: Seconds for the first pass.
        decoding: Seconds for the second, which small sets need not use up.

    Raises:
        Refused: naming a file that cannot be decoded, and how many more.
    """
    places = [i for i, file in enumerate(records.files) if Path(file).is_file()]
    random.Random(len(places)).shuffle(places)
    seen = _pass(lambda i: _look(records, i), places, headers)
    decoded = _pass(records.load, places, decoding)
    if seen < len(places):
        log.info("looked at %d of %d files, decoded %d", seen, len(places), decoded)


def _look(records: Records, place: int) -> None:
    read_size(records.files[place])
    with Path(records.files[place]).open("rb") as file:
        ending = _ENDINGS.get(file.read(2))
        file.seek(-min(_TAIL, os.fstat(file.fileno()).st_size), os.SEEK_END)
        whole = ending is None or ending in file.read()
    if not whole:
        records.load(place)


def _pass(look: Callable[[int], object], places: Sequence[int], seconds: float) -> int:
    """How many could be looked at in time; raises for the bad ones among them."""
    stop = time.monotonic() + seconds

    def tried(place: int) -> str | None:
        if time.monotonic() > stop:
            return None
        try:
            look(place)
        except Refused as error:
            return str(error)
        except OSError as error:
            return f"{printable(error.filename)}: cannot be read: {error.strerror}"
        return ""

    with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
        said = [one for one in threads.map(tried, places) if one is not None]
    bad = sorted(filter(None, said))
    if bad:
        more = f" (and {len(bad) - 1} more such files; `ninefold check` lists them)"
        raise Refused(bad[0] + (more if len(bad) > 1 else ""))
    return len(said)
