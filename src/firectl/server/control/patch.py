"""What does a PATCH change? The fields that its mask names, or, without a mask, every field in its body.

Must not depend on any one kind of resource: `PatchRules` say which fields may change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from firectl.errors import ApiError, invalid
from firectl.schemas.base import Wire
from firectl.server.lists import fields
from firectl.server.lists.fields import FieldPath

W = TypeVar("W", bound=Wire)


@dataclass(frozen=True)
class PatchRules:
    """The top-level fields that a caller may change (`mutable`), and those that only the server sets (`output_only`).

    All other fields never change. For a field whose value can be spelled in several ways, `same` has the function that
    tells whether the stored and the sent value are equal.
    """

    mutable: frozenset[str]
    output_only: frozenset[str]
    same: Mapping[str, Callable[[Any, Any], bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class Patch(Generic[W]):
    """A PATCH request: its `mask`, its body as a resource (`body`), and its body as JSON (`sent`)."""

    body: W
    sent: Mapping[str, Any]
    mask: str = ""


def apply(stored: W, patch: Patch[W], rules: PatchRules) -> W:
    """Return `stored` with the PATCH applied. INVALID_ARGUMENT for an unknown path or a new value of a fixed field."""
    schema = type(stored)
    document = stored.model_dump()
    for path in _paths(schema, patch.sent, patch.mask, rules):
        top = path.attributes[0]
        new = fields.read(patch.body, path)
        if top in rules.mutable:
            _set(document, path, new.model_dump() if isinstance(new, Wire) else new)
        elif not _same(rules, path, fields.read(stored, path), new):
            raise invalid(f"{path.text} cannot be changed")
    return schema.model_validate(document)


def _paths(schema: type[Wire], sent: Mapping[str, Any], mask: str, rules: PatchRules) -> list[FieldPath]:
    named = [path.strip() for path in mask.split(",") if path.strip()]
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
            raise invalid(f"update_mask: {error.message}") from None
        if path.attributes[0] in rules.output_only:
            raise invalid(f"update_mask: {path.text} is set by the server")
        paths.append(path)
    return paths


def _same(rules: PatchRules, path: FieldPath, stored: Any, new: Any) -> bool:
    # As in protobuf, zero, false and empty values count as absent.
    if (stored or None) == (new or None):
        return True
    return path.text in rules.same and rules.same[path.text](stored, new)


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
