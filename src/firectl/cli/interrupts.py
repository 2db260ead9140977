"""Ctrl-C and SIGTERM end a command at once, wherever it waits. Must not depend on a command.

A signal that arrives just before a blocking system call is handled only when the call returns. On a busy machine that
lost about one Ctrl-C in two hundred. A watching thread therefore interrupts the call again.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from firectl.cli.app import App

_NUDGE = getattr(signal, "SIGURG", None)
"""A signal that interrupts a system call and has no other effect; missing on Windows, where no thread watches."""
_NUDGES = (0.02, 0.2, 1.0)
"""Seconds to wait before each nudge. The first can arrive too early, as the signal did."""


def hear(app: App) -> None:
    """Makes both signals raise KeyboardInterrupt in the main thread, SIGTERM with `app.terminated` set.

    A signal that the calling process ignored (`nohup`, `trap ''`) stays ignored.
    """

    def end(signum: int, frame: object) -> None:
        app.terminated = True
        raise KeyboardInterrupt

    # A cancelled job ends as with Ctrl-C: it says what is still running.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    # `firectl.__main__` installed another handler while modules were imported.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _NUDGE is not None:
        _nudge(_NUDGE)


def _nudge(by: signal.Signals) -> None:
    """Starts a thread that interrupts the main thread after each handled signal."""
    noted, note = os.pipe()
    os.set_blocking(note, False)
    signal.signal(by, lambda signum, frame: None)
    signal.set_wakeup_fd(note, warn_on_full_buffer=False)
    main = threading.get_ident()

    def watch() -> None:
        while number := os.read(noted, 1):
            if number[0] != by:
                for seconds in _NUDGES:
                    time.sleep(seconds)
                    signal.pthread_kill(main, by)

    threading.Thread(target=watch, name="signals", daemon=True).start()
