"""Format a document (JSON-like data in snake_case) as `Label: value` lines or a table. Find fields by dotted path.

Prints nothing. Must not depend on one kind of resource.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

INDENT = "  "


def label(field: str) -> str:
    """Convert a field name to a label: `min_replica_count` → `Min Replica Count`."""
    return " ".join(word[:1].upper() + word[1:] for word in field.split("_"))


def scalar(value: object) -> str:
    """Format a value on one line: `true` or `false`, empty for None, control characters escaped."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return visible(str(value))


def visible(text: str) -> str:
    """Escape control characters, so that text cannot fake a line, move the cursor or colour the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def lines(document: Mapping[str, object], maps: frozenset[str] = frozenset(), indent: str = "") -> Iterator[str]:
    """Yield one line for each field. Nested documents are indented under their label; empty fields are left out.

    `maps` are fields whose keys are data, not field names.
    """
    for field, value in document.items():
        if isinstance(value, Mapping):
            if value:
                yield f"{indent}{label(field)}:"
                yield from _pairs(value, indent + INDENT) if field in maps else lines(value, maps, indent + INDENT)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from _items(field, value, maps, indent)
        elif value is not None and value != "":
            yield f"{indent}{label(field)}: {scalar(value)}"


def _pairs(values: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in values.items():
        yield f"{indent}{visible(key)}: {scalar(value)}"


def _items(field: str, values: Sequence[object], maps: frozenset[str], indent: str) -> Iterator[str]:
    """Yield a list of nested documents as lines under its label, and a list of other values on one line."""
    messages = [value for value in values if isinstance(value, Mapping)]
    if messages:
        yield f"{indent}{label(field)}:"
        for message in messages:
            yield from lines(message, maps, indent + INDENT)
    elif values:
        yield f"{indent}{label(field)}: {', '.join(map(scalar, values))}"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table: columns as wide as their widest cell, two spaces between, `-` for an empty value."""
    cells = [tuple(headers), *(tuple(scalar(value) or "-" for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def dig(document: Mapping[str, object], path: str) -> object:
    """Return the value at a dotted path. None if any step of the path is missing."""
    found: object = document
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def nested(fields: Mapping[str, Any], onto: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Convert {dotted path: value} to a document. Values from `onto` are kept where `fields` has none."""
    document: dict[str, Any] = dict(onto or {})
    for path, value in fields.items():
        first, _, rest = path.partition(".")
        if rest:
            inner = document.get(first)
            document[first] = nested({rest: value}, inner if isinstance(inner, Mapping) else None)
        else:
            document[first] = value
    return document
