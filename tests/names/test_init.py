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


def test_every_name_of_the_package_is_there_and_no_other() -> None:
    code = "import firectl.names as n; print([hasattr(n, name) for name in n.__all__], hasattr(n, 'COLLECTIONS'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == f"{[True] * 12} False\n"


def test_the_table_of_nouns_needs_nothing_else_of_the_package() -> None:
    code = "import sys, firectl.names.nouns; print(*(n for n in sys.modules if n.startswith('firectl.names.')))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed == "firectl.names.nouns\n"
