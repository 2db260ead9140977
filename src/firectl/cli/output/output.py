"""Print what a command has to say: its result on stdout in the chosen format, everything else on stderr.

Must not depend on a resource or a format: formats.py makes the text, and this module prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import IO, Any

from firectl.cli.output import render
from firectl.cli.output.formats import FORMATS, JSON, PLAIN, View, to_json
from firectl.errors import FirectlError

__all__ = ["PLAIN", "Output", "View"]


class Output:
    """Print results and messages. `format`: a key of FORMATS. `quiet`: hide notes, but not warnings or errors."""

    def __init__(
        self,
        format: str = "text",
        *,
        quiet: bool = False,
        color: bool = True,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
    ) -> None:
        self.format = format
        self.quiet = quiet
        self.color = color
        self._warned: set[str] = set()
        self._stdout = stdout
        self._stderr = stderr

    @property
    def stdout(self) -> IO[str]:
        return self._stdout or sys.stdout

    @property
    def stderr(self) -> IO[str]:
        return self._stderr or sys.stderr

    def emit(self, result: object, view: View = PLAIN) -> None:
        """Write a result: a schema object, a mapping, or an iterable of these, written as one array or table."""
        if not (isinstance(result, Mapping) or hasattr(result, "to_document")):
            if not isinstance(result, Iterable):
                raise TypeError(f"cannot emit a {type(result).__name__}")
            result = [*result]
        encoding = (getattr(self.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
        self.raw(FORMATS[self.format].write(result, view, encoding != "utf8"))

    def stream(self, pieces: Iterable[str]) -> None:
        """Write text as it arrives. End the last line with a newline, also if an error interrupts the text."""
        ended = True
        try:
            for piece in pieces:
                self.raw(piece)
                ended = piece.endswith("\n") if piece else ended
        finally:
            if not ended:
                self.raw("\n")

    def raw(self, text: str) -> None:
        """Write text unchanged to stdout, for example lines for a shell to read."""
        self.stdout.write(text)
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Print a hint or a step of progress on stderr, unless quiet."""
        if not self.quiet:
            self.say(text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr. A repeated warning is shown once, because client and CLI may both report it."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"Warning: {render.visible(text)}")

    def warn_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.warn(text)

    def say(self, text: str) -> None:
        """Print one line on stderr, even when quiet."""
        # If stderr is closed, nobody reads this line. That is no reason to fail.
        try:
            self.stderr.write(f"{text}\n")
            self.stderr.flush()
        except (OSError, ValueError):
            pass

    def fail(self, error: FirectlError) -> None:
        """Print the error on stderr: one or two lines for people, one JSON object for `-o json`."""
        if self.format == JSON:
            self.say(to_json({"error": error_document(error)}, indent=None, ascii_only=True))
            return
        self.say(f"Error: {_one_line(error.message)} (code = {error.code.title})")
        if error.hint:
            self.say(f"Hint: {_one_line(error.hint)}")


def error_document(error: FirectlError) -> dict[str, Any]:
    """Return the error as `{"code", "message", "hint", "request_id", "http_status"}`, without fields that are None."""
    known = {
        "code": error.code.name,
        "message": error.message,
        "hint": error.hint,
        "request_id": getattr(error, "request_id", None),
        "http_status": getattr(error, "http_status", None),
    }
    return {field: value for field, value in known.items() if value is not None}


def _one_line(text: str) -> str:
    return " ".join(render.visible(line) for line in text.splitlines())
