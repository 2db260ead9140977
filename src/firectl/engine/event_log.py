"""One line on stderr for each start, load and unload. The platform keeps them as the replica's log."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from firectl.engine.options import EngineOptions


def log_event(options: EngineOptions, text: str) -> None:
    """Print the text with the time, if --log-events is set. INFO tells it apart from the error of a failed engine."""
    if options.log_events:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        print(f"{now} INFO {' '.join(text.splitlines())}", file=sys.stderr, flush=True)  # noqa: T201
