"""Make Ctrl-C and SIGTERM end a command at once, wherever the command waits. Must not depend on a command.

Python handles a signal that arrives just before a blocking system call only when the call returns. On a busy machine
about one Ctrl-C in two hundred was lost this way. A thread therefore interrupts the system call again.
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
"""Seconds to wait before each `_NUDGE` is sent. There are several, because the first can also arrive too early."""


def hear(app: App) -> None:
    """Make Ctrl-C and SIGTERM raise KeyboardInterrupt in the main thread. SIGTERM also sets `app.terminated`.

    A signal that the calling process ignored (`nohup`, `trap ''`) stays ignored.
    """

    def end(signum: int, frame: object) -> None:
        app.terminated = True
        raise KeyboardInterrupt

    # SIGTERM, for example from a cancelled CI job, ends the command like Ctrl-C: it prints what is still running.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    # This replaces the handler that `firectl.__main__` installed for the time of the imports.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _NUDGE is not None:
        _nudge(_NUDGE)


def _nudge(by: signal.Signals) -> None:
    """Start a thread that sends the signal `by` to the main thread after each other signal that was received."""
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
