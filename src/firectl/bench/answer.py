"""Is a response the answer of a model, and when did its pieces arrive? Reads one answer as its bytes arrive.

Must not depend on connections. A wrong answer is an error in the sample, never an exception.
"""

from __future__ import annotations

import json
from typing import Any

from firectl import sse
from firectl.bench.samples import CUT_SHORT, STREAM_ERROR, WRONG_ANSWER, Sample
from firectl.errors import message_of

LARGEST = 64 << 20
LONGEST_MESSAGE = 200


class StreamedAnswer:
    """Record an answer in `sample` from its bytes. Call `head`, then `data` for each piece, then `end`."""

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
                self.fail(WRONG_ANSWER, f"expected at most {LARGEST >> 20} MiB, got more")
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
        """Finish the sample. Call this when the body is complete."""
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
                self.fail(WRONG_ANSWER, f"expected a stream of events, got {_shown(self._events.rest)}")

    def fail(self, kind: str, message: str) -> None:
        """Record an error, unless the sample already has one."""
        if self.sample.error is None:
            self.sample.error = kind
            self.sample.message = message

    def _event(self, data: bytes, now: float) -> None:
        if data == sse.DONE:
            self._finished = True
            return
        document = _parse(data)
        if not isinstance(document, dict):
            self.fail(WRONG_ANSWER, f"expected an event with a JSON object, got {_shown(data)}")
        elif document.get("error"):
            self.fail(STREAM_ERROR, _message(document, data))
        elif not isinstance(document.get("choices"), list):
            self.fail(WRONG_ANSWER, f"expected an event with choices, got {_shown(data)}")
        else:
            if _has_text(document["choices"]):
                self.sample.arrivals.append(now)
            self._usage(document)

    def _read_whole(self) -> None:
        document = _parse(self._whole)
        if not isinstance(document, dict) or not document.get("choices"):
            self.fail(WRONG_ANSWER, f"expected an answer with choices, got {_shown(self._whole)}")
            return
        self._usage(document)

    def _usage(self, document: dict[str, Any]) -> None:
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.sample.prompt_tokens = _count(usage.get("prompt_tokens"))
            self.sample.generated_tokens = _count(usage.get("completion_tokens"))


def _has_text(choices: list[Any]) -> bool:
    """Whether a piece has output of the model. The first piece of a chat has only the role."""
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
    """Return the server's error message (in any form of the API), otherwise the start of the body."""
    message = message_of(document)
    return message[:LONGEST_MESSAGE] if message else _shown(data)


def _shown(data: bytes) -> str:
    text = data[:LONGEST_MESSAGE].decode(errors="replace").strip()
    return text if text else "nothing"
