"""Is it an answer, and when did its pieces come: reads one answer, whole or streamed, as its bytes arrive.

Must not know connections. A wrong answer is a kind of error in the sample, never an exception.
"""

from __future__ import annotations

import json
from typing import Any

from firectl import sse
from firectl.bench.samples import CUT_SHORT, STREAM_ERROR, WRONG_ANSWER, Sample
from firectl.errors import message_of

LARGEST = 64 << 20
LONGEST_MESSAGE = 200


class Answer:
    """Fills `sample` from the bytes of its answer: `head`, then `data` as often as some come, then `end`."""

    def __init__(self, sample: Sample, *, stream: bool) -> None:
        self.sample = sample
        self.status = 0
        self._stream = stream
        self._events = sse.Reader()
        self._whole = b""
        self._finished = False

    def head(self, status: int) -> None:
        self.status = status
        self._stream = self._stream and status == 200

    def data(self, piece: bytes, now: float) -> None:
        if not self._stream:
            self._whole += piece
            if len(self._whole) > LARGEST:
                self.fail(WRONG_ANSWER, "the answer does not end")
            return
        try:
            events = self._events.feed(piece)
        except ValueError as error:
            self.fail(WRONG_ANSWER, str(error))
            return
        for event in events:
            data = sse.data_of(event)
            if data:
                self._event(data, now)

    def end(self) -> None:
        """The body is complete."""
        if self.sample.error is not None:
            return
        if self.status != 200:
            self.fail(f"http_{self.status}", _message(_parse(self._whole), self._whole))
        elif not self._stream:
            self._read_whole()
        elif not self._finished:
            if self.sample.arrivals or not self._events.rest:
                self.fail(CUT_SHORT, "the stream ended without [DONE]")
            else:
                self.fail(WRONG_ANSWER, f"no stream of events: {_shown(self._events.rest)}")

    def fail(self, kind: str, message: str) -> None:
        """The first thing that goes wrong is what counts."""
        if self.sample.error is None:
            self.sample.error = kind
            self.sample.message = message

    def _event(self, data: bytes, now: float) -> None:
        if data == sse.DONE:
            self._finished = True
            return
        document = _parse(data)
        if not isinstance(document, dict):
            self.fail(WRONG_ANSWER, f"an event that is no JSON object: {_shown(data)}")
        elif document.get("error"):
            self.fail(STREAM_ERROR, _message(document, data))
        elif not isinstance(document.get("choices"), list):
            self.fail(WRONG_ANSWER, f"an event without choices: {_shown(data)}")
        else:
            if _has_text(document["choices"]):
                self.sample.arrivals.append(now)
            self._usage(document)

    def _read_whole(self) -> None:
        document = _parse(self._whole)
        if not isinstance(document, dict) or not document.get("choices"):
            self.fail(WRONG_ANSWER, f"an answer without choices: {_shown(self._whole)}")
            return
        self._usage(document)

    def _usage(self, document: dict[str, Any]) -> None:
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.sample.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.sample.generated_tokens = _count(usage.get("completion_tokens"))


def _has_text(choices: list[Any]) -> bool:
    """Whether a piece brought something of the answer: the first of a chat only says who speaks."""
    for choice in choices:
        if isinstance(choice, dict):
            delta = choice.get("delta")
            said = delta if isinstance(delta, dict) else choice
            if said.get("content") or said.get("text") or said.get("reasoning_content") or said.get("tool_calls"):
                return True
    return False


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _message(document: object, data: bytes) -> str:
    """What the server says is wrong, in any of the API's envelopes; else the beginning of what it sent."""
    message = message_of(document)
    return message[:LONGEST_MESSAGE] if message else _shown(data)


def _shown(data: bytes) -> str:
    text = data[:LONGEST_MESSAGE].decode(errors="replace").strip()
    return text if text else "nothing"
