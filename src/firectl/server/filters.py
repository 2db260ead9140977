"""Does a resource match a filter? AIP-160: comparisons, `:` has, AND, OR (which binds tighter), NOT, parentheses.

Must not know any one resource, nor SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from firectl.errors import ApiError, Code
from firectl.schemas.base import Wire
from firectl.server import fields
from firectl.server.fields import FieldPath

Predicate = Callable[[Wire], bool]

MAX_LENGTH = 4000
_MAX_DEPTH = 40
_BARE_LOOKS_IN = ("name", "display_name", "description")

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<operator><=|>=|!=|=|<|>|:)
      | (?P<open>\()
      | (?P<close>\))
      | (?P<comma>,)
      | (?P<word>[^\s()<>=!:,"']+)
    )""",
    re.VERBOSE,
)
# Word characters of a value that a comparison would otherwise cut at a colon: times and names with versions.
_VALUE = re.compile(r"[^\s()<>=!,\"']+")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse_filter(text: str, schema: type[Wire]) -> Predicate:
    """The test that a filter means for resources of `schema`. Empty: all match. INVALID_ARGUMENT saying where."""
    if len(text) > MAX_LENGTH:
        raise ApiError(Code.INVALID_ARGUMENT, f"filter is longer than {MAX_LENGTH} characters")
    if not text.strip():
        return lambda resource: True
    return _Parser(text, schema).parse()


class _Parser:
    """Recursive descent over AIP-160's grammar: expression → sequence → factor → term → restriction."""

    def __init__(self, text: str, schema: type[Wire]) -> None:
        self._text = text
        self._schema = schema
        self._at = 0
        self._depth = 0

    def parse(self) -> Predicate:
        predicate = self._expression()
        token = self._peek()
        if token is not None:
            raise self._error(f"unexpected {token.text!r}", token.at)
        return predicate

    def _expression(self) -> Predicate:
        """Sequences joined by AND."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("nested too deeply", self._at)
        parts = [self._sequence()]
        while self._keyword("AND"):
            parts.append(self._sequence())
        self._depth -= 1
        return _all(parts)

    def _sequence(self) -> Predicate:
        """Factors side by side; all must hold."""
        parts = [self._factor()]
        while (token := self._peek()) is not None and token.kind != "close" and token.text not in ("AND", "OR"):
            parts.append(self._factor())
        return _all(parts)

    def _factor(self) -> Predicate:
        parts = [self._term()]
        while self._keyword("OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda resource: any(part(resource) for part in parts)

    def _term(self) -> Predicate:
        if self._keyword("NOT"):
            inner = self._simple()
            return lambda resource: not inner(resource)
        token = self._peek()
        if token is not None and token.kind == "word" and token.text.startswith("-") and len(token.text) > 1:
            self._at = token.at + 1
            inner = self._simple()
            return lambda resource: not inner(resource)
        return self._simple()

    def _simple(self) -> Predicate:
        token = self._take()
        if token.kind == "open":
            inner = self._expression()
            closing = self._peek()
            if closing is None or closing.kind != "close":
                raise self._error("a closing parenthesis is missing", self._at)
            self._take()
            return inner
        if token.kind not in ("word", "quoted") or token.text in ("AND", "OR", "NOT"):
            raise self._error(f"a field is wanted, not {token.text!r}", token.at)
        after = self._peek()
        if after is None or after.kind != "operator":
            if after is not None and after.kind == "open" and after.at == token.at + len(token.text):
                raise self._error(f"functions such as {token.text}() are not known here", token.at)
            return _bare(_unquote(token.text))
        if token.kind != "word":
            raise self._error("a field is wanted before an operator, not a quoted string", token.at)
        self._take()
        try:
            path = fields.find(self._schema, token.text)
        except ApiError as error:
            raise self._error(error.message, token.at) from None
        return self._comparison(path, after.text, self._value(after))

    def _value(self, operator: _Token) -> _Token:
        start = self._at
        while start < len(self._text) and self._text[start].isspace():
            start += 1
        token = self._peek()
        if token is not None and token.kind == "quoted":
            return self._take()
        match = _VALUE.match(self._text, start)
        if match is None:
            raise self._error(f"a value is missing after {operator.text!r}", start)
        self._at = match.end()
        return _Token("word", match.group(), start)

    def _comparison(self, path: FieldPath, operator: str, token: _Token) -> Predicate:
        raw = _unquote(token.text)
        if operator == ":" and raw == "*" and token.kind == "word":
            return lambda resource: fields.read(resource, path) not in (None, "", [], {})
        if path.kind in (fields.LIST, fields.MAP, fields.MESSAGE):
            if operator != ":":
                raise self._error(f"{path.text} holds several values: use {path.text}:VALUE", token.at)
            return lambda resource: _holds(fields.read(resource, path), raw)
        wanted = self._literal(path, raw, token)
        default = _DEFAULTS.get(path.kind)

        def compare(resource: Wire) -> bool:
            found = fields.read(resource, path)
            values = found if isinstance(found, list) else [found]
            return any(_compare(default if v is None else v, operator, wanted, token.kind) for v in values)

        return compare

    def _literal(self, path: FieldPath, raw: str, token: _Token) -> Any:
        """The value in the field's type."""
        try:
            return _LITERALS.get(path.kind, str)(raw)
        except (ValueError, OverflowError):
            raise self._error(f"{path.text} is a {path.kind}, {raw!r} is none", token.at) from None

    def _keyword(self, word: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "word" or token.text != word:
            return False
        self._take()
        return True

    def _peek(self) -> _Token | None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            rest = self._text[self._at :].strip()
            if rest:
                raise self._error(f"unexpected {rest[0]!r}", self._text.index(rest[0], self._at))
            return None
        kind = match.lastgroup or ""
        return _Token(kind, match.group(kind), match.start(kind))

    def _take(self) -> _Token:
        token = self._peek()
        if token is None:
            raise self._error("the filter ends too early", len(self._text))
        self._at = token.at + len(token.text)
        return token

    def _error(self, message: str, at: int) -> ApiError:
        return ApiError(Code.INVALID_ARGUMENT, f"filter, position {at}: {message}")


def _all(parts: list[Predicate]) -> Predicate:
    return parts[0] if len(parts) == 1 else lambda resource: all(part(resource) for part in parts)


def _bare(text: str) -> Predicate:
    """A word without a field: whether it is in what people read of a resource."""
    wanted = text.casefold()

    def matches(resource: Wire) -> bool:
        return any(wanted in str(getattr(resource, name, None) or "").casefold() for name in _BARE_LOOKS_IN)

    return matches


def _unquote(text: str) -> str:
    if text[:1] in ("'", '"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text


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


def _compare(found: Any, operator: str, wanted: Any, token_kind: str) -> bool:
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
