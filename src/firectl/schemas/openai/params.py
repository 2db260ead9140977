"""Which parameters do chat and completion requests share, and which are refused? Sampling, limits, unsupported ones.

Every refusal is a ParamError that names the parameter. Must not depend on messages or prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firectl.errors import ApiError, Code

MAX_CHOICES = 128
MAX_STOPS = 4
MAX_INT64 = 2**63 - 1

DEPLOYED_MODEL_HINT = (
    'name the model and its deployment in "model": '
    "accounts/<account>/models/<model>#accounts/<account>/deployments/<deployment>"
)

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "echo_last": (0,),
    "function_call": ("none", "auto"),
    "functions": (),
    "images": (),
    "logit_bias": (),
    "min_p": (0,),
    "mirostat_lr": (),
    "mirostat_target": (),
    "modalities": (["text"],),
    "moderation": (),
    "parallel_tool_calls": (True, False),
    "perf_metrics_in_response": (False,),
    "prediction": (),
    "prompt_cache_isolation_key": (),
    "prompt_cache_key": (),
    "prompt_cache_options": (),
    "prompt_cache_retention": (),
    "prompt_truncate_len": (),
    "raw_output": (False,),
    "reasoning_effort": ("none", False),
    "reasoning_history": ("disabled",),
    "repetition_penalty": (1,),
    "return_token_ids": (False,),
    "safe_tokenization": (False,),
    "safety_identifier": (),
    "service_tier": ("auto", "default"),
    "speculation": (),
    "store": (False,),
    "suffix": (),
    "thinking": ({"type": "disabled"},),
    "tool_choice": ("none", "auto"),
    "tools": (),
    "top_logprobs": (0,),
    "typical_p": (1,),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Unsupported parameter that SDKs send → values that are accepted and ignored, besides None, "", [] and {}."""


