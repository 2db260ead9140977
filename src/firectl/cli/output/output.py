"""What a command says: its result on stdout in the format asked for, everything else on stderr.

Must not depend on a resource or a format: formats.py writes, this file prints.
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
    """`format` is one of FORMATS. `quiet` silences notes, never warnings, errors or results."""

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
        """Writes a result: a schema, a mapping, or an iterable of those (a list, written as one array or table)."""
        if not (isinstance(result, Mapping) or hasattr(result, "to_document")):
            if not isinstance(result, Iterable):
                raise TypeError(f"cannot emit a {type(result).__name__}")
            result = [*result]
        encoding = (getattr(self.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
        self.raw(FORMATS[self.format].write(result, view, encoding != "utf8"))

    def stream(self, pieces: Iterable[str]) -> None:
        """Writes text as it arrives, and ends the line, before an error too."""
        ended = True
        try:
            for piece in pieces:
                self.raw(piece)
                ended = piece.endswith("\n") if piece else ended
        finally:
            if not ended:
                self.raw("\n")

    def raw(self, text: str) -> None:
        """Writes text unchanged, such as lines for a shell to read."""
        self.stdout.write(text)
        self.stdout.flush()

    def note(self, text: str) -> None:
        """A hint or a step of progress, for people."""
        if not self.quiet:
            self.say(text)

    def warn(self, text: str) -> None:
        """Something that may be wrong. A repeated warning is shown once: client and CLI may both notice it."""
        if text not in self._warned:
            self._warned.add(text)
            self.say(f"Warning: {render.visible(text)}")

    def warn_all(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.warn(text)

    def say(self, text: str) -> None:
        """One line on stderr, even when quiet."""
        # A caller that closed stderr does not read it; the result still counts.
        try:
            self.stderr.write(f"{text}\n")
            self.stderr.flush()
        except (OSError, ValueError):
            pass

    def fail(self, error: FirectlError) -> None:
        """The error, as the last thing on stderr: two lines for people, one JSON object for scripts."""
        if self.format == JSON:
            self.say(to_json({"error": error_document(error)}, indent=None, ascii_only=True))
            return
        self.say(f"Error: {_one_line(error.message)} (code = {error.code.title})")
        if error.hint:
            self.say(f"Hint: {_one_line(error.hint)}")


def error_document(error: FirectlError) -> dict[str, Any]:
    """`{"code", "message", "hint", "request_id", "http_status"}`, without unknown fields."""
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
