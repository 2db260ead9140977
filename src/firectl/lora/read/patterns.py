"""Match module names with the patterns of an adapter's config, by PEFT's rules and in bounded time.

Patterns come from untrusted files, and Python's `re` may never end. Such a pattern is refused before it runs.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Mapping
from typing import TypeVar

from firectl.errors import AdapterError
from firectl.lora.read.folder import printable

T = TypeVar("T")

MAX_PATTERN = 8192
MAX_STEPS = 10**9
"""Highest accepted result of `_steps`. The longest patterns that trainers write need about a tenth of this."""
MAX_SECONDS = 5.0


class Pattern:
    """A compiled regular expression for module names of at most `longest` characters."""

    def __init__(self, text: str, where: str, longest: int = 128) -> None:
        """AdapterError that begins with `where` for an invalid regular expression or one that could run too long."""
        self.where = where
        if len(text) > MAX_PATTERN:
            raise AdapterError(f"{where}: a pattern of {len(text)} characters is too long")
        try:
            self._regex = re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise AdapterError(f"{where}: '{printable(text)}' is not a regular expression: {error}") from None
        if _steps(text, longest) > MAX_STEPS:
            raise AdapterError(
                f"{where}: the pattern '{printable(text)}' could take too long to match",
                hint="list the names of the modules instead",
            )

    def fullmatch(self, name: str) -> bool:
        return self._regex.fullmatch(name) is not None

    def match(self, name: str) -> re.Match[str] | None:
        return self._regex.match(name)


class Deadline:
    """Limits the total time of matching: many fast patterns on many names can also take long."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._end = time.monotonic() + MAX_SECONDS

    def check(self) -> None:
        if time.monotonic() > self._end:
            raise AdapterError(f"{self._where}: its patterns take longer than {MAX_SECONDS:.0f} s to match")


def by_pattern(patterns: Mapping[str, T], names: Iterable[str], default: T, where: str) -> dict[str, T]:
    """Return each name's value in PEFT's rank_pattern or alpha_pattern, or `default` if no pattern matches."""
    listed = list(names)
    if not patterns:
        return dict.fromkeys(listed, default)
    longest = max(map(len, listed), default=0)
    compiled = [(Pattern(rf"(.*\.)?({key})$", f"{where} '{printable(key)}'", longest), key) for key in patterns]
    deadline = Deadline(where)
    result = {}
    for name in listed:
        deadline.check()
        key = next((key for pattern, key in compiled if pattern.match(name)), None)
        # PEFT looks up the full name when no pattern matches it.
        result[name] = patterns.get(name, default) if key is None else patterns[key]
    return result


def _steps(text: str, longest: int) -> float:
    """Return an upper bound of the steps of a backtracking matcher for one name of `longest` characters."""
    alternatives, optionals, repeats, depth, worst = 1, 0, 0, 0, 0.0
    branches = [1]
    in_class = False
    position = 0

    def total() -> float:
        return float(alternatives) * 2.0**optionals * math.comb(longest + repeats, repeats)

    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            # In a character class, a closing bracket in first position is an ordinary character.
            position += (
                2 if text[position + 1 : position + 3] == "^]" else int(text[position + 1 : position + 2] == "]")
            )
        elif character == "(":
            depth += 1
            branches.append(1)
            position += int(text[position + 1 : position + 2] == "?")
        elif character == ")" and depth:
            depth -= 1
            alternatives *= branches.pop()
            if text[position + 1 : position + 2] in ("*", "+", "{"):
                return math.inf
        elif character == "|":
            if depth:
                branches[-1] += 1
            else:  # the matcher tries the alternatives of the whole pattern one after the other
                worst += total()
                alternatives, optionals, repeats = 1, 0, 0
        elif character in "*+{":
            repeats += 1
            position += int(text[position + 1 : position + 2] in ("?", "+"))
        elif character == "?":
            optionals += 1
        position += 1
    return worst + total()
