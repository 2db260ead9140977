"""The flags of an `update` as a resource with just those fields and the mask that names them, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.output.render import scalar
from firectl.errors import InputError

if TYPE_CHECKING:
    from firectl.schemas.base import Wire

W = TypeVar("W", bound="Wire")


def changes(noun: str, schema: type[W], given: Mapping[str, Any]) -> tuple[W, list[str]]:
    """`given` has a field of `schema` for each flag of `NOUN update`, None where it was not given. InputError when none
    was."""
    fields = {name: value for name, value in given.items() if value is not None}
    if not fields:
        raise InputError("nothing to change: no flag names a field", hint=f"firectl {noun} update --help")
    return schema.model_validate(fields), list(fields)


def lost(given: Mapping[str, Any], made: Wire) -> Iterator[str]:
    """What was asked for and did not come back, in words; `given` as for `changes`."""
    found = made.to_document()
    for name, value in given.items():
        yield from difference(f"--{name.replace('_', '-')}", value, found.get(name), made.name)  # type: ignore[attr-defined]


def difference(flag: str, want: object, have: object, what: str = "the deployment") -> Iterator[str]:
    """A sentence that names both, unless they are the same; what is absent is 0, false or empty."""
    if want is not None and want != have and not (want in (0, False, "") and have is None):
        yield f"{flag} {scalar(want)} was asked for, and {what} has {scalar(have) or 'none'}"
