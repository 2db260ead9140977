"""What holds for every test."""

from __future__ import annotations

import os
import signal

import pytest

MOST_WORKERS = 4


def pytest_configure() -> None:
    # A runner that starts the tests in the background leaves Ctrl-C ignored, and every child inherits that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite is shared out over the cores, a file at a time; what is chosen by hand runs in one process.

    Files share nothing: homes are temporary folders, ports are free ones, processes are watched from their parent.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    # A worker comes by here as well: it must not start workers of its own.
    whole = whole and "PYTEST_XDIST_WORKER" not in os.environ
    if whole and config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None:
        config.option.numprocesses = min(os.cpu_count() or 1, MOST_WORKERS)
        config.option.dist = "loadfile"
