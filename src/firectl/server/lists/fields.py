"""Which field does a path such as `status.code` or `autoscalingPolicy.loadTargets.default` mean? What is its value?

Masks, filters and orders write paths in snake_case or camelCase. Must not depend on any one kind of resource.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic.alias_generators import to_camel

from firectl.errors import invalid
from firectl.schemas.base import Int64, Wire

MESSAGE = "message"
MAP = "map"
LIST = "list"
TEXT = "text"
NUMBER = "number"
BOOLEAN = "boolean"
TIME = "time"
DURATION = "duration"
ANY = "any"


@dataclass(frozen=True)
class FieldPath:
    """A path to a field. `attributes` are its names from the resource to the field; the last may be a key of a map.

    `kind` is the type of the field, one of the constants above.
    """

    attributes: tuple[str, ...]
    kind: str
    schema: type[Wire] | None = None
    """The schema of a message, or of the messages in a list."""

    @property
    def text(self) -> str:
        """The path in snake_case."""
        return ".".join(self.attributes)


def find(schema: type[Wire], path: str) -> FieldPath:
    """Return the field that `path` means in resources of this schema; INVALID_ARGUMENT for an unknown field."""
    current: type[Wire] | None = schema
    attributes: list[str] = []
    kind = MESSAGE
    for part in path.split("."):
        if kind == MAP:
            attributes.append(part)
            kind, current = ANY, None
            continue
        name = _attribute(current, part)
        if name is None or current is None:
            raise invalid(f"{schema.__name__} has no field {path!r}")
        kind, current = _kind(current, name)
        attributes.append(name)
    return FieldPath(tuple(attributes), kind, current)


def read(resource: Wire, path: FieldPath) -> Any:
    """Return the value at the path, or None. For a path through a list of messages, return a list of values."""
    return _read(resource, path.attributes)


def present(schema: type[Wire], body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the snake_case path of each field in a JSON body, down to the fields of messages. Null counts as absent."""
    for key, value in body.items():
        name = _attribute(schema, key)
        if name is None or value is None:
            continue
        kind, inner = _kind(schema, name)
        if kind == MESSAGE and inner is not None and isinstance(value, Mapping):
            yield from (f"{name}.{path}" for path in present(inner, value))
        else:
            yield name


def pick(resource: Wire, paths: Sequence[FieldPath]) -> dict[str, Any]:
    """Return the JSON of a resource, with only these fields."""
    whole = resource.to_wire()
    picked: dict[str, Any] = {}
    for path in paths:
        keys = [to_camel(attribute) for attribute in path.attributes]
        if path.kind == ANY:
            keys[-1] = path.attributes[-1]
        value: Any = whole
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None:
            continue
        target = picked
        for key in keys[:-1]:
            target = target.setdefault(key, {})
        target[keys[-1]] = value
    return picked


def _read(value: Any, attributes: Sequence[str]) -> Any:
    for position, attribute in enumerate(attributes):
        if isinstance(value, list):
            return [_read(item, attributes[position:]) for item in value]
        value = value.get(attribute) if isinstance(value, Mapping) else getattr(value, attribute, None)
        if value is None:
            return None
    return value


def _attribute(schema: type[Wire] | None, part: str) -> str | None:
    names = schema.model_fields if schema is not None else ()
    return part if part in names else next((name for name in names if to_camel(name) == part), None)


_SIMPLE: Mapping[Any, str] = {
    bool: BOOLEAN,
    int: NUMBER,
    float: NUMBER,
    str: TEXT,
    datetime: TIME,
    timedelta: DURATION,
}
_INT64 = typing.get_args(Int64)[1]


def _kind(schema: type[Wire], name: str) -> tuple[str, type[Wire] | None]:
    info = schema.model_fields[name]
    return (NUMBER, None) if _INT64 in info.metadata else _kind_of(info.annotation)


def _kind_of(annotation: Any) -> tuple[str, type[Wire] | None]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return (NUMBER, None) if _INT64 in arguments else _kind_of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return _kind_of(next(argument for argument in arguments if argument is not type(None)))
    if origin is dict:
        return MAP, None
    if origin is list:
        return LIST, _kind_of(arguments[0])[1]
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return MESSAGE, annotation
    return _SIMPLE.get(annotation, ANY), None
