"""What may a request of `/chat/completions` contain, and what shape do its response and its chunks have?

Only checks messages; must not depend on chat templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from firectl.schemas.openai.params import (
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

MAX_TOP_LOGPROBS = 20
ROLES = ("system", "developer", "user", "assistant")
_TOOL_ROLES = ("tool", "function")
_MESSAGE_NEUTRAL = ("tool_calls", "function_call", "audio", "refusal", "annotations", "reasoning_content")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. The role `developer` has become `system`, and the text parts are joined."""

    role: str
    content: str
    name: str | None = None

    def to_template(self) -> dict[str, str]:
        """Return the fields that a chat template reads."""
        fields = {"role": self.role, "content": self.content}
        return fields | {"name": self.name} if self.name else fields


@dataclass(frozen=True, slots=True)
class ChatRequest:
    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    n: int = 1
    stream: bool = False
    include_usage: bool = False


class ChatBody(Body):
    messages: Any
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None


def parse_chat(body: object) -> ChatRequest:
    """Read a decoded JSON body as a chat request. ParamError (HTTP 400) names the wrong parameter."""
    fields = read_fields(body, ChatBody)
    if fields.top_logprobs is not None and not fields.logprobs:
        raise ParamError("top_logprobs needs logprobs: true", "top_logprobs")
    return ChatRequest(
        model=fields.model,
        messages=_messages(fields.messages),
        sampling=fields.sampling((fields.top_logprobs or 0) if fields.logprobs else None, default_max_tokens=None),
        n=fields.n,
        stream=fields.stream,
        include_usage=fields.include_usage,
    )


def chat_answer(head: Head, choices: Sequence[Choice], usage: Usage) -> dict[str, Any]:
    """Return a whole response, a `chat.completion`."""
    shown = [
        _choice(choice, message={"role": "assistant", "content": choice.text, "refusal": None}) for choice in choices
    ]
    return envelope("chat.completion", head, shown, usage)


def chat_chunk(head: Head, choice: Choice | None, *, first: bool = False, usage: Usage | None = None) -> dict[str, Any]:
    """Return one chunk of a stream, a `chat.completion.chunk`. Without `choice`, it contains only the usage.

    `first`: whether this is the first chunk of a choice, which contains the role.
    """
    shown = []
    if choice is not None:
        delta = {"role": "assistant"} if first else {}
        if choice.text or first:
            delta["content"] = choice.text
        shown.append(_choice(choice, delta=delta))
    return envelope("chat.completion.chunk", head, shown, usage)


def _choice(choice: Choice, **content: object) -> dict[str, Any]:
    logprobs = _logprobs(choice.logprobs)
    return {"index": choice.index, **content, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _logprobs(tokens: Sequence[TokenLogprob] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    content = [
        _token(item.token, item.data, item.logprob) | {"top_logprobs": [_token(*other) for other in item.top]}
        for item in tokens
    ]
    return {"content": content, "refusal": None}


def _token(token: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(data)}


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list):
        raise ParamError(f"messages must be a list of messages, not {kind_of(value)}", "messages")
    if not value:
        raise ParamError("messages is empty: send at least one message", "messages")
    return tuple(_message(item, f"messages.{position}") for position, item in enumerate(value))


def _message(value: object, at: str) -> Message:
    if not isinstance(value, Mapping):
        raise ParamError(f"{at} must be an object with role and content, not {kind_of(value)}", at)
    role = value.get("role")
    if role in _TOOL_ROLES:
        raise ParamError(f"{at}.role {role} is not supported: there are no tools", f"{at}.role")
    if not isinstance(role, str) or role not in ROLES:
        shown = f"{role!r}" if isinstance(role, str) else kind_of(role)
        raise ParamError(f"{at}.role must be one of {', '.join(ROLES)}, got {shown}", f"{at}.role")
    for key, other in value.items():
        if key in _MESSAGE_NEUTRAL:
            if other not in (None, "", [], {}):
                raise ParamError(f"{at}.{key} is not supported", f"{at}.{key}")
        elif key not in ("role", "content", "name"):
            raise ParamError(f"unknown field {at}.{key}", f"{at}.{key}")
    name = value.get("name")
    if name is not None and not isinstance(name, str):
        raise ParamError(f"{at}.name must be a string, not {kind_of(name)}", f"{at}.name")
    content = _content(value.get("content"), f"{at}.content")
    return Message("system" if role == "developer" else role, content, name)


def _content(value: object, at: str) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise ParamError(f"{at} must be a string or a list of text parts, not {kind_of(value)}", at)
    if not value:
        raise ParamError(f"{at} is an empty list: send a string or a text part", at)
    return "".join(_part(part, f"{at}.{position}") for position, part in enumerate(value))


def _part(value: object, at: str) -> str:
    if not isinstance(value, Mapping):
        raise ParamError(f"{at} must be an object with type and text, not {kind_of(value)}", at)
    kind = value.get("type")
    if kind != "text":
        shown = kind if isinstance(kind, str) else kind_of(kind)
        raise ParamError(f"{at}.type {shown} is not supported: only text parts are", f"{at}.type")
    text = value.get("text")
    if not isinstance(text, str):
        raise ParamError(f"{at}.text must be a string, not {kind_of(text)}", f"{at}.text")
    unknown = next((key for key in value if key not in ("type", "text")), None)
    if unknown is not None:
        raise ParamError(f"unknown field {at}.{unknown}", f"{at}.{unknown}")
    return text
