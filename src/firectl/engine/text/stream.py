"""Convert tokens to text as they come: only whole characters, and no part of a stop string.

Must not depend on models: the tokenizer is passed as a function from token ids to text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]

_REPLACEMENT = "\ufffd"
_HELD = 3
"""Most replacement characters for one incomplete UTF-8 character, which has up to three bytes."""
_CONTEXT = 12
"""Number of earlier tokens decoded again with each window: some tokenizers decode a first token differently."""
_WINDOW = 24
_LONGEST_WINDOW = 64
"""Limit of the window for bytes that never become a character, so that decoding does not take longer and longer."""


class Detokenizer:
    """Returns text as soon as it is final. The results of `push` and `finish`, joined, are the whole text."""

    def __init__(self, decode: Decode, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._window = self._tail(list(prompt))
        self._given = len(_whole(self._text()))

    def push(self, token: int) -> str:
        self._window.append(token)
        text = self._text()
        whole = _whole(text)
        piece = whole[self._given :]
        self._given = max(self._given, len(whole))
        if len(self._window) > _WINDOW and (len(whole) == len(text) or len(self._window) > _LONGEST_WINDOW):
            held = len(text) - len(whole)
            self._window = self._tail(self._window)
            self._given = max(0, len(self._text()) - held)
        return piece

    def finish(self) -> str:
        """Return the text that was held back, with replacement characters for incomplete ones."""
        text = self._text()
        piece = text[self._given :]
        self._given = len(text)
        return piece

    def _text(self) -> str:
        return self._decode(self._window) if self._window else ""

    def _tail(self, tokens: list[int]) -> list[int]:
        """Return the last few tokens, starting at a whole character: some tokenizers would decode the rest wrongly."""
        tail = tokens[-_CONTEXT:]
        for first in range(_HELD + 1) if len(tail) < len(tokens) else ():
            if not self._decode(tail[first:]).startswith(_REPLACEMENT):
                return tail[first:]
        return tail


class TextStream:
    """Makes the text of one choice, up to its first stop string: `push` each token, then call `finish` once."""

    def __init__(self, decode: Decode, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._detokenizer = Detokenizer(decode, prompt)
        self._stops = tuple(stops)
        self._pending = ""
        """Text that may be the start of a stop string."""
        self.stopped = False
        """Whether a stop string was found. No more text follows then."""

    def push(self, token: int) -> str:
        return self._cut(self._detokenizer.push(token))

    def finish(self) -> str:
        text = self._cut(self._detokenizer.finish()) + self._pending
        self._pending = ""
        return text

    def _cut(self, piece: str) -> str:
        if not self._stops or self.stopped:
            return "" if self.stopped else piece
        text = self._pending + piece
        ends = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if ends:
            self.stopped = True
            self._pending = ""
            return text[: min(ends)]
        held = max(_overlap(text, stop) for stop in self._stops)
        self._pending = text[len(text) - held :]
        return text[: len(text) - held]


def _whole(text: str) -> str:
    """Return the text without a possible incomplete character at its end."""
    end = len(text)
    while end > 0 and len(text) - end < _HELD and text[end - 1] == _REPLACEMENT:
        end -= 1
    return text[:end]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a start of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
