"""Make the sequences that answer a parsed request, within the model's context.

Must not start the sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firectl.engine.schedule.adapter import EngineAdapter
from firectl.engine.schedule.sequence import Sequence, random_for
from firectl.engine.text.stream import TextStream
from firectl.schemas.openai import ChatRequest, CompletionRequest, ParamError, Sampling
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.engine.load import LoadedModel


def chat_sequences(loaded: LoadedModel, request: ChatRequest, adapter: EngineAdapter | None) -> list[Sequence]:
    """Make a sequence for each choice. ParamError if the template refuses the messages or the prompt is too long."""
    prompt = loaded.tokenizer.chat(request.messages, adapter.chat_template if adapter else None)
    return _sequences(loaded, prompt, request.sampling, request.n, adapter, "messages")


def completion_sequences(
    loaded: LoadedModel, request: CompletionRequest, adapter: EngineAdapter | None
) -> list[Sequence]:
    """Make a sequence for each choice, prompt by prompt. ParamError for a prompt that exceeds the context."""
    sequences = []
    for position, prompt in enumerate(request.prompts):
        param = "prompt" if len(request.prompts) == 1 else f"prompt.{position}"
        tokens = loaded.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        sequences += _sequences(loaded, tokens, request.sampling, request.n, adapter, param)
    return sequences


def _sequences(
    loaded: LoadedModel, prompt: list[int], sampling: Sampling, n: int, adapter: EngineAdapter | None, param: str
) -> list[Sequence]:
    if not prompt:
        raise ParamError(f"{param} has no tokens", param)
    highest = max(prompt)
    if highest >= loaded.vocabulary:
        raise ParamError(f"token id {highest} is outside this model's vocabulary of {loaded.vocabulary}", param)
    max_tokens = _max_tokens(loaded.max_length, len(prompt), sampling, param)
    decode = loaded.tokenizer.decode
    return [
        Sequence(
            prompt,
            sampling,
            max_tokens,
            TextStream(decode, prompt, sampling.stop),
            adapter,
            random_for(sampling.seed, choice),
        )
        for choice in range(n)
    ]


def _max_tokens(limit: int, prompt: int, sampling: Sampling, param: str) -> int:
    asked, room = sampling.max_tokens, limit - prompt
    context = f"this model's maximum context length is {limit} tokens"
    if room < 1:
        message = f"{context}, and the prompt alone has {prompt}"
        raise ParamError(message, param, reason=Reason.CONTEXT_EXCEEDED)
    if asked is None or (asked > room and sampling.truncate_max_tokens):
        return room
    if asked > room:
        message = (
            f"{context}, but the request needs {prompt + asked}: {prompt} in the prompt and {asked} to generate; "
            f"max_tokens can be at most {room}"
        )
        raise ParamError(message, "max_tokens", reason=Reason.CONTEXT_EXCEEDED)
    return asked