class ParamError(ApiError):
    """An error (HTTP 400) about one parameter of a request. `param` is its path: `messages.0.role`."""

    def __init__(self, message: str, param: str | None, *, hint: str | None = None, reason: str | None = None) -> None:
        super().__init__(Code.INVALID_ARGUMENT, message, hint=hint, reason=reason)
        self.param = param


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens of one choice are sampled, and when the choice ends."""

    temperature: float = 1.0
    """0 means greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means all tokens."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    """None means up to the end of the context."""
    truncate_max_tokens: bool = False
    """Whether to lower `max_tokens` to the rest of the context instead of refusing the request."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    ignore_eos: bool = False
    top_logprobs: int | None = None
    """How many alternatives to report per token. 0: only the sampled token. None: no log-probabilities."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One sampled token with its natural-log probability and the likeliest alternatives, best first."""

    token: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a response, or the part of it in one chunk."""

    index: int
    text: str
    finish_reason: str | None = None
    """`stop` or `length`; None before the choice has ended."""
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int

    def to_wire(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


Head = tuple[str, int, str]
"""(ID of the response, time of its creation in Unix seconds, model): the same in all chunks of a response."""


def envelope(kind: str, head: Head, choices: list[dict[str, Any]], usage: Usage | None) -> dict[str, Any]:
    """Return a response or a chunk, with `kind` as its `object`. A chunk may have no usage."""
    request_id, created, model = head
    shown = {"id": request_id, "object": kind, "created": created, "model": model, "choices": choices}
    return shown if usage is None else {**shown, "usage": usage.to_wire()}


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ResponseFormat(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    type: str


class Body(BaseModel):
    """The parameters, as received, that chat and completion requests share."""

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    model: Annotated[str, Field(min_length=1, max_length=512)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=-1, le=MAX_INT64)] = 0
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] = 1
    seed: Annotated[int, Field(ge=-MAX_INT64 - 1, le=MAX_INT64)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_INT64)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=MAX_INT64)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    ignore_eos: bool = False
    stop: Any = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat | None = None
    context_length_exceeded_behavior: Annotated[str, Field(pattern="^(error|truncate)$")] = "error"
    user: str | None = None
    metadata: dict[str, str] | None = None

    def sampling(self, top_logprobs: int | None, default_max_tokens: int | None) -> Sampling:
        """Return how to sample.

        ParamError if parameters contradict each other, or for an unsupported response format.
        """
        asked = {value for value in (self.max_tokens, self.max_completion_tokens) if value is not None}
        if len(asked) > 1:
            raise ParamError(
                f"max_tokens is {self.max_tokens} and max_completion_tokens is {self.max_completion_tokens}: send one",
                "max_completion_tokens",
            )
        if self.response_format and self.response_format.type != "text":
            raise ParamError(
                f'response_format: expected {{"type": "text"}}, got type {json.dumps(self.response_format.type)}',
                "response_format",
                hint="there is no JSON mode: ask for JSON in the prompt, and check the response",
            )
        if self.stream_options and not self.stream:
            raise ParamError("stream_options needs stream: true", "stream_options")
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(self.top_k, 0),
            seed=self.seed,
            stop=_stops(self.stop),
            max_tokens=asked.pop() if asked else default_max_tokens,
            truncate_max_tokens=self.context_length_exceeded_behavior == "truncate",
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            ignore_eos=self.ignore_eos,
            top_logprobs=top_logprobs,
        )

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


_Body = TypeVar("_Body", bound=Body)


def parse_json(raw: bytes) -> object:
    """Parse a request body. ParamError (param None) if it is not UTF-8, not JSON, or has half a surrogate pair."""
    try:
        text = raw.decode("utf-8")
        document: object = json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ParamError(f"the body is not UTF-8: byte {error.start} is {raw[error.start]:#04x}", None) from error
    except RecursionError as error:
        raise ParamError("the body is nested too deeply", None) from error
    except ValueError as error:  # JSONDecodeError, numbers of thousands of digits, NaN
        raise ParamError(f"the body is not JSON: {error}", None) from error
    if "\\ud" in text.lower():
        # json.loads accepts a lone surrogate, which no tokenizer and no response can encode.
        try:
            json.dumps(document, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ParamError("the body has half of a surrogate pair (\\ud800–\\udfff) in a string", None) from error
    return document


def read_fields(body: object, kind: type[_Body]) -> _Body:
    """Check the parameters in a body. ParamError names the first one that is wrong, unknown or unsupported."""
    if not isinstance(body, Mapping):
        raise ParamError(f"the body must be a JSON object, not {kind_of(body)}", None)
    for key in ("deployedModel", "deployed_model"):
        if key in body:
            raise ParamError(f"{key} is not supported", key, hint=DEPLOYED_MODEL_HINT)
    fields = {}
    for name, value in body.items():
        if name in NEUTRAL and name not in kind.model_fields:
            if not _is_neutral(value, NEUTRAL[name]):
                raise ParamError(f"{name} is not supported, got {_shown(value)}", name)
        elif value is not None or name not in kind.model_fields:
            fields[name] = value
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _param_error(error) from error


def _param_error(error: ValidationError) -> ParamError:
    # Unknown parameters come last: a wrong type of a known one is the likelier cause.
    first = min(error.errors(include_url=False), key=lambda item: item["type"] == "extra_forbidden")
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return ParamError(f"{param} is required", param)
    if first["type"] == "extra_forbidden":
        return ParamError(f"unknown parameter {param}", param)
    reason = first["msg"][0].lower() + first["msg"][1:]
    return ParamError(f"{param}: {reason}, got {_shown(first['input'])}", param)


def _stops(value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list):
        raise ParamError(f"stop must be a string or a list of strings, not {kind_of(value)}", "stop")
    if len(stops) > MAX_STOPS:
        raise ParamError(f"stop takes at most {MAX_STOPS} strings, got {len(stops)}", "stop")
    for position, stop in enumerate(stops):
        if not isinstance(stop, str) or not stop:
            raise ParamError(f"stop.{position} must be a non-empty string, got {_shown(stop)}", f"stop.{position}")
    return tuple(stops)


def _is_neutral(value: object, neutral: tuple[object, ...]) -> bool:
    if value is None or value in ("", [], {}):
        return True
    # 1 == True in Python, not in JSON.
    return any(value == known and isinstance(value, bool) == isinstance(known, bool) for known in neutral)


def kind_of(value: object) -> str:
    """Return JSON's name for the type of `value`, with an article: `an object`."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON number")
