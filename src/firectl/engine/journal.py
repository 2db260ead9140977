"""What happened to a replica, in lines on stderr: its log, where the platform keeps it. Silent unless asked for."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from firectl.engine.options import EngineOptions


def note(options: EngineOptions, text: str) -> None:
    """One line with the time, marked INFO: whoever looks for an engine's last words must not take it for these."""
    if options.log_events:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(f"{now} INFO {' '.join(text.splitlines())}", file=sys.stderr, flush=True)  # noqa: T201
