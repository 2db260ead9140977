"""A string while it is being mended: what each mend says, and where in the input it happened.

Knows characters (invisible, look-alike, quoted, encoded), not names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

Match: TypeAlias = re.Match[str]

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
    """A character for a message, never the character itself unless it is printable ASCII: `U+200B ZERO WIDTH SPACE`."""
    if "!" <= char <= "~":
        return f"{char!r}"
    return f"U+{ord(char):04X} {unicodedata.name(char, '')}".rstrip()


class Draft:
    """`text` as mended so far. Its character i stood at `at[i]` in the input; `at[len(text)]` is the input's end."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = list(range(len(text) + 1))
        self.problems: dict[int, str] = {}
        self.mendable = True
        """Whether what to write instead is still known."""

    @classmethod
    def of(cls, text: str, account: str | None, look_into: int, allowed: int) -> Draft:
        """`text` with its characters mended. Past `look_into` characters only that it exceeds `allowed` is said."""
        draft = cls(text)
        if len(text) > look_into:
            draft.say(allowed, f"{len(text)} characters: far too long for a name")
            draft.put(0, len(text), "")
            draft.mendable = False
        else:
            draft._mend_characters(account)
        return draft

    def say(self, index: int, message: str) -> None:
        """Something is wrong at `text[index]`. One problem a character is enough: the first said stays."""
        self.problems.setdefault(self.at[index], message)

    def put(self, start: int, end: int, new: str, message: str | None = None) -> None:
        """Replace `text[start:end]`, saying why unless an earlier problem covers it."""
        if message is not None:
            self.say(start, message)
        self.text = self.text[:start] + new + self.text[end:]
        self.at[start:end] = [self.at[start]] * len(new)

    def mend(
        self, pattern: re.Pattern[str], new: Callable[[Match], str | None], message: Callable[[Match], str | None]
    ) -> None:
        """`put` for every match, from the last to the first; `new` giving None leaves a match as it is."""
        for match in reversed(list(pattern.finditer(self.text))):
            replacement = new(match)
            if replacement is not None:
                self.put(match.start(), match.end(), replacement, message(match))

    def _mend_characters(self, account: str | None) -> None:
        """Mend all that is wrong below the level of names. `account` fills a placeholder for one."""
        self.mend(_PLACEHOLDER, lambda match: self._fill(match, account), _say_placeholder)
        self.mend(_NOT_PLAIN, lambda match: _plain(match.group()), _say_character)
        self.mend(_ENCODED, _decode, _say_encoded)
        self.mend(_BACKSLASH, _unescape, lambda _: "a backslash: the name is written without one")
        self._close_up()
        self.mend(_QUOTES, lambda _: "", lambda _: "a quotation mark: it belongs to the code or shell around the name")
        self.mend(_WRAPPING, lambda _: "", lambda match: f"{match.group()!r} is not part of the name")
        if _URL.match(self.text):
            self.mend(_URL, lambda _: "", lambda _: "a URL: the model field takes the name alone")
            self.mend(_QUERY, lambda _: "", lambda _: None)

    def _fill(self, match: Match, account: str | None) -> str:
        if account and "acc" in match.group().lower():
            return account
        self.mendable = False
        return "placeholder"

    def _close_up(self) -> None:
        """Mend runs of spaces: before a second name one stands for `#`, inside an ID for `-`, else for nothing."""
        for match in reversed(list(_SPACE.finditer(self.text))):
            run = match.group()
            before, after = self.text[: match.start()], self.text[match.end() :]
            new, message = "", f"{_describe_space(run)}: names have none"
            if before[-1:].isalnum() and after.lower().startswith("accounts/") and "#" not in self.text:
                new, message = "#", f"{_describe_space(run)} where '#' belongs"
            elif before[-1:].isalnum() and after[:1].isalnum() and run.strip(" ") == "":
                new = "-"
            self.put(match.start(), match.end(), new, message)


def _plain(char: str) -> str | None:
    """The ASCII that a character stands for, `""` for one that nobody sees; None where there is no telling."""
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
    """What `%XX` stands for, a space for any of those; nothing for the other control characters."""
    char = chr(int(match.group(1), 16))
    return char if "!" <= char <= "~" else " " * char.isspace()


def _say_encoded(match: Match) -> str:
    char = describe(chr(int(match.group(1), 16)))
    return f"{match.group()!r} is {char} as URLs encode it: the model field is no URL, nothing is encoded in it"


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
    """A backslash that escapes punctuation goes; one between words stands for a slash, as in a path."""
    after = match.string[match.end() : match.end() + 1]
    return "/" if after.isalnum() and match.start() > 0 else ""
