"""Which characters of a string are wrong, and where?

Replaces them one by one, and remembers the position of each in the input.

Covers characters only (invisible, look-alike, quoted, encoded). Must not depend on names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

Match: TypeAlias = re.Match[str]

LONGEST = 2000
"""Longer strings are not explained; the longest valid one has 292 characters."""

_SPACE = re.compile("[ \t\n\r\f\v\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_NOT_PLAIN = re.compile("[^ -~]")
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
_ENCODED = re.compile("%(?:25)*([0-7][0-9A-Fa-f])")
_BACKSLASH = re.compile(r"\\+")
_QUOTES = re.compile("[\"'`]+")
_WRAPPING = re.compile(r"^[(\[{<]+|[)\]}>,;.:!?]+\Z")
_PLACEHOLDER = re.compile(r"<[A-Za-z][^<>/#]*>|\$?\{+[A-Za-z_][^{}/#]*\}+|\$[A-Za-z_]\w*|\.\.\.|\u2026")
_URL = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/#?]*/?")
_QUERY = re.compile(r"\?[^#]*")

_LOOKS_LIKE = {
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d",
    "#": "\u266f\ufe5f\uff03",
    "/": "\u2044\u2215\u29f8\uff0f",
    '"': "\u201c\u201d\u201e\xab\xbb\u2018\u2019\u201a\u2032\xb4",
    "a": "\u0430\u03b1",
    "c": "\u0441",
    "e": "\u0435",
    "i": "\u0456\u0131",
    "j": "\u0458",
    "o": "\u043e\u03bf",
    "p": "\u0440",
    "s": "\u0455",
    "x": "\u0445",
    "y": "\u0443",
}
_PLAIN = {other: plain for plain, others in _LOOKS_LIKE.items() for other in others}


def describe(char: str) -> str:
    """Describe a character for a message: `'#'` for printable ASCII, `U+200B ZERO WIDTH SPACE` for others."""
    if "!" <= char <= "~":
        return f"{char!r}"
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


class Draft:
    """A string that is corrected step by step. `at[i]` is the position in the input of character i of `text`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = list(range(len(text) + 1))
        self.problems: dict[int, str] = {}
        self.correctable = True
        """False once the text has a mistake whose correction is unknown."""

    @classmethod
    def of(cls, text: str, account: str | None, allowed: int) -> Draft:
        """Make a draft of `text` and correct its characters. A text above LONGEST gets one problem: above `allowed`."""
        draft = cls(text)
        if len(text) > LONGEST:
            draft.report(allowed, f"{len(text)} characters: at most {allowed} are allowed")
            draft.replace(0, len(text), "")
            draft.correctable = False
        else:
            draft._correct_characters(account)
        return draft

    def report(self, index: int, message: str) -> None:
        """Report a problem at `text[index]`; a character keeps the first problem reported for it."""
        self.problems.setdefault(self.at[index], message)

    def replace(self, start: int, end: int, new: str, message: str | None = None) -> None:
        """Replace `text[start:end]`, and report why."""
        if message is not None:
            self.report(start, message)
        self.text = self.text[:start] + new + self.text[end:]
        self.at[start:end] = [self.at[start]] * len(new)

    def correct(
        self, pattern: re.Pattern[str], new: Callable[[Match], str | None], message: Callable[[Match], str | None]
    ) -> None:
        """Replace every match with the result of `new`, from the last to the first. Keep it if `new` returns None."""
        for match in reversed(list(pattern.finditer(self.text))):
            replacement = new(match)
            if replacement is not None:
                self.replace(match.start(), match.end(), replacement, message(match))

    def _correct_characters(self, account: str | None) -> None:
        """Correct single characters, quotes, encodings and placeholders.

        `account` replaces a placeholder for an account.
        """
        self.correct(_PLACEHOLDER, lambda match: self._fill(match, account), _say_placeholder)
        self.correct(_NOT_PLAIN, lambda match: _plain(match.group()), _say_character)
        self.correct(_ENCODED, _decode, _say_encoded)
        self.correct(_BACKSLASH, _unescape, lambda _: "a backslash: not part of the name")
        self._correct_spaces()
        self.correct(_QUOTES, lambda _: "", lambda _: "a quotation mark: not part of the name")
        self.correct(_WRAPPING, lambda _: "", lambda match: f"{match.group()!r}: not part of the name")
        if _URL.match(self.text):
            self.correct(_URL, lambda _: "", lambda _: "a URL: write the name alone")
            self.correct(_QUERY, lambda _: "", lambda _: None)

    def _fill(self, match: Match, account: str | None) -> str:
        if account and "acc" in match.group().lower():
            return account
        self.correctable = False
        return "placeholder"

    def _correct_spaces(self) -> None:
        """Replace each run of spaces: with `#` before a second name, with `-` inside an ID, else with nothing."""
        for match in reversed(list(_SPACE.finditer(self.text))):
            run = match.group()
            before, after = self.text[: match.start()], self.text[match.end() :]
            new, message = "", f"{_describe_space(run)}: not allowed in a name"
            if before[-1:].isalnum() and after.lower().startswith("accounts/") and "#" not in self.text:
                new, message = "#", f"{_describe_space(run)} where '#' belongs"
            elif before[-1:].isalnum() and after[:1].isalnum() and run.strip(" ") == "":
                new = "-"
            self.replace(match.start(), match.end(), new, message)


def _plain(char: str) -> str | None:
    """Return the ASCII that a character looks like or means: `""` for an invisible one, None if there is none."""
    if _SPACE.match(char):
        return None
    if char in _PLAIN:
        return _PLAIN[char]
    if char in _BLANK_LETTERS or unicodedata.category(char)[0] in "CM":
        return ""
    decomposed = "".join(c for c in unicodedata.normalize("NFKD", char) if unicodedata.category(c)[0] != "M")
    return decomposed if re.fullmatch("[!-~]+", decomposed) else None


def _say_character(match: Match) -> str:
    char = match.group()
    plain = _plain(char)
    if plain:
        return f"{describe(char)}, which only looks like {plain!r}"
    if unicodedata.category(char)[0] == "M":
        return f"a combining mark, {describe(char)}"
    return f"an invisible character, {describe(char)}"


def _decode(match: Match) -> str:
    """Decode `%XX` to its character; to a space for white space, and to nothing for other control characters."""
    char = chr(int(match.group(1), 16))
    return char if "!" <= char <= "~" else " " * char.isspace()


def _say_encoded(match: Match) -> str:
    char = describe(chr(int(match.group(1), 16)))
    return f"{match.group()!r} is {char}, URL-encoded: write the character itself"


def _describe_space(run: str) -> str:
    if run.strip(" ") == "":
        return "a space" if len(run) == 1 else f"{len(run)} spaces"
    if any(char in "\n\r\x85\u2028\u2029" for char in run):
        return "a line break"
    if run.strip(" \t") == "":
        return "a tab"
    return f"{describe(run.strip(' ')[0])}, which looks like a space"


def _say_placeholder(match: Match) -> str:
    return f"the placeholder {match.group().encode('ascii', 'replace').decode()!r} was never filled in"


def _unescape(match: Match) -> str:
    """Return a slash for a backslash before a word, as in a path; nothing for one that escapes punctuation."""
    after = match.string[match.end() : match.end() + 1]
    return "/" if after.isalnum() and match.start() > 0 else ""
