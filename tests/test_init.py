"""The package itself: `__init__.py` has the client, and loads it only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import firectl
from firectl.client.client import Client


def test_the_client_is_there_and_nothing_else() -> None:
    assert firectl.Client is Client
    with pytest.raises(AttributeError, match="module 'firectl' has no attribute 'Clientt'"):
        firectl.Clientt  # noqa: B018


def test_an_import_of_the_package_loads_no_client() -> None:
    code = "import sys, firectl; print(firectl.__version__, *(n for n in sys.modules if n.startswith('firectl.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == [firectl.__version__, "firectl._version"]
