"""Signals ask; they do not interrupt a step."""

import os
import signal
import threading

import pytest
import torch

from ninefold.engine.signals import INTERRUPT, SAVE, TERMINATE, Signals

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("number", "asked"),
    [(signal.SIGTERM, TERMINATE), (signal.SIGINT, INTERRUPT), (signal.SIGUSR1, SAVE)],
)
def test_a_signal_is_noted_and_handlers_are_put_back(number: signal.Signals, asked: int) -> None:
    before = signal.getsignal(number)
    with Signals() as signals:
        assert signals.agreed(1, CPU) == 0
        os.kill(os.getpid(), number)
        assert signals.agreed(2, CPU) == asked
    assert signal.getsignal(number) is before


def test_a_plain_save_is_asked_for_once_and_an_end_stays_asked_for() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [signals.agreed(step, CPU) for step in (1, 2)] == [SAVE, 0]
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [signals.agreed(step, CPU) for step in (3, 4)] == [TERMINATE, TERMINATE]


def test_a_second_interrupt_quits_at_once() -> None:
    with Signals():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_forked_worker_dies_of_sigterm_and_leaves_an_interrupt_to_its_parent() -> None:
    for number, expected in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 7)):
        with Signals() as signals:
            child = os.fork()
            if child == 0:
                os.kill(os.getpid(), number)
                os._exit(7)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == expected
            assert signals.asked == 0


def test_outside_the_main_thread_nothing_is_noted_and_nothing_breaks() -> None:
    failed: list[BaseException] = []

    def enter() -> None:
        try:
            with Signals() as signals:
                assert signals.agreed(1, CPU) == 0
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failed
