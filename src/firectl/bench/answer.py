"""Is it an answer, and when did its pieces come: reads one answer, whole or streamed, as its bytes arrive.

Must not know connections. A wrong answer is a kind of error in the sample, never an exception.
"""

from __future__ import annotations

import json
from typing import Any

from firectl.bench.samples import CUT_SHORT, STREAM_ERROR, WRONG_ANSWER, Sample

LARGEST = 64 << 20
LONGEST_MESSAGE = 200


class Answer:
    """Fills `sample` from the bytes of its answer: `head`, then `data` as often as some come, then `end`."""

    def __init__(self, sample: Sample, *, stream: bool) -> None:
        self.sample = sample
        self.status = 0
        self._stream = stream
        self._buffer = b""
        self._finished = False

    def head(self, status: int) -> None:
        self.status = status
        self._stream = self._stream and status == 200

    def data(self, piece: bytes, now: float) -> None:
        self._buffer += piece
        if self._stream:
            *events, self._buffer = self._buffer.replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                self._event(event, now)
        if len(self._buffer) > LARGEST:
            self.fail(WRONG_ANSWER, "the answer does not end")
            self._buffer = b""

    def end(self) -> None:
        """The body is complete."""
        if self.sample.error is not None:
            return
        if self.status != 200:
            self.fail(f"http_{self.status}", _message(_parse(self._buffer), self._buffer))
        elif not self._stream:
            self._whole()
        elif not self._finished:
            if self.sample.arrivals or not self._buffer:
                self.fail(CUT_SHORT, "the stream ended without [DONE]")
            else:
                self.fail(WRONG_ANSWER, f"no stream of events: {_shown(self._buffer)}")

    def fail(self, kind: str, message: str) -> None:
        """The first thing that goes wrong is what counts."""
        if self.sample.error is None:
            self.sample.error = kind
            self.sample.message = message

    def _event(self, event: bytes, now: float) -> None:
        lines = event.split(b"\n") if b"\n" in event else (event,)
        data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
        if not data:
            return
        if data == b"[DONE]":
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

    def _whole(self) -> None:
        document = _parse(self._buffer)
        if not isinstance(document, dict) or not document.get("choices"):
            self.fail(WRONG_ANSWER, f"an answer without choices: {_shown(self._buffer)}")
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
    if isinstance(document, dict):
        error = document.get("error", document)
        message = error.get("message") if isinstance(error, dict) else error
        if isinstance(message, str) and message:
            return message[:LONGEST_MESSAGE]
    return _shown(data)


def _shown(data: bytes) -> str:
    text = data[:LONGEST_MESSAGE].decode(errors="replace").strip()
    return text if text else "nothing"
