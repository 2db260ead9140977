"""What an import of `names/__init__.py` loads."""

from __future__ import annotations

import subprocess
import sys


def test_importing_names_loads_nothing_slow_and_nothing_that_explains_mistakes() -> None:
    code = "import sys, firectl.names, firectl.names as n; n.check_route('a/b#c/d'); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "firectl.names.routes" in loaded
    third_party = {"click", "httpx", "pydantic", "rich", "torch"}
    slow = {"urllib.parse", "json", "configparser", "logging", "asyncio", "subprocess", "unicodedata", "random"}
    mistakes = {"firectl.names.draft", "firectl.names.mistakes", "firectl.names.route_mistakes", "firectl.config"}
    assert (third_party | slow | mistakes) & set(loaded) == set()
