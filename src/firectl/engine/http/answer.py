"""From progress to an answer: one JSON document, or a stream of events while it is being written.

Must not know how a chat differs from a completion: `Spelling` does.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
import uuid
from collections.abc import AsyncIterator
from collections.abc import Sequence as Items
from typing import Any, Protocol

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


class Spelling(Protocol):
    """How one kind of answer is written; one object serves one request."""

    def whole(self, choices: Items[Choice], usage: Usage) -> dict[str, Any]: ...

    def chunk(self, choice: Choice | None, usage: Usage | None) -> dict[str, Any]: ...


class ChatSpelling:
    def __init__(self, model: str) -> None:
        self._head = (f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), model)
        self._begun: set[int] = set()

    def whole(self, choices: Items[Choice], usage: Usage) -> dict[str, Any]:
        return chat_answer(*self._head, choices, usage)

    def chunk(self, choice: Choice | None, usage: Usage | None) -> dict[str, Any]:
        first = choice is not None and choice.index not in self._begun
        if choice is not None:
            self._begun.add(choice.index)
        return chat_chunk(*self._head, choice, first=first, usage=usage)


class CompletionSpelling:
    def __init__(self, model: str) -> None:
        self._head = (f"cmpl-{uuid.uuid4().hex}", int(time.time()), model)
        self._offsets: dict[int, int] = {}

    def whole(self, choices: Items[Choice], usage: Usage) -> dict[str, Any]:
        return completion_answer(*self._head, choices, usage)

    def chunk(self, choice: Choice | None, usage: Usage | None) -> dict[str, Any]:
        offset = 0
        if choice is not None:
            offset = self._offsets.get(choice.index, 0)
            self._offsets[choice.index] = offset + len(choice.text)
        return completion_chunk(*self._head, choice, text_offset=offset, usage=usage)


async def write_whole(
    generation: Generation, sequences: Items[Sequence], spelling: Spelling, prompts: int
) -> dict[str, Any]:
    """Wait for every choice; raises the error that one of them met."""
    texts: dict[Sequence, list[str]] = {sequence: [] for sequence in sequences}
    logprobs: dict[Sequence, list[TokenLogprob]] = {sequence: [] for sequence in sequences}
    finishes: dict[Sequence, str | None] = {}
    async with generation:
        async for progress in generation:
            texts[progress.sequence].append(progress.text)
            logprobs[progress.sequence].extend(progress.logprobs)
            finishes[progress.sequence] = progress.finish
    choices = [
        Choice(
            index,
            "".join(texts[sequence]),
            finishes[sequence],
            tuple(logprobs[sequence]) if _reports(sequence) else None,
        )
        for index, sequence in enumerate(sequences)
    ]
    return spelling.whole(choices, _usage(sequences, prompts))


async def write_stream(
    generation: Generation, sequences: Items[Sequence], spelling: Spelling, prompts: int, *, usage_apart: bool
) -> AsyncIterator[bytes]:
    """Server-sent events: a chunk whenever there is something to tell, usage in the last one, then `[DONE]`.

    The first token of a choice is told at once, also while its text is still half a character: so a client can see
    when the answer began.

    `usage_apart` puts usage in a chunk of its own without choices. An error becomes the last event, and no `[DONE]`
    follows it.
    """
    index = {sequence: number for number, sequence in enumerate(sequences)}
    left = len(sequences)
    silent = set(sequences)
    try:
        async with generation:
            async for progress in generation:
                left -= progress.last
                reports = _reports(progress.sequence)
                tells = progress.text or progress.finish or (reports and progress.logprobs)
                if not tells and progress.sequence not in silent:
                    continue
                silent.discard(progress.sequence)
                choice = Choice(
                    index[progress.sequence],
                    progress.text,
                    progress.finish,
                    progress.logprobs if reports else None,
                )
                usage = _usage(sequences, prompts) if left == 0 and not usage_apart else None
                yield _event(spelling.chunk(choice, usage))
        if usage_apart:
            yield _event(spelling.chunk(None, _usage(sequences, prompts)))
        yield sse.event(sse.DONE)
    except ApiError as error:
        yield _event(to_inference_wire(error))
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield _event(to_inference_wire(ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}")))


def _usage(sequences: Items[Sequence], prompts: int) -> Usage:
    """Each prompt counts once, however many choices it has."""
    each = len(sequences) // prompts
    return Usage(
        prompt_tokens=sum(len(sequence.prompt) for sequence in sequences[::each]),
        completion_tokens=sum(sequence.generated for sequence in sequences),
    )


def _reports(sequence: Sequence) -> bool:
    return sequence.sampling.top_logprobs is not None


def _event(document: dict[str, Any]) -> bytes:
    return sse.event(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())
