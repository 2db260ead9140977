"""Ctrl-C and SIGTERM end a command wherever it waits, and never only after the wait.

A signal that comes between Python's last look for one and the system call that waits is noted, and heard when that
call returns: for a server that never answers, never. About one Ctrl-C in two hundred was lost so on a busy machine.
So a thread that waits for nothing else interrupts the call once more. Must know no command.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from firectl.cli.app import App

_NUDGE = getattr(signal, "SIGURG", None)
"""Interrupts a system call and means nothing else to anybody; a missing one (Windows) leaves out the nudging."""
_NUDGES = (0.02, 0.2, 1.0)
"""Seconds between a signal, or a nudge, and the next nudge: the first of them can come too early as the signal did."""


def hear(app: App) -> None:
    """From now on both raise KeyboardInterrupt in the main thread, SIGTERM with `app.terminated`. What the caller of
    the process has ignored (`nohup`, `trap ''`) stays ignored."""

    def end(signum: int, frame: object) -> None:
        app.terminated = True
        raise KeyboardInterrupt

    # A job that is cancelled ends as Ctrl-C does: with what goes on without it, and not in silence.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    # It is an exception again, which it was not while `firectl.__main__` loaded all this.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if _NUDGE is not None:
        _nudge(_NUDGE)


def _nudge(by: signal.Signals) -> None:
    """Lets a thread interrupt the main one after each signal that has a handler."""
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
