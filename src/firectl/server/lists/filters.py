"""Does a resource match a filter? What `filter_text` reads becomes a test of resources of one schema.

Must not know any one resource, nor SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from firectl.errors import ApiError
from firectl.schemas.base import Wire
from firectl.server.lists import fields
from firectl.server.lists.fields import FieldPath
from firectl.server.lists.filter_text import (
    MAX_LENGTH,
    And,
    Bare,
    Node,
    Not,
    Or,
    Restriction,
    Value,
    read_filter,
    wrong,
)

__all__ = ["MAX_LENGTH", "parse_filter"]

Predicate = Callable[[Wire], bool]

_BARE_LOOKS_IN = ("name", "display_name", "description")


def parse_filter(text: str, schema: type[Wire]) -> Predicate:
    """The test that a filter means for resources of `schema`. Empty: all match. INVALID_ARGUMENT saying where."""
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
            return _bare(value.text)
        case Restriction(name, operator, value, at):
            try:
                path = fields.find(schema, name)
            except ApiError as error:
                raise wrong(error.message, at) from None
            return _comparison(path, operator, value)


def _comparison(path: FieldPath, operator: str, value: Value) -> Predicate:
    if operator == ":" and value.is_any:
        return lambda resource: fields.read(resource, path) not in (None, "", [], {})
    if path.kind in (fields.LIST, fields.MAP, fields.MESSAGE):
        if operator != ":":
            raise wrong(f"{path.text} holds several values: use {path.text}:VALUE", value.at)
        return lambda resource: _holds(fields.read(resource, path), value.text)
    wanted = _literal(path, value)
    default = _DEFAULTS.get(path.kind)

    def compare(resource: Wire) -> bool:
        found = fields.read(resource, path)
        values = found if isinstance(found, list) else [found]
        return any(_compare(default if v is None else v, operator, wanted) for v in values)

    return compare


def _literal(path: FieldPath, value: Value) -> Any:
    """The value in the field's type."""
    try:
        return _LITERALS.get(path.kind, str)(value.text)
    except (ValueError, OverflowError):
        raise wrong(f"{path.text} is a {path.kind}, {value.text!r} is none", value.at) from None


def _bare(text: str) -> Predicate:
    """A word without a field: whether it is in what people read of a resource."""
    wanted = text.casefold()

    def matches(resource: Wire) -> bool:
        return any(wanted in str(getattr(resource, name, None) or "").casefold() for name in _BARE_LOOKS_IN)

    return matches


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
# An absent field reads as its type's zero, as in protobuf.
_DEFAULTS: Mapping[str, Any] = {fields.NUMBER: 0, fields.BOOLEAN: False, fields.TEXT: ""}


def _compare(found: Any, operator: str, wanted: Any) -> bool:
    if isinstance(wanted, str) and isinstance(found, int | float):
        wanted = _number_like(wanted, found)  # a map's value, whose type only it knows
    if isinstance(wanted, str):
        return _compare_text("" if found is None else str(found), operator, wanted)
    if found is None:
        return operator == "!="
    if isinstance(wanted, float):
        found = float(found)
    match operator:
        case "=" | ":":
            return bool(found == wanted)
        case "!=":
            return bool(found != wanted)
        case "<":
            return bool(found < wanted)
        case "<=":
            return bool(found <= wanted)
        case ">":
            return bool(found > wanted)
        case _:
            return bool(found >= wanted)


def _number_like(wanted: str, found: float) -> float | str:
    try:
        return _boolean(wanted) if isinstance(found, bool) else float(wanted)
    except ValueError:
        return wanted


def _compare_text(found: str, operator: str, wanted: str) -> bool:
    match operator:
        case ":":
            return wanted.casefold() in found.casefold()
        case "=":
            return _like(found, wanted)
        case "!=":
            return not _like(found, wanted)
        case "<":
            return found < wanted
        case "<=":
            return found <= wanted
        case ">":
            return found > wanted
        case _:
            return found >= wanted


def _like(found: str, wanted: str) -> bool:
    """Equality, where a `*` at either end stands for anything."""
    if len(wanted) > 1 and wanted.startswith("*") and wanted.endswith("*"):
        return wanted[1:-1] in found
    if wanted.startswith("*"):
        return found.endswith(wanted[1:])
    if wanted.endswith("*"):
        return found.startswith(wanted[:-1])
    return found == wanted


def _holds(found: Any, wanted: str) -> bool:
    """`:` on what holds several: a list's item, a map's key, a message's field."""
    if found is None:
        return False
    if isinstance(found, Wire):
        return wanted in found.model_fields_set
    if isinstance(found, Mapping):
        return wanted in found
    return any(str(item) == wanted for item in found)
