"""Convert the text typed for a flag to the value that the API expects, or raise an error with an example.

Must not send a request or depend on a resource.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from firectl.cli.grammar.durations import parse_duration
from firectl.errors import InputError
from firectl.schemas.words import REGION_GROUPS

if TYPE_CHECKING:
    from firectl.cli.app import App

    ParamType = click.ParamType[Any]
else:
    # In older versions of click, which are supported too, ParamType cannot be subscripted.
    ParamType = click.ParamType

T = TypeVar("T")


_REGION = re.compile(r"[A-Z]{2,}(_[A-Z]+)+_[0-9]+", re.ASCII)
_ENUM = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)


class TypedValue(ParamType):
    """Base of types whose `read` converts text to a value. If `read` raises ValueError, its message is shown."""

    def read(self, text: str) -> Any:
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value  # It was converted before.
        try:
            return self.read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Seconds(TypedValue):
    """Convert a Go duration to seconds (a float above 0)."""

    name = "duration"

    def read(self, text: str) -> float:
        seconds = parse_duration(text)
        if seconds == 0:
            raise ValueError(f"{text!r} is not longer than zero")
        return seconds


class WireDuration(TypedValue):
    """Convert a Go duration to the API's form: `10m` → `"600s"`. It must be from `least` to `most` seconds."""

    name = "duration"

    def __init__(self, least: float = 0.0, most: float | None = None) -> None:
        self.least = least
        self.most = most

    def read(self, text: str) -> str:
        from datetime import timedelta

        from firectl.schemas.base import format_wire_duration

        seconds = parse_duration(text)
        if seconds < self.least:
            raise ValueError(f"{text!r} is too short: at least {self.least / 60:g} minutes")
        if self.most is not None and seconds > self.most:
            raise ValueError(f"{text!r} is too long: at most {self.most / 60:g} minutes")
        return format_wire_duration(timedelta(seconds=seconds))


class Named(ParamType):
    """Accept a name unchanged. `kind` selects names for shell completion: a noun, or a key of completing._LOOK."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = "shape" if kind == "preset" else kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        app: App | None = ctx.find_root().obj
        return app.offer(self.kind, incomplete) if app is not None else []


def _offered(values: Sequence[str], incomplete: str) -> list[Any]:
    """Return the values that begin with the typed text, in lower or upper case like the text."""
    from click.shell_completion import CompletionItem

    as_typed = str.lower if incomplete == incomplete.lower() and incomplete else str.upper
    return [CompletionItem(as_typed(value)) for value in values if value.startswith(incomplete.upper())]


class Moment(TypedValue):
    """Convert a date (`2027-01-31`) or an RFC 3339 time to the API's form. A time without a zone is in UTC.

    A date means the start of its day. With `ends` it means the end, so that a range includes the whole day.
    """

    name = "date"

    def __init__(self, *, ends: bool = False) -> None:
        self.ends = ends

    def read(self, text: str) -> str:
        from datetime import UTC, datetime, timedelta

        written = text.strip().upper()
        try:
            moment = datetime.fromisoformat(written)
            aware = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            if self.ends and ":" not in written and "T" not in written:
                aware += timedelta(days=1)
        except (ValueError, OverflowError):
            raise ValueError(f"{text!r} is not a date such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
        return aware.isoformat().replace("+00:00", "Z")


class Boolean(TypedValue):
    """Convert Go's spellings of a boolean: true, t, 1, false, f, 0, in any case."""

    name = "boolean"

    def read(self, text: str) -> bool:
        word = text.lower()
        if word not in ("true", "t", "1", "false", "f", "0"):
            raise ValueError(f"{text!r} is neither true nor false")
        return word in ("true", "t", "1")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(word) for word in ("true", "false") if word.startswith(incomplete)]


class Count(ParamType):
    """Convert a whole number that is not below `least`."""

    name = "n"

    def __init__(self, least: int = 0) -> None:
        self.least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if not (text.isascii() and text.removeprefix("-").isdecimal() and len(text) < 20):
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if int(text) < self.least:
            self.fail(f"{value!r} is below {self.least}", param, ctx)
        return int(text)


class Known(ParamType):
    """Convert a value of an API enum, in any case. A value not in `values` causes a warning, because it may be new."""

    name = "value"

    def __init__(self, values: Sequence[str]) -> None:
        self.values = tuple(values)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value).upper().replace("-", "_")
        if not _ENUM.fullmatch(name):
            self.fail(f"{value!r} is not one of {', '.join(self.values)}", param, ctx)
        if name not in self.values:
            from difflib import get_close_matches

            near = [known for known in self.values if name in known] or get_close_matches(name, self.values, n=1)
            asked = f"; did you mean {' or '.join(near)}?" if near else ""
            app: App | None = ctx.find_root().obj if ctx is not None and not ctx.resilient_parsing else None
            if app is not None:
                app.output.warn(f"{name} is not a value that this version knows, and is sent as it is{asked}")
        return name

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        return _offered(self.values, incomplete)


class Region(TypedValue):
    """Convert `global`, a group (`us`, `europe`, `apac`) or a region (`us-iowa-1`) to the API's `placement`."""

    name = "region"

    def read(self, text: str) -> dict[str, str]:
        name = text.upper().replace("-", "_")
        if name in REGION_GROUPS:
            return {"multi_region": name}
        if not _REGION.fullmatch(name):
            raise ValueError(f"{text!r} is not global, us, europe, apac or a region such as us-iowa-1")
        return {"region": name}

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        return _offered(REGION_GROUPS, incomplete)


class NumberMap(TypedValue):
    """Convert `default=0.8,requests_per_second=2` to a dict of numbers."""

    name = "key=number"

    def read(self, text: str) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for pair in text.split(","):
            key, equals, number = (part.strip() for part in pair.partition("="))
            if not (key and equals and key.isprintable()):
                raise ValueError(f"{pair!r} is not KEY=NUMBER")
            try:
                numbers[key] = float(number)
            except ValueError:
                raise ValueError(f"{number!r} is not a number, in {pair!r}") from None
            if not 0 <= numbers[key] < float("inf"):
                raise ValueError(f"{number!r} is not a number of at least 0, in {pair!r}")
        return numbers


class ShortText(TypedValue):
    """Accept text of fewer than `limit` characters."""

    name = "text"

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def read(self, text: str) -> str:
        if len(text) >= self.limit:
            raise ValueError(f"{len(text)} characters, and fewer than {self.limit} are allowed")
        return text


class PlainId(ParamType):
    """Check the ID of a new resource. `what`: the resource's noun, for messages."""

    name = "id"

    def __init__(self, what: str) -> None:
        self.what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from firectl.names import check_id, is_id

        if not is_id(value) and ctx is not None and os.path.isdir(value):
            self._refuse_folder(ctx, value)
        check_id(value, self.what)
        return str(value)

    def _refuse_folder(self, ctx: click.Context, folder: str) -> NoReturn:
        """Raise an InputError that shows the right order when a create command has its ID and its folder swapped."""
        import shlex

        from firectl.cli.grammar.typed import typed_words
        from firectl.names import is_id

        others = [word for word in typed_words(ctx) if word != folder and is_id(word)]
        metavar = f"{self.what.upper()}_ID"
        command = shlex.join([*ctx.command_path.split(), others[0] if len(others) == 1 else metavar, folder])
        raise InputError(f"{folder} is a folder, not a {self.what} ID", hint=f"{metavar} comes first: {command}")
