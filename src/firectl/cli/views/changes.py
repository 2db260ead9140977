"""Convert the flags of an `update` to a resource and its update mask, and compare the API's answer with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.output.render import scalar
from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.schemas.base import Wire

W = TypeVar("W", bound="Wire")


def changes(noun: str, schema: type[W], given: Mapping[str, Any]) -> tuple[W, list[str]]:
    """Return a resource with the given fields, and a mask that names these fields. InputError if no field is given.

    `given`: a field of `schema` for each flag of `NOUN update`, None for a flag that was not given.
    """
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise InputError("nothing to change: no flag names a field", hint=f"firectl {noun} update --help")
    return schema.model_validate(fields), list(fields)


def lost(given: Mapping[str, Any], made: Wire) -> Iterator[str]:
    """Yield a sentence for each given field that has another value in the answer `made`. `given`: as in `changes`."""
    found = made.to_document()
    for name, value in given.items():
        yield from difference(f"--{name.replace('_', '-')}", value, found.get(name), made.name)  # type: ignore[attr-defined]


def difference(flag: str, want: object, have: object, what: str = "the deployment") -> Iterator[str]:
    """Yield a sentence with both values if they differ. If `have` is None, it counts as equal to 0, false and ""."""
    if want is not None and want != have and not (want in (0, False, "") and have is None):
        yield f"{flag} {scalar(want)} was asked for, and {what} has {scalar(have) or 'none'}"
