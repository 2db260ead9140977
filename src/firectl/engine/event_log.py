"""Write one line to stderr for each start, load and unload. The platform stores stderr as the replica's log."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from firectl.engine.options import EngineOptions


def log_event(options: EngineOptions, text: str) -> None:
    """Print the text with the time, if --log-events is set. INFO distinguishes it from a failed engine's error."""
    if options.log_events:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(f"{now} INFO {' '.join(text.splitlines())}", file=sys.stderr, flush=True)  # noqa: T201
