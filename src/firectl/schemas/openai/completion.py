"""What may a request of `/completions` contain, and what shape do its response and its chunks have?

Must not depend on tokenizers: a prompt stays text or token IDs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from firectl.schemas.openai.params import (
    MAX_CHOICES,
    Body,
    Choice,
    Head,
    ParamError,
    Sampling,
    TokenLogprob,
    Usage,
    envelope,
    kind_of,
    read_fields,
)

MAX_LOGPROBS = 5
DEFAULT_MAX_TOKENS = 16

Prompt = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A checked completion request. Choice `i * n + j` of its response is continuation j of prompt i."""

    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    n: int = 1
    stream: bool = False
    include_usage: bool = False


class CompletionBody(Body):
    prompt: Any
    logprobs: Any = None


def parse_completion(body: object) -> CompletionRequest:
    """Read a decoded JSON body as a completion request. ParamError (HTTP 400) names the wrong parameter."""
    fields = read_fields(body, CompletionBody)
    prompts = _prompts(fields.prompt)
    if len(prompts) * fields.n > MAX_CHOICES:
        raise ParamError(
            f"expected at most {MAX_CHOICES} choices, got {len(prompts)} prompts with n {fields.n}",
            "n" if fields.n > 1 else "prompt",
        )
    return CompletionRequest(
        model=fields.model,
        prompts=prompts,
        sampling=fields.sampling(_logprob_count(fields.logprobs), default_max_tokens=DEFAULT_MAX_TOKENS),
        n=fields.n,
        stream=fields.stream,
        include_usage=fields.include_usage,
    )


def completion_answer(head: Head, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
    """Return a whole response, a `text_completion`."""
    return envelope("text_completion", head, [_choice(choice, 0) for choice in choices], usage)


def completion_chunk(
    head: Head, choice: Choice | None, *, text_offset: int = 0, usage: Usage | None = None
) -> dict[str, Any]:
    """Return one chunk of a stream. `text_offset`: how many characters of this choice were sent before."""
    shown = [] if choice is None else [_choice(choice, text_offset)]
    return envelope("text_completion", head, shown, usage)


def _choice(choice: Choice, text_offset: int) -> dict[str, Any]:
    return {
        "index": choice.index,
        "text": choice.text,
        "logprobs": _logprobs(choice.logprobs, text_offset),
        "finish_reason": choice.finish_reason,
    }


def _logprobs(tokens: Sequence[TokenLogprob] | None, offset: int) -> dict[str, Any] | None:
    if tokens is None:
        return None
    offsets = []
    for item in tokens:
        offsets.append(offset)
        offset += len(item.token)
    return {
        "tokens": [item.token for item in tokens],
        "token_logprobs": [item.logprob for item in tokens],
        "top_logprobs": [{token: logprob for token, _, logprob in item.top} for item in tokens],
        "text_offset": offsets,
    }


def _logprob_count(value: object) -> int | None:
    if value is None or value is False:
        return None
    if not isinstance(value, int) or value is True or not 0 <= value <= MAX_LOGPROBS:
        raise ParamError(f"logprobs must be a whole number from 0 to {MAX_LOGPROBS}: how many alternatives", "logprobs")
    return value


def _prompts(value: object) -> tuple[Prompt, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise ParamError("prompt must be a string, token ids, or a non-empty list of either", "prompt")
    if type(value[0]) is int:
        return (_tokens(value, "prompt"),)
    prompts: list[Prompt] = []
    for position, item in enumerate(value):
        at = f"prompt.{position}"
        if isinstance(item, str):
            prompts.append(item)
        elif isinstance(item, list) and item:
            prompts.append(_tokens(item, at))
        else:
            raise ParamError(f"{at} must be a string or a non-empty list of token ids, not {kind_of(item)}", at)
    return tuple(prompts)


def _tokens(value: list[object], at: str) -> tuple[int, ...]:
    tokens = []
    for position, token in enumerate(value):
        if type(token) is not int or token < 0:
            raise ParamError(f"{at}.{position} must be a token id (a whole number)", f"{at}.{position}")
        tokens.append(token)
    return tuple(tokens)
