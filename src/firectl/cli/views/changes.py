"""The flags of an `update`: as a resource and its update mask, and what differs in the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.output.render import scalar
from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.schemas.base import Wire

W = TypeVar("W", bound="Wire")


def changes(noun: str, schema: type[W], given: Mapping[str, Any]) -> tuple[W, list[str]]:
    """A resource with the given fields, and the mask that names them. InputError when `given` has no field.

    `given`: a field of `schema` for each flag of `NOUN update`, None for a flag that was not given.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise InputError("nothing to change: no flag names a field", hint=f"firectl {noun} update --help")
    return schema.model_validate(fields), list(fields)


def lost(given: Mapping[str, Any], made: Wire) -> Iterator[str]:
    """A sentence for each given field whose value in the answer differs; `given` as for `changes`."""
    found = made.to_document()
    for name, value in given.items():
        yield from difference(f"--{name.replace('_', '-')}", value, found.get(name), made.name)  # type: ignore[attr-defined]


def difference(flag: str, want: object, have: object, what: str = "the deployment") -> Iterator[str]:
    """A sentence that names both values, if they differ; an absent one equals 0, false and empty."""
    if want is not None and want != have and not (want in (0, False, "") and have is None):
        yield f"{flag} {scalar(want)} was asked for, and {what} has {scalar(have) or 'none'}"
