"""Does a resource match a filter? Turns the tree from `filter_text` into a test for resources of one schema.

Must not depend on any one kind of resource or on SQL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from firectl.errors import ApiError
from firectl.schemas.base import Wire
from firectl.server.lists import fields
from firectl.server.lists.fields import FieldPath
from firectl.server.lists.filter_text import And, Bare, Node, Not, Or, Restriction, Value, read_filter, wrong

Predicate = Callable[[Wire], bool]

_BARE_LOOKS_IN = ("name", "display_name", "description")


def parse_filter(text: str, schema: type[Wire]) -> Predicate:
    """Return a test for resources of `schema`; an empty filter matches all. INVALID_ARGUMENT if the filter is wrong."""
    node = read_filter(text)
    return (lambda resource: True) if node is None else _predicate(node, schema)


def _predicate(node: Node, schema: type[Wire]) -> Predicate:
    match node:
        case And(parts):
            all_of = [_predicate(part, schema) for part in parts]
            return lambda resource: all(test(resource) for test in all_of)
        case Or(parts):
            any_of = [_predicate(part, schema) for part in parts]
            return lambda resource: any(test(resource) for test in any_of)
        case Not(part):
            inner = _predicate(part, schema)
            return lambda resource: not inner(resource)
        case Bare(value):
            return _bare(value.text.casefold())
        case Restriction(name, sign, value, at):
            try:
                path = fields.find(schema, name)
            except ApiError as error:
                raise wrong(error.message, at) from None
            return _comparison(path, sign, value)


def _bare(wanted: str) -> Predicate:
    """Return the test for a word without a field: whether the name, display name or description contains the word."""
    return lambda resource: any(
        wanted in str(getattr(resource, name, None) or "").casefold() for name in _BARE_LOOKS_IN
    )


def _comparison(path: FieldPath, sign: str, value: Value) -> Predicate:
    if sign == ":" and value.is_any:
        return lambda resource: fields.read(resource, path) not in (None, "", [], {})
    if path.kind in (fields.LIST, fields.MAP, fields.MESSAGE):
        if sign != ":":
            raise wrong(f"{path.text} holds several values: use {path.text}:VALUE", value.at)
        return lambda resource: _holds(fields.read(resource, path), value.text)
    try:
        wanted = _LITERALS.get(path.kind, str)(value.text)
    except (ValueError, OverflowError):
        raise wrong(f"{path.text} is a {path.kind}, got {value.text!r}", value.at) from None
    default = _DEFAULTS.get(path.kind)

    def compare(resource: Wire) -> bool:
        found = fields.read(resource, path)
        values = found if isinstance(found, list) else [found]
        return any(_compare(default if v is None else v, sign, wanted) for v in values)

    return compare


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _time(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta:
    if not text.endswith("s"):
        raise ValueError
    return timedelta(seconds=float(text[:-1]))


_LITERALS: Mapping[str, Callable[[str], Any]] = {
    fields.NUMBER: float,
    fields.BOOLEAN: _boolean,
    fields.TIME: _time,
    fields.DURATION: _duration,
}
# The value of an absent field, as in protobuf.
_DEFAULTS: Mapping[str, Any] = {fields.NUMBER: 0, fields.BOOLEAN: False, fields.TEXT: ""}
_SIGNS: Mapping[str, Callable[[Any, Any], bool]] = {
    ":": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _compare(found: Any, sign: str, wanted: Any) -> bool:
    if isinstance(wanted, str) and isinstance(found, int | float):
        wanted = _number_like(wanted, found)  # the value of a map, whose schema has no type for it
    if isinstance(wanted, str):
        text = "" if found is None else str(found)
        match sign:
            case ":":
                return wanted.casefold() in text.casefold()
            case "=" | "!=":
                return _like(text, wanted) == (sign == "=")
        return _SIGNS[sign](text, wanted)
    if found is None:
        return sign == "!="
    return _SIGNS[sign](float(found) if isinstance(wanted, float) else found, wanted)


def _number_like(wanted: str, found: float) -> float | str:
    try:
        return _boolean(wanted) if isinstance(found, bool) else float(wanted)
    except ValueError:
        return wanted


def _like(found: str, wanted: str) -> bool:
    """Whether the texts are equal, where a `*` at the start or end of `wanted` matches any text."""
    if len(wanted) > 1 and wanted.startswith("*") and wanted.endswith("*"):
        return wanted[1:-1] in found
    if wanted.startswith("*"):
        return found.endswith(wanted[1:])
    if wanted.endswith("*"):
        return found.startswith(wanted[:-1])
    return found == wanted


def _holds(found: Any, wanted: str) -> bool:
    """Apply `:` to a field with several values: whether a list has this item, a map this key, a message this field."""
    if isinstance(found, Wire):
        return wanted in found.model_fields_set
    if isinstance(found, Mapping):
        return wanted in found
    return any(str(item) == wanted for item in found or ())
