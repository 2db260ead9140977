"""What a command says: its result on stdout in the format asked for, everything else on stderr.

The only file that knows formats. Must not know any resource: what it shows of one is a View.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from firectl.cli.output import render
from firectl.errors import FirectlError, InputError

Document = Mapping[str, Any]


class View(NamedTuple):
    """How one kind of result is shown to people; scripts get the document itself.

    `columns`: (header, dotted path) of each column of a list. `counts`: dotted paths that text shows as 0 when the wire
    left them out. `maps`: fields whose keys are data. `flags`: the arguments that would create the resource again.
    `text`: the lines of a result that is no resource.
    """

    columns: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    maps: frozenset[str] = frozenset()
    flags: Callable[[Document], list[str]] | None = None
    text: Callable[[Document], Iterable[str]] | None = None


PLAIN = View()


class Output:
    """`format` is text, json, yaml, name or flag. `quiet` silences notes, never warnings, errors or results."""

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
        if isinstance(result, Mapping) or hasattr(result, "to_document"):
            self._write(self._one(result, view))
        elif isinstance(result, Iterable):
            self._write(self._many(list(result), view))
        else:
            raise TypeError(f"cannot emit a {type(result).__name__}")

    def stream(self, pieces: Iterable[str]) -> None:
        """Writes text as it arrives, and ends the line."""
        ended = True
        for piece in pieces:
            self._write(piece)
            ended = piece.endswith("\n") if piece else ended
        if not ended:
            self._write("\n")

    def raw(self, text: str) -> None:
        """Writes text unchanged, such as lines for a shell to read."""
        self._write(text)

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
        if self.format == "json":
            self.say(_json({"error": error_document(error)}, indent=None, ascii_only=True))
            return
        self.say(f"Error: {_one_line(error.message)} (code = {error.code.title})")
        if error.hint:
            self.say(f"Hint: {_one_line(error.hint)}")

    def _write(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _one(self, result: object, view: View) -> str:
        document = _document(result)
        if self.format == "json":
            return self._json(document)
        if self.format == "yaml":
            return _yaml(document)
        if self.format == "name":
            return f"{_name(document)}\n"
        if self.format == "flag":
            return f"{_flags(document, view)}\n"
        if view.text is not None:
            return "".join(f"{line}\n" for line in view.text(document))
        shown = with_counts(_in_order(result, document), view.counts)
        return "".join(f"{line}\n" for line in render.lines(shown, view.maps))

    def _many(self, results: Sequence[object], view: View) -> str:
        documents = [_document(result) for result in results]
        if self.format == "json":
            return self._json(documents)
        if self.format == "yaml":
            return _yaml(documents)
        if self.format == "name":
            return "".join(f"{_name(document)}\n" for document in documents)
        if self.format == "flag":
            return "".join(f"{_flags(document, view)}\n" for document in documents)
        headers = [header for header, _ in view.columns]
        rows = [[_cell(document, path, path in view.counts) for _, path in view.columns] for document in documents]
        return "".join(f"{line}\n" for line in render.table(headers, rows))

    def _json(self, data: object) -> str:
        encoding = (getattr(self.stdout, "encoding", None) or "utf-8").lower().replace("-", "")
        return _json(data, indent=2, ascii_only=encoding != "utf8") + "\n"


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


def _document(result: object) -> Document:
    if isinstance(result, Mapping):
        return result
    document: Document = result.to_document()  # type: ignore[attr-defined]
    return document


def _in_order(result: object, document: Document) -> dict[str, Any]:
    """The document with an empty place for every field of the schema: what text adds stands where it belongs."""
    fields = getattr(type(result), "model_fields", {})
    return {**{field: document.get(field) for field in fields}, **document}


def with_counts(document: Document, counts: Iterable[str]) -> dict[str, Any]:
    """The document with 0 for every count that the wire left out."""
    filled = dict(document)
    for path in counts:
        first, _, rest = path.partition(".")
        if rest:
            inner = filled.get(first)
            filled[first] = with_counts(inner if isinstance(inner, Mapping) else {}, [rest])
        elif filled.get(first) is None:
            filled[first] = 0
    return filled


def _cell(document: Document, path: str, is_count: bool) -> object:
    value = render.dig(document, path)
    return 0 if value is None and is_count else value


def _name(document: Document) -> str:
    name = document.get("name") or document.get("key_id")
    if not isinstance(name, str):
        raise InputError("the result has no name", hint="-o json")
    return render.visible(name)


def _flags(document: Document, view: View) -> str:
    import shlex

    if view.flags is None:
        raise InputError("there are no flags that create such a resource", hint="-o json")
    return shlex.join(view.flags(document))


def _json(data: object, *, indent: int | None, ascii_only: bool) -> str:
    import json

    return json.dumps(data, indent=indent, ensure_ascii=ascii_only)


def _yaml(data: object) -> str:
    from firectl.cli.output.yaml import to_yaml

    return to_yaml(data)


def _one_line(text: str) -> str:
    return " ".join(render.visible(line) for line in text.splitlines())
