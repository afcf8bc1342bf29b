"""The signals that ask a program to stop."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

# Ctrl-C, kill and schedulers of clusters, a terminal that closes. Not every system has the last.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
STOPPING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


@contextmanager
def heeded(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have them call a function; in a thread that is not the main one they cannot."""
    with ExitStack() as before:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                # What is ignored stays so: nohup relies on it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before.callback(signal.signal, number, signal.signal(number, handler))
        yield


@contextmanager
def heard(callback: Callable[[], None]) -> Iterator[None]:
    """Have a function called at once when one of them comes that is not ignored: Python itself
    takes it only when code that is none of its own has returned. The function runs in a thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard_at, told_at = socket.socketpair()
    told_at.setblocking(False)

    def listen() -> None:
        while number := heard_at.recv(1):
            if number[0] in STOPPING:
                callback()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(told_at.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        told_at.close()
        thread.join()
        heard_at.close()
