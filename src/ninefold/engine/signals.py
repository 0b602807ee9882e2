"""SIGTERM and Ctrl-C ask for a save at the next step boundary; SIGUSR1 for one on the way."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

import torch
import torch.distributed as dist

from ninefold.core.errors import Stopped

SAVE, STOP, INTERRUPT, TERMINATE = 1, 2, 3, 4
"""What was asked for, the stronger the larger; `STOP` comes from an observer."""
_EXIT_CODES = {STOP: 0, INTERRUPT: 130, TERMINATE: 143}


Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
"""What Python says of the handler of a signal."""


class Signals:
    """Notes signals while it is entered; the handlers of before are back afterwards.

    A second Ctrl-C quits at once. Outside the main thread, where Python takes no handlers, nothing
    is noted. Worker processes forked meanwhile behave as if there were no handlers.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.stopped: Stopped | None = None
        """What an observer raised to end the run."""
        self._process = os.getpid()
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            asked = {signal.SIGTERM: TERMINATE, signal.SIGINT: INTERRUPT}
            if hasattr(signal, "SIGUSR1"):
                asked[signal.SIGUSR1] = SAVE
            for number in asked:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def stop(self, stopped: Stopped) -> None:
        """End the run at the next step boundary."""
        self.stopped = self.stopped or stopped
        self.asked = max(self.asked, STOP)

    def stopped_at(self, message: str, asked: int = 0) -> Stopped:
        """The exception that ends the run: an observer's own, or one with the signal's code."""
        return self.stopped or Stopped(message, _EXIT_CODES[asked or self.asked])

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            # A forked worker: Ctrl-C is the parent's business, all else does what it does.
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT and self.asked >= INTERRUPT:
            raise KeyboardInterrupt
        ends: dict[int, int] = {signal.SIGTERM: TERMINATE, signal.SIGINT: INTERRUPT}
        weight = ends.get(number, SAVE)
        self.asked = max(self.asked, weight)

    def agreed(self, step: int, device: torch.device) -> int:
        """What any rank was asked for, the same on all ranks; a plain save is asked for once.

        On several GPUs the ranks compare notes every tenth step only, as it waits for the device.
        """
        asked = self.asked
        if dist.is_initialized() and dist.get_world_size() > 1:
            if device.type != "cpu" and step % 10:
                return 0
            strongest = torch.tensor(asked, device=device)
            dist.all_reduce(strongest, op=dist.ReduceOp.MAX)
            asked = int(strongest)
        if asked == SAVE and self.asked == SAVE:
            self.asked = 0
        return asked
