"""Signals end a command wherever it waits. About `cli/interrupts.py`, which runs in separate processes here."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITS = """
import signal, socket, sys, threading
from firectl.cli.app import App
from firectl.cli.interrupts import hear
app = App()
hear(app)
near, far = socket.socketpair()
lock = threading.Lock()
lock.acquire()
number = signal.Signals[sys.argv[2]]
# A signal that another thread takes is noted, and interrupts nothing that the main one waits for: it is as late as
# one that comes a moment before the wait begins.
threading.Timer(0.2, lambda: signal.pthread_kill(threading.get_ident(), number)).start()
try:
    near.recv(1) if sys.argv[1] == "socket" else lock.acquire()
except KeyboardInterrupt:
    print("terminated" if app.terminated else "interrupted")
"""


@pytest.mark.parametrize(("kind", "says"), [("SIGINT", "interrupted"), ("SIGTERM", "terminated")])
@pytest.mark.parametrize("what", ["socket", "lock"])
def test_a_signal_just_before_a_wait_ends_the_wait(what: str, kind: str, says: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITS, what, kind], capture_output=True, text=True, timeout=10)
    assert (done.stdout, done.stderr) == (f"{says}\n", "")


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    script = (
        "import signal\n"
        "from firectl.cli.app import App\n"
        "from firectl.cli.interrupts import hear\n"
        "for number in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "hear(App())\n"
        "signal.raise_signal(signal.SIGINT)\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "print('still here')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout, done.stderr) == (0, "still here\n", "")
