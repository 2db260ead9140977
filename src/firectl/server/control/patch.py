"""What does a PATCH change? The mask's fields, or without a mask every field that the body carries; the others stay.

Must not know any one resource: which fields may change comes as `Rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firectl.errors import ApiError, Code
from firectl.schemas.base import Wire
from firectl.server.lists import fields
from firectl.server.lists.fields import FieldPath

W = TypeVar("W", bound=Wire)


@dataclass(frozen=True)
class Rules:
    """Top-level fields that a caller may change, and those that only the server sets. All others never change.

    `same` says for some of the latter whether what was sent means what is stored, where they are not spelled alike.
    """

    mutable: frozenset[str]
    output_only: frozenset[str]
    same: Mapping[str, Callable[[Any, Any], bool]] = field(default_factory=dict)


def apply(stored: W, body: W, sent: Mapping[str, Any], mask: str | None, rules: Rules) -> W:
    """`stored` with what a PATCH changes. `body` is `sent`, the JSON, as a resource.

    INVALID_ARGUMENT for a path that is not there, or a field that cannot change and is not equal to what is stored.
    """
    schema = type(stored)
    document = stored.model_dump()
    for path in _paths(schema, sent, mask, rules):
        top = path.attributes[0]
        new = fields.read(body, path)
        if top in rules.mutable:
            _set(document, path, new.model_dump() if isinstance(new, Wire) else new)
        elif not _same(rules, path, fields.read(stored, path), new):
            raise ApiError(Code.INVALID_ARGUMENT, f"{path.text} cannot be changed")
    return schema.model_validate(document)


def _paths(schema: type[Wire], sent: Mapping[str, Any], mask: str | None, rules: Rules) -> list[FieldPath]:
    named = [path.strip() for path in (mask or "").split(",") if path.strip()]
    if not named:
        found = [fields.find(schema, path) for path in fields.present(schema, sent)]
        return [path for path in found if path.attributes[0] not in rules.output_only]
    if named == ["*"]:
        return [fields.find(schema, name) for name in sorted(rules.mutable)]
    paths: list[FieldPath] = []
    for text in named:
        try:
            path = fields.find(schema, text)
        except ApiError as error:
            raise ApiError(Code.INVALID_ARGUMENT, f"update_mask: {error.message}") from None
        if path.attributes[0] in rules.output_only:
            raise ApiError(Code.INVALID_ARGUMENT, f"update_mask: {path.text} is set by the server")
        paths.append(path)
    return paths


def _same(rules: Rules, path: FieldPath, stored: Any, new: Any) -> bool:
    # Zero, false and empty are how protobuf spells absent.
    if (stored or None) == (new or None):
        return True
    same = rules.same.get(path.text)
    return same is not None and same(stored, new)


def _set(document: dict[str, Any], path: FieldPath, value: Any) -> None:
    target = document
    for attribute in path.attributes[:-1]:
        if target.get(attribute) is None:
            target[attribute] = {}
        target = target[attribute]
    if value is None and path.kind == fields.ANY:
        target.pop(path.attributes[-1], None)
    else:
        target[path.attributes[-1]] = value
