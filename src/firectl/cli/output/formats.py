"""Convert a result to text in a format: one entry of FORMATS for each value of `-o`.

Prints nothing. Must not depend on one kind of resource: a View defines how that kind is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from firectl.cli.output import render
from firectl.errors import InputError

Document = Mapping[str, Any]


class View(NamedTuple):
    """Define how one kind of result is shown to people. Scripts get the document itself.

    `columns`: (header, dotted path) of each column of a list. `counts`: dotted paths shown as 0 if the API omits them.
    `maps`: fields whose keys are data. `flags`: returns the arguments that would create the resource again.
    `text`: returns the lines of a result that is not a resource.
    """

    columns: tuple[tuple[str, str], ...] = ()
    counts: tuple[str, ...] = ()
    maps: frozenset[str] = frozenset()
    flags: Callable[[Document], list[str]] | None = None
    text: Callable[[Document], Iterable[str]] | None = None


PLAIN = View()


class Format(NamedTuple):
    """A value of `-o`. `write(result, view, ascii_only)` returns the text of one result or of a list of results.

    `needs`: what a result must have for this format: a name, or flags that create it again.
    """

    write: Callable[[object, View, bool], str]
    needs: Literal["", "name", "flags"] = ""


def document_of(result: object) -> Document:
    """Return a schema object or a mapping as JSON-like data in snake_case."""
    if isinstance(result, Mapping):
        return result
    document: Document = result.to_document()  # type: ignore[attr-defined]
    return document


def with_counts(document: Document, counts: Iterable[str]) -> dict[str, Any]:
    """Return the document with 0 for every field of `counts` that the API omitted."""
    return render.nested({path: 0 for path in counts if render.dig(document, path) is None}, document)


def to_json(data: object, *, indent: int | None, ascii_only: bool) -> str:
    import json

    return json.dumps(data, indent=indent, ensure_ascii=ascii_only)


def _data(result: object) -> object:
    return [document_of(one) for one in result] if isinstance(result, list) else document_of(result)


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _each(result: object) -> Iterator[Document]:
    return map(document_of, result if isinstance(result, list) else [result])


def _text(result: object, view: View, ascii_only: bool) -> str:
    if isinstance(result, list):
        headers = [header for header, _ in view.columns]
        filled = [with_counts(document, view.counts) for document in _each(result)]
        return _lines(render.table(headers, [[render.dig(row, path) for _, path in view.columns] for row in filled]))
    document = document_of(result)
    if view.text is not None:
        return _lines(view.text(document))
    # Include every field of the schema in order, so that an added count appears at its usual position.
    fields = getattr(type(result), "model_fields", {})
    in_order = {**{field: document.get(field) for field in fields}, **document}
    return _lines(render.lines(with_counts(in_order, view.counts), view.maps))


def _json(result: object, view: View, ascii_only: bool) -> str:
    return to_json(_data(result), indent=2, ascii_only=ascii_only) + "\n"


def _yaml(result: object, view: View, ascii_only: bool) -> str:
    from firectl.cli.output.yaml import to_yaml

    return to_yaml(_data(result))


def _name(result: object, view: View, ascii_only: bool) -> str:
    return _lines(_name_of(document) for document in _each(result))


def _flag(result: object, view: View, ascii_only: bool) -> str:
    return _lines(_flags_of(document, view) for document in _each(result))


JSON = "json"
FORMATS: Mapping[str, Format] = {
    "text": Format(_text),
    JSON: Format(_json),
    "yaml": Format(_yaml),
    "name": Format(_name, needs="name"),
    "flag": Format(_flag, needs="flags"),
}

RESOURCE = frozenset(FORMATS)
NAMED = frozenset(name for name in FORMATS if FORMATS[name].needs != "flags")
"""Formats of a result that has a name, but that no command can create."""
DOCUMENT = frozenset(name for name in FORMATS if not FORMATS[name].needs)
"""Formats of a result that is not a resource: it has no name, and no flags create it."""
TEXT = frozenset(("text",))


def _name_of(document: Document) -> str:
    name = document.get("name") or document.get("key_id")
    if not isinstance(name, str):
        raise InputError("the result has no name", hint="-o json")
    return render.visible(name)


def _flags_of(document: Document, view: View) -> str:
    import shlex

    if view.flags is None:
        raise InputError("no flags create such a resource", hint="-o json")
    return shlex.join(view.flags(document))
