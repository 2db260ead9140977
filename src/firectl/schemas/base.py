"""How are all messages of the API read and written?

Writes camelCase, reads camelCase and snake_case, and ignores unknown fields.

Must not depend on any resource.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from firectl.errors import Code

_WIRE_DURATION = re.compile(r"(\d+)(?:\.(\d{1,9}))?s")


def parse_wire_duration(value: object) -> object:
    """Parse `"600s"` or `"0.5s"` (protobuf JSON) to a timedelta.

    ValueError for other text; other types stay unchanged.
    """
    if isinstance(value, str):
        match = _WIRE_DURATION.fullmatch(value)
        if match is None:
            raise ValueError(f"{value!r} is not a duration such as 600s")
        seconds, fraction = match.groups()
        try:
            return timedelta(seconds=int(seconds), microseconds=int((fraction or "0").ljust(6, "0")[:6]))
        except OverflowError:
            raise ValueError(f"{value!r} is too long for a duration") from None
    return value


def format_wire_duration(value: timedelta) -> str:
    """Format a timedelta as protobuf JSON: `600s`, or `0.5s` with a fraction of a second."""
    whole, micro = divmod(value // timedelta(microseconds=1), 1_000_000)
    return f"{whole}.{micro:06d}".rstrip("0") + "s" if micro else f"{whole}s"


def format_time(value: datetime) -> str:
    """Format a time as RFC 3339 in UTC with a `Z`. Omit microseconds if they are zero."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _aware(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError("its UTC time is outside the years 1 to 9999") from None


Time = Annotated[datetime, AfterValidator(_aware), PlainSerializer(format_time, return_type=str)]
Duration = Annotated[
    timedelta, BeforeValidator(parse_wire_duration), PlainSerializer(format_wire_duration, return_type=str)
]
Int64 = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) and not isinstance(v, bool) else v)]
"""An int64 in protobuf JSON: a string of digits. Also accepts an integer."""


class Wire(BaseModel):
    """Base class of every resource, request and response. A field that is None is not sent."""

    states: ClassVar[tuple[str, ...]] = ()
    """The possible values of the resource's `state`."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        protected_namespaces=(),
        # Build validators on first use: a command reads only one or two kinds of resource.
        defer_build=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON to send: camelCase, without fields that are None, but with 0 and false."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON of `-o json`: like `to_wire`, but in snake_case."""
        return self.model_dump(mode="json", by_alias=False, exclude_none=True)


class Status(Wire):
    """The reason for a resource's state; `code` is the name of a gRPC code."""

    code: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, code: Code | None, message: str) -> Status:
        return cls(code=code.name if code else "OK", message=message)
