"""Convert step results to an answer: one JSON document, or a stream of events.

Must not compute: results come from a `Generation`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import uuid
from collections.abc import AsyncGenerator
from collections.abc import Sequence as Items
from typing import Any

from firectl import sse
from firectl.engine.generation import Generation
from firectl.engine.schedule.sequence import Sequence
from firectl.errors import ApiError, Code, to_inference_wire
from firectl.schemas.openai import (
    Choice,
    TokenLogprob,
    Usage,
    chat_answer,
    chat_chunk,
    completion_answer,
    completion_chunk,
)


class AnswerFormat:
    """Makes the JSON of the answer to one request: a chat or a completion."""

    def __init__(self, model: str, *, chat: bool) -> None:
        self._chat = chat
        self._head = (f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", int(time.time()), model)

    def whole(self, choices: Items[Choice], usage: Usage) -> dict[str, Any]:
        return (chat_answer if self._chat else completion_answer)(self._head, choices, usage)

    def chunk(self, choice: Choice | None, usage: Usage | None, sent: int | None = None) -> dict[str, Any]:
        """Make one event's JSON. `sent`: characters of the choice in earlier chunks; None for its first chunk."""
        if self._chat:
            return chat_chunk(self._head, choice, first=choice is not None and sent is None, usage=usage)
        return completion_chunk(self._head, choice, text_offset=sent or 0, usage=usage)


async def write_whole(
    generation: Generation, sequences: Items[Sequence], answer_format: AnswerFormat, n: int
) -> dict[str, Any]:
    """Wait for every choice and return the whole answer. Raises the error of the first choice that fails."""
    texts = dict.fromkeys(sequences, "")
    logprobs: dict[Sequence, list[TokenLogprob]] = {sequence: [] for sequence in sequences}
    finishes: dict[Sequence, str | None] = {}
    async with generation:
        async for result in generation:
            texts[result.sequence] += result.text
            logprobs[result.sequence] += result.logprobs
            finishes[result.sequence] = result.finish
    choices = [
        Choice(index, texts[each], finishes[each], tuple(logprobs[each]) if _reports(each) else None)
        for index, each in enumerate(sequences)
    ]
    return answer_format.whole(choices, _usage(sequences, n))


async def write_stream(
    generation: Generation, sequences: Items[Sequence], answer_format: AnswerFormat, n: int, *, usage_chunk: bool
) -> AsyncGenerator[bytes, None]:
    """Yield server-sent events: one for each result with text, with usage in the last chunk, then `[DONE]`.

    A choice's first token gives an event even if its text is held back, so that a client can time the first token.
    `usage_chunk` sends usage in a chunk of its own without choices. An error is the last event, without `[DONE]`.
    """
    index = {sequence: number for number, sequence in enumerate(sequences)}
    left = len(sequences)
    sent: dict[Sequence, int] = {}
    try:
        async with generation:
            async for result in generation:
                left -= result.last
                reports = _reports(result.sequence)
                has_news = result.text or result.finish or (reports and result.logprobs)
                before = sent.get(result.sequence)
                if not has_news and before is not None:
                    continue
                sent[result.sequence] = (before or 0) + len(result.text)
                logprobs = result.logprobs if reports else None
                choice = Choice(index[result.sequence], result.text, result.finish, logprobs)
                usage = _usage(sequences, n) if left == 0 and not usage_chunk else None
                yield _event(answer_format.chunk(choice, usage, before))
        if usage_chunk:
            yield _event(answer_format.chunk(None, _usage(sequences, n)))
        yield sse.event(sse.DONE)
    except ApiError as error:
        yield _event(to_inference_wire(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield _event(to_inference_wire(ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}")))


def _usage(sequences: Items[Sequence], n: int) -> Usage:
    """Count the tokens. Each prompt counts once, whatever its number `n` of choices."""
    return Usage(
        prompt_tokens=sum(len(sequence.prompt) for sequence in sequences[::n]),
        completion_tokens=sum(sequence.generated for sequence in sequences),
    )


def _reports(sequence: Sequence) -> bool:
    return sequence.sampling.top_logprobs is not None


def _event(document: dict[str, Any]) -> bytes:
    return sse.event(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
