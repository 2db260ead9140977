"""Ctrl-C in the first moments of the process: `__main__.py`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from firectl._version import __version__

INTERRUPTED_WHILE_LOADING = """
import os, signal, sys
{before}
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from firectl.__main__ import main
main()
"""


def run(module: str, before: str = "") -> tuple[int, str, str]:
    script = INTERRUPTED_WHILE_LOADING.format(module=module, before=before)
    done = subprocess.run([sys.executable, "-c", script, "version"], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("module", ["firectl.cli.main", "click", "firectl.cli.tree"])
def test_ctrl_c_while_the_program_is_loaded_is_130_without_a_traceback(module: str) -> None:
    assert run(module) == (130, "", "Error: interrupted (code = Cancelled)\n")


def test_an_interrupt_that_the_parent_ignores_stays_ignored() -> None:
    assert run("click", "signal.signal(signal.SIGINT, signal.SIG_IGN)") == (0, f"firectl {__version__}\n", "")


def test_python_m_firectl_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "firectl", "version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"firectl {__version__}\n")
