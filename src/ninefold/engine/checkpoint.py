"""Checkpoints that are whole or not there: `checkpoints/step_N/` of a run's folder.

Written into a temporary folder beside, each file flushed to the disk and hashed on its way;
`manifest.json` with sizes and hashes comes last; then the folder is renamed. The newest one whose
files are as its manifest says is what a resumed run starts from.

Sharded models (FSDP2) fit in later without a change of layout: every rank calls `fabric.save` into
the temporary folder, which then holds one file a rank instead of `state.pt`; after a barrier rank 0
hashes the files, writes the manifest and renames. `newest` verifies all files already, and
`fabric.load` reads such a folder on any number of ranks.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import Tensor

from ninefold.core.errors import Failed, Refused
from ninefold.engine.update import State

log = logging.getLogger(__name__)

_STATE, _MANIFEST, _ASIDE = "state.pt", "manifest.json", ".aside_"


def save(folder: Path, state: State, record: dict[str, Any], *, keep: int) -> Path:
    """Write `folder/step_N` and remove all but the newest `keep`.

    Args:
        folder: The run's `checkpoints` folder.
        record: Plain values and tensors beside the state: run, data, versions.

    Raises:
        Failed: the disk is full or cannot be written; older checkpoints are as they were.
    """
    final = folder / f"step_{state.step}"
    aside = folder / f"{_ASIDE}{final.name}_{os.getpid()}"
    content = {**pack(state), "record": record}
    try:
        aside.mkdir(parents=True)
        with (aside / _STATE).open("wb") as file:
            hashed = _Hashed(file)
            torch.save(content, cast(IO[bytes], hashed))
            _flush(file)
        entry = {"bytes": hashed.size, "sha256": hashed.digest.hexdigest()}
        with (aside / _MANIFEST).open("w", encoding="utf-8") as file:
            json.dump({"step": state.step, "files": {_STATE: entry}}, file)
            _flush(file)
        _flush_folder(aside)
        _discard(final)
        aside.rename(final)
        _flush_folder(folder)
    except (OSError, RuntimeError) as error:
        # torch reports a write that failed as a RuntimeError about positions in its archive.
        shutil.rmtree(aside, ignore_errors=True)
        reason = error if isinstance(error, OSError) else error.__context__ or error
        raise Failed(
            f"{final}: could not be written ({_line(reason)}); a checkpoint needs "
            f"{size_of(content):,} bytes{_free(folder)}; older ones are intact"
        ) from None
    with suppress(OSError):  # what cannot be removed costs room, nothing else
        for old in _by_step(folder)[keep:]:
            _discard(old)
    return final


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint; broken ones are passed over, each with a warning."""
    for path in _by_step(folder):
        fault = _fault(path)
        if fault is None:
            return path
        log.warning("%s is passed over: %s", path, fault)
    return None


def load(path: Path) -> dict[str, Any]:
    """All of a checkpoint that `newest` gave, on the CPU; no code in it can run."""
    return torch.load(path / _STATE, map_location="cpu", weights_only=True)


def pack(state: State) -> dict[str, Any]:
    """The state as tensors and plain values."""
    return {
        "objective": state.objective.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "ema": state.ema.state_dict() if state.ema is not None else None,
        "extra": {name: part.state_dict() for name, part in state.extra.items()},
        "step": state.step,
        "best": state.best,
    }


def unpack(content: dict[str, Any], state: State) -> None:
    """Put what `load` gave into a state of the same structure.

    Raises:
        Refused: names or shapes differ, as after a change of the model's code.
    """
    try:
        state.objective.load_state_dict(content["objective"])
        state.optimizer.load_state_dict(content["optimizer"])
        if state.ema is not None:
            state.ema.load_state_dict(content["ema"])
        for name, part in state.extra.items():
            part.load_state_dict(content["extra"][name])
    except (RuntimeError, ValueError, KeyError) as error:
        raise Refused(
            f"checkpoint: made by other code or another version, it does not fit ({_line(error)}); "
            "start a new run, with --weights for the model alone"
        ) from None
    state.step, state.best = content["step"], content["best"]


def clean(folder: Path) -> None:
    """Remove what writers that were killed left behind; nobody else may be writing there."""
    for path in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(path, ignore_errors=True)


def check_room(folder: Path, size: int, count: int) -> None:
    """Reserve the bytes of one checkpoint, as a test, and look for room for `count` of them.

    Raises:
        Refused: the folder cannot be written, or has no room; nothing is left behind.
    """
    trial = folder / f"{_ASIDE}trial_{os.getpid()}"
    need = f"a checkpoint needs {size:,} bytes"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with trial.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise Refused(
            f"{folder}: cannot be written ({_line(error)}); {need}{_free(folder)}"
        ) from None
    finally:
        with suppress(OSError):
            trial.unlink()
    if shutil.disk_usage(folder).free < size * count:
        raise Refused(
            f"{folder}: too little room; {need}, and {count} are needed at a time{_free(folder)}"
        )


def size_of(value: Any) -> int:
    """Bytes of all tensors in nested containers, with a little for what stands around them."""
    return sum(tensor.nbytes + 512 for tensor in _tensors(value)) + 65_536


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in cast(dict[Any, Any], value).values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in cast(list[Any], value):
            yield from _tensors(item)


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes | memoryview) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _fault(path: Path) -> str | None:
    try:
        manifest: dict[str, Any] = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = manifest["files"]
        if manifest["step"] != int(path.name.removeprefix("step_")) or not files:
            return f"its {_MANIFEST} is of another step"
        for name, entry in files.items():
            if (size := (path / name).stat().st_size) != entry["bytes"]:
                return f"{name} has {size:,} bytes instead of {entry['bytes']:,}"
            with (path / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                    return f"{name} is damaged: its hash differs from the manifest's"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it is incomplete ({type(error).__name__}: {_line(error)})"
    return None


def _by_step(folder: Path) -> list[Path]:
    """Checkpoints by name alone, newest first."""
    found = [p for p in folder.glob("step_*") if re.fullmatch(r"step_\d+", p.name)]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step_")), reverse=True)


def _discard(path: Path) -> None:
    """Remove a checkpoint; it stops counting at once, whatever happens on the way."""
    if path.exists():
        doomed = path.with_name(f"{_ASIDE}{path.name}_old_{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free(folder: Path) -> str:
    try:
        return f" and {shutil.disk_usage(folder).free:,} are free"
    except OSError:
        return ""


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
