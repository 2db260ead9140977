"""How is the text of a filter parsed into a tree? The language is AIP-160, where OR binds tighter than AND.

A filter has comparisons, `field:value` (contains), AND, OR, NOT and parentheses. Must not depend on fields: `filters`
checks whether they exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from firectl.errors import ApiError, invalid

MAX_LENGTH = 4000
_MAX_DEPTH = 40
_KEYWORDS = ("AND", "OR", "NOT")

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
# A value after an operator. Unlike a word, it may contain colons, as times do.
_VALUE = re.compile(r"[^\s()<>=!,\"']+")


@dataclass(frozen=True)
class Value:
    """A quoted string or a word; `at` is its position in the text."""

    text: str
    quoted: bool
    at: int = field(default=0, compare=False)

    @property
    def is_any(self) -> bool:
        """Whether the value is `*` without quotes, which means any value."""
        return self.text == "*" and not self.quoted


@dataclass(frozen=True)
class Bare:
    """A value without a field. It matches if the name, display name or description contains it."""

    value: Value


@dataclass(frozen=True)
class Restriction:
    path: str
    operator: str
    value: Value
    at: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Not:
    part: Node


@dataclass(frozen=True)
class And:
    """Matches when all of its two or more parts match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """Matches when any of its two or more parts matches."""

    parts: tuple[Node, ...]


Node: TypeAlias = Bare | Restriction | Not | And | Or


def read_filter(text: str) -> Node | None:
    """Return the tree of a filter, or None for an empty filter. INVALID_ARGUMENT names the position of a mistake."""
    if len(text) > MAX_LENGTH:
        raise invalid(f"filter is longer than {MAX_LENGTH} characters")
    return _Parser(text).parse() if text.strip() else None


def wrong(message: str, at: int) -> ApiError:
    """Return the error for a mistake at this position of a filter."""
    return invalid(f"filter, position {at}: {message}")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def value(self) -> Value:
        if self.kind == "quoted":
            return Value(re.sub(r"\\(.)", r"\1", self.text[1:-1]), True, self.at)
        return Value(self.text, False, self.at)


class _Parser:
    """A recursive-descent parser of AIP-160's grammar: expression → sequence → factor → term → restriction."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._expression()
        token = self._peek()
        if token is not None:
            raise wrong(f"unexpected {token.text!r}", token.at)
        return node

    def _expression(self) -> Node:
        """Parse sequences joined by AND."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise wrong("nested too deeply", self._at)
        parts = self._sequence()
        while self._keyword("AND"):
            parts += self._sequence()
        self._depth -= 1
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _sequence(self) -> list[Node]:
        """Parse factors without an operator between them: all must match, as if joined by AND."""
        parts = [self._factor()]
        while (token := self._peek()) is not None and token.kind != "close" and token.text not in ("AND", "OR"):
            parts.append(self._factor())
        return parts

    def _factor(self) -> Node:
        parts = [self._term()]
        while self._keyword("OR"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _term(self) -> Node:
        if self._keyword("NOT"):
            return Not(self._simple())
        token = self._peek()
        # A minus directly before a word, quoted string or parenthesis negates it. A minus before a space is a word.
        if token is not None and token.text.startswith("-") and re.match(r"-[^\s:=<>!),]", self._text[token.at :]):
            self._at = token.at + 1
            return Not(self._simple())
        return self._simple()

    def _simple(self) -> Node:
        token = self._take()
        if token.kind == "open":
            inner = self._expression()
            closing = self._peek()
            if closing is None or closing.kind != "close":
                raise wrong("a closing parenthesis is missing", self._at)
            self._take()
            return inner
        if token.kind not in ("word", "quoted") or token.text in _KEYWORDS:
            raise wrong(f"expected a field, got {token.text!r}", token.at)
        after = self._peek()
        if after is None or after.kind != "operator":
            if after is not None and after.kind == "open" and after.at == token.at + len(token.text):
                raise wrong(f"functions such as {token.text}() are not supported", token.at)
            return Bare(token.value)
        if token.kind != "word":
            raise wrong("expected a field before the operator, got a quoted string", token.at)
        self._take()
        return Restriction(token.text, after.text, self._value(after), token.at)

    def _value(self, operator: _Token) -> Value:
        start = self._at
        while start < len(self._text) and self._text[start].isspace():
            start += 1
        token = self._peek()
        if token is not None and token.kind == "quoted":
            return self._take().value
        match = _VALUE.match(self._text, start)
        if match is None and self._text[start : start + 1] == "=":
            raise wrong("write = instead of ==", start)
        if match is None:
            raise wrong(f"a value is missing after {operator.text!r}", start)
        self._at = match.end()
        return Value(match.group(), False, start)

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
                raise wrong(f"unexpected {rest[0]!r}", self._text.index(rest[0], self._at))
            return None
        kind = match.lastgroup or ""
        return _Token(kind, match.group(kind), match.start(kind))

    def _take(self) -> _Token:
        token = self._peek()
        if token is None:
            raise wrong("the filter ends too early", len(self._text))
        self._at = token.at + len(token.text)
        return token
