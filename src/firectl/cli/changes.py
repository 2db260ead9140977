"""The flags of an `update` as a resource with just those fields, and the mask that names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.schemas.base import Wire

W = TypeVar("W", bound="Wire")


def changes(schema: type[W], given: Mapping[str, Any]) -> tuple[W, list[str]]:
    """`given` has a field of `schema` for each flag, None where it was not given. InputError when none was."""
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise InputError("nothing to change: no flag names a field")
    return schema.model_validate(fields), list(fields)
