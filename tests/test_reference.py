"""The page of commands says what the commands say."""

from __future__ import annotations

import runpy
from pathlib import Path

TOOL = Path(__file__).parents[1] / "tools" / "make_reference.py"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    tool = runpy.run_path(str(TOOL))
    written = tool["PAGE"].read_text(encoding="utf-8")
    assert written == tool["reference"](), "docs/commands.md is stale; this mends it: python tools/make_reference.py"
