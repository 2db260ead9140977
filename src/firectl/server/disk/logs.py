"""Where does the platform log? To logs/platform.log, whose size is limited and which has no secrets."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

_KEPT_BYTES = 10 << 20
_KEPT_FILES = 3
_LOOKS_SECRET = re.compile(
    r"(?P<before>\bbearer\s+|\bsignature=|\bauthorization['\"]?[:=]\s*['\"]?(?:bearer\s+)?)[^\s'\"&,)}\]]+|\bfw_[\w-]{16,}",
    re.IGNORECASE,
)


class RedactingFormatter(logging.Formatter):
    """Replaces known secrets, and text that looks like a secret, in a log record and its traceback."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._secrets = tuple(secret for secret in secrets if secret)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self._secrets:
            text = text.replace(secret, "<redacted>")
        return _LOOKS_SECRET.sub(lambda match: f"{match['before'] or ''}<redacted>", text)


class _LogFile(RotatingFileHandler):
    """A log file that formats and writes each record once, because every request logs a record.

    The handler of the standard library formats each record twice and calls `stat`, to rotate one line earlier.
    """

    def shouldRollover(self, record: logging.LogRecord) -> bool:
        if self.stream is None:  # the last rotation failed
            self.stream = self._open()
        return self.stream.tell() >= self.maxBytes


def set_up(path: Path, secrets: Iterable[str], echo: bool) -> None:
    """Log to the file; with `echo` also to stderr, for a platform in the foreground."""
    formatter = RedactingFormatter(secrets)
    handlers: list[logging.Handler] = [_LogFile(path, maxBytes=_KEPT_BYTES, backupCount=_KEPT_FILES)]
    if echo:
        handlers.append(logging.StreamHandler())
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
