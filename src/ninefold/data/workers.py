"""Batches loaded by processes of their own, in order, and what happens when one of them dies.

Worker processes are forked on Linux, so data sets and transforms need not be picklable, and start
at once. They compute on one thread, leave Ctrl-C to the parent, and note in shared memory which
sample they are at, so that a death or a stall can be told by file name.
"""

import contextlib
import logging
import multiprocessing as mp
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ninefold.core.batch import Batch
from ninefold.core.errors import Failed, Refused, printable
from ninefold.data.fetch import Fetch, Request

log = logging.getLogger(__name__)

TIMEOUT = 300.0
"""Seconds without a batch after which the workers are given up."""
_POLL = 5.0
"""Seconds after which the loader looks whether its workers still live."""

Plan = Callable[[int], Iterator[list[Request]]]
"""Given a step, the requests of that batch and all that follow."""


def worker_batches(fetch: Fetch, plan: Plan, first: int, workers: int) -> Iterator[Batch]:
    """The batches from step `first` on.

    A worker that dies is replaced once; when the same batch kills another, that is the end.

    Raises:
        Refused: a file that cannot be decoded.
        Failed: a worker died or hung, with the file it was at.
    """
    step, restarted = first, -1
    while True:
        with contextlib.closing(_Pool(fetch, plan(step), workers)) as pool:
            try:
                for batch in pool:
                    yield batch
                    step += 1
                return
            except _Lost as lost:
                if restarted == step:
                    raise Failed(f"loading: {lost}") from None
                log.warning("loading: %s; its batch is loaded again", lost)
        restarted = step


class _Lost(Exception):
    """A worker process ended by itself."""


@dataclass(frozen=True)
class _Fault:
    """An error on its way out of a worker; torch would wrap it into a page of text."""

    kind: type[Exception]
    message: str


class _Worker(Dataset[Any]):
    """What runs in a worker: an item is a whole batch."""

    def __init__(self, fetch: Fetch, board: Any) -> None:
        self.fetch, self.board = fetch, board

    def __getitem__(self, requests: Sequence[Request]) -> Batch | _Fault:
        info = get_worker_info()
        assert info is not None

        def note(index: int) -> None:
            self.board[2 * info.id + 1] = index

        try:
            return self.fetch(requests, note)
        except (Refused, Failed, MemoryError) as error:
            return _Fault(type(error), str(error))
        finally:
            note(-1)


def _start(number: int) -> None:
    """Run first in each worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    info = get_worker_info()
    assert info is not None
    assert isinstance(info.dataset, _Worker)
    info.dataset.board[2 * number] = os.getpid()


def _same(value: Any) -> Any:
    return value


class _Pool:
    """Some worker processes and the batches they bring."""

    def __init__(self, fetch: Fetch, requests: Iterator[list[Request]], workers: int) -> None:
        context = mp.get_context("fork" if sys.platform == "linux" else None)
        self._files = fetch.records.files
        # Process id, and index of the sample it is at, of each worker.
        self._board = context.RawArray("q", [-1] * (2 * workers))
        before = set(mp.active_children())
        with warnings.catch_warnings(), _child_signal_kept():
            # torch counts cores; Python 3.12 fears forks of processes with threads, which these
            # are safe from: they run no thread pool of the parent's.
            warnings.simplefilter("ignore")
            loader = DataLoader(
                _Worker(fetch, self._board),
                batch_size=None,
                sampler=requests,
                num_workers=workers,
                collate_fn=_same,
                worker_init_fn=_start,
                multiprocessing_context=context,
                pin_memory=torch.cuda.is_available(),
                timeout=_POLL,
            )
            self._batches: Iterator[Any] | None = iter(loader)
        self._processes: list[BaseProcess] = [p for p in mp.active_children() if p not in before]

    def __iter__(self) -> Iterator[Batch]:
        assert self._batches is not None
        while True:
            try:
                item = self._next(self._batches)
            except StopIteration:
                return
            if isinstance(item, _Fault):
                raise item.kind(item.message)
            yield item

    def _next(self, batches: Iterator[Any]) -> Any:
        waited = 0.0
        while True:
            try:
                return next(batches)
            except (RuntimeError, OSError, EOFError) as error:
                dead = [p for p in self._processes if not p.is_alive()]
                if dead:
                    raise _Lost(self._death(dead[0])) from None
                if "timed out" not in str(error):
                    raise Failed(f"loading: {_advice(error)}") from error
            waited += _POLL
            if waited >= TIMEOUT:
                at = ", ".join(self._at()) or (
                    "no sample, so shared memory or open files may have run out; "
                    "fewer --workers need less"
                )
                for process in self._processes:
                    process.kill()
                raise Failed(f"loading: no batch came for {waited:.0f} s; the workers are at {at}")

    def _death(self, process: BaseProcess) -> str:
        code = process.exitcode or 0
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        why = {
            -signal.SIGKILL: ", perhaps for want of memory: fewer --workers need less",
            -signal.SIGBUS: ": shared memory is full; fewer --workers need less, 0 need none",
        }.get(code, "")
        at = self._at(process.pid or 0)
        return f"a worker ended {how} at {at[0] if at else 'no sample'}{why}"

    def _at(self, pid: int = 0) -> list[str]:
        """Files that all workers, or the one named, are at."""
        pairs = zip(self._board[::2], self._board[1::2], strict=True)
        return [printable(self._files[i]) for who, i in pairs if i >= 0 and pid in (0, who)]

    def close(self) -> None:
        """End the workers."""
        self._batches = None


@contextlib.contextmanager
def _child_signal_kept() -> Iterator[None]:
    """torch's handler would raise the death of a worker wherever the main thread happens to be."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD) if main and hasattr(signal, "SIGCHLD") else None
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGCHLD, handler)


def _advice(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "ancdata" in text or "Too many open files" in text:
        return "too many open files; raise `ulimit -n`, or use fewer --workers"
    return f"{text}; --workers 0 loads without processes"
