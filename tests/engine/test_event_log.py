"""Events go to stderr, one line each, and only when asked for."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from firectl.engine.event_log import log_event
from firectl.engine.options import EngineOptions


def test_an_event_is_one_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    options = EngineOptions(Path("m"), "m")
    log_event(options, "silent")
    assert capsys.readouterr().err == ""
    log_event(replace(options, log_events=True), "two\nlines")
    printed = capsys.readouterr()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO two lines\n", printed.err)
    assert printed.out == ""
