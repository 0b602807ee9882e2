"""A run's folder: claiming it, one writer at a time, and its logs after a crash."""

import json
import os
from pathlib import Path
from typing import IO, Any

from ninefold.core.errors import Refused
from ninefold.core.results import append_line, read_lines
from ninefold.engine.config import Run

RUN, LOG, RESULTS, MODEL = "run.yaml", "log.jsonl", "results.jsonl", "model.safetensors"
CHECKPOINTS, FIGURES = "checkpoints", "figures"

RUNS = "runs"
"""Where runs stand that nobody gave a folder."""

HARMLESS = ("recipe", "data", "workers", "cache", "checkpoint_every", "keep")
"""Fields that may change when a run goes on: no weight, order or choice of the best depends on
them. (`data` may have moved: its fingerprint is compared instead.)"""


def new_folder(root: str | Path = RUNS) -> Path:
    """Make and return `root/NNNN`, the next free number."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    numbers = [int(path.name) for path in root.iterdir() if path.name.isdecimal()]
    number = max(numbers, default=0) + 1
    while True:
        folder = root / f"{number:04d}"
        try:
            folder.mkdir()
        except FileExistsError:  # another run took it meanwhile
            number += 1
        else:
            return folder


def claim(out: str | Path = "") -> Path:
    """The folder `out`, made where it is missing; without a name `runs/NNNN`.

    Raises:
        Refused: it cannot be made or written to.
    """
    folder = Path(out or RUNS)
    try:
        folder = folder if out else new_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{folder}: cannot be made: {(error.strerror or '').lower()}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"{folder}: may not be written to; choose another --out")
    return folder


def check_claim(run: Run, folder: Path, *, resume: bool) -> None:
    """See that a run may start or go on in a folder.

    Raises:
        Refused: a run stands there and `resume` is off, or it is another run: the fields that
            differ are named.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder}: is a file; a run needs a folder")
    if not (folder / RUN).exists():
        return
    if not resume:
        raise Refused(
            f"{folder}: holds a run already; go on with it by --resume, or choose another --out"
        )
    before, now = Run.read(folder / RUN).model_dump(), run.model_dump()
    changes = [f"{name} was {old!r}, now {new!r}" for name, old, new in _differences(before, now)]
    if changes:
        raise Refused(
            f"{folder}: holds another run: {'; '.join(changes)}; only {', '.join(HARMLESS)} may "
            "change; choose another --out to start anew"
        )


def _differences(
    before: dict[str, Any], now: dict[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for name in [*before, *(n for n in now if n not in before)]:
        old: Any = before.get(name)
        new: Any = now.get(name)
        if old == new or prefix + name in HARMLESS:
            continue
        if all(type(value) is dict for value in (old, new)):
            found += _differences(old, new, f"{prefix}{name}.")
        else:
            found.append((prefix + name, old, new))
    return found


class Busy(Refused):
    """Another process is training in the folder."""


class Lock:
    """Holds a folder for one process; freed by the system however the process ends.

    The lock is the process's own: workers that outlive a killed parent do not hold it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        self._file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            self._file.seek(0)
            owner = self._file.read().strip()
            self._file.close()
            raise Busy(
                f"{self._path.parent}: process {owner} is training there; wait for it, or end it"
            ) from None
        except OSError:  # a file system that knows no locks
            return
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def cut_logs(folder: Path, step: int, *, final: bool) -> None:
    """Forget all lines after `step`, and one that a crash tore: they will be written again.

    Unless `step` is the `final` one, the test part is still to come, so a line of it goes too.
    """
    for name in (LOG, RESULTS):
        path = folder / name
        if path.exists():
            kept = [
                line
                for line in _whole_lines(path)
                if line.get("step", 0) <= step and (final or line.get("split") != "test")
            ]
            aside = path.with_name(f".{name}.tmp")
            aside.write_text("", encoding="utf-8")
            for line in kept:
                append_line(aside, line)
            aside.replace(path)


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return read_lines(path)
    except ValueError:  # a power cut can leave zeros in the middle
        lines: list[dict[str, Any]] = []
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines
