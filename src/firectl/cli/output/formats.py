"""How is a result written? One entry for each value of `-o`.

Pure: results in, text out. Must not know any resource: what it shows of one is a View.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from firectl.cli.output import render
from firectl.errors import InputError

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


class Format(NamedTuple):
    """`write(result, view, ascii_only)` is the text of one result, or of a list of them, to the end of its last line.

    `needs` is what only some resources have: a name, or the flags that create one again.
    """

    write: Callable[[object, View, bool], str]
    needs: Literal["", "name", "flags"] = ""


def document_of(result: object) -> Document:
    """A schema or a mapping as JSON-like data in snake_case."""
    if isinstance(result, Mapping):
        return result
    document: Document = result.to_document()  # type: ignore[attr-defined]
    return document


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
        rows = [[_cell(document, path, path in view.counts) for _, path in view.columns] for document in _each(result)]
        return _lines(render.table(headers, rows))
    document = document_of(result)
    if view.text is not None:
        return _lines(view.text(document))
    # An empty place for every field of the schema: a count that text adds stands where it belongs.
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


FORMATS: Mapping[str, Format] = {
    "text": Format(_text),
    "json": Format(_json),
    "yaml": Format(_yaml),
    "name": Format(_name, needs="name"),
    "flag": Format(_flag, needs="flags"),
}

RESOURCE = frozenset(FORMATS)
NAMED = frozenset(name for name in FORMATS if FORMATS[name].needs != "flags")
"""For what has a name and is not created here."""
DOCUMENT = frozenset(name for name in FORMATS if not FORMATS[name].needs)
"""For what is no resource: it has neither a name nor flags that would create it."""
TEXT = frozenset(("text",))


def _cell(document: Document, path: str, is_count: bool) -> object:
    value = render.dig(document, path)
    return 0 if value is None and is_count else value


def _name_of(document: Document) -> str:
    name = document.get("name") or document.get("key_id")
    if not isinstance(name, str):
        raise InputError("the result has no name", hint="-o json")
    return render.visible(name)


def _flags_of(document: Document, view: View) -> str:
    import shlex

    if view.flags is None:
        raise InputError("there are no flags that create such a resource", hint="-o json")
    return shlex.join(view.flags(document))
