"""Ctrl-C: not heard where something must be brought to its end, or heard at the next good occasion."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """
    Within this block Ctrl-C does nothing, and processes started in it never hear it: a terminal sends it to all, and whoever
    started them still needs them. In another thread than the main one, which alone hears it, the block changes nothing.
    """
    foreign = signal.getsignal(signal.SIGINT) is None  # a handler that is not Python's, and could not be put back
    if foreign or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Request:
    """Whether the user has asked for an end."""

    made = False


@contextmanager
def interruptible(told: str) -> Iterator[Request]:
    """
    Within this block the first Ctrl-C is a request, which the block has to ask for, and the second raises as it always does.
    A handler that somebody else has put there is left, and in another thread than the main one no Ctrl-C arrives.

    :param told: said to standard error at the first; nothing if it is empty
    """
    request = Request()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.made:
            raise KeyboardInterrupt
        request.made = True
        if told:
            print(told, file=sys.stderr, flush=True)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield request
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)
