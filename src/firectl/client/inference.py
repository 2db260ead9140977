"""Requests to deployed models: chat and completions, whole or streamed, and the list of what can be asked.

Completes a short route with the client's account; asks once, unless `until_up` is put around it.
"""

from __future__ import annotations

import json
import random as _random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from firectl import names, sse
from firectl.client.http import failures
from firectl.client.http.retry import backoff
from firectl.client.http.sender import Incoming
from firectl.errors import ApiError, Code, NetworkError, from_wire
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.client.api import Api

T = TypeVar("T")

SECONDS = 600.0
"""How long an answer may be in coming: a queue and a slow model both count."""

STARTING = frozenset({Reason.DEPLOYMENT_SCALING_UP, Reason.DEPLOYMENT_NOT_READY})
"""Reasons of a 503 that mean: a replica is on its way."""


CHAT = "/inference/v1/chat/completions"
COMPLETIONS = "/inference/v1/completions"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model answered; for a stream, one piece of it. `raw` is the JSON as it came, with all choices."""

    text: str
    finish_reason: str | None
    usage: Mapping[str, Any] | None
    model: str | None
    raw: Mapping[str, Any] = field(repr=False)


class Stream:
    """The pieces of an answer as they come. Closing it, or leaving its `with`, stops the model.

    ApiError when the server reports an error on the way, NetworkError when the stream breaks off.
    """

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self.request_id: str | None = incoming.headers.get(failures.REQUEST_ID)

    def __iter__(self) -> Iterator[Answer]:
        with self._incoming:
            yield from _pieces(self._incoming)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._incoming.close()


def until_up(
    send: Callable[[], T],
    timeout: float,
    *,
    on_wait: Callable[[ApiError], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = _random.random,
) -> T:
    """What `send` returns once the deployment behind it is up, asked again while it starts or scales up from zero.

    `on_wait` hears each refusal. After `timeout` seconds the last one is raised; every other error at once.
    """
    end = clock() + timeout
    tries = 0
    while True:
        try:
            return send()
        except ApiError as error:
            if error.reason not in STARTING or clock() >= end:
                raise
            if on_wait is not None:
                on_wait(error)
        tries += 1
        sleep(min(backoff(tries, random), max(0.0, end - clock())))


class Inference:
    def __init__(self, client: Api) -> None:
        self._client = client

    @overload
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **params: Any
    ) -> Answer: ...
    @overload
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **params: Any
    ) -> Stream: ...
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **params: Any
    ) -> Answer | Stream:
        """One chat request. `route` is any form docs/routing.md lists; `params` go into the body (`max_tokens=64`)."""
        body = {"model": self.route(route), "messages": [*messages], **params}
        return self._stream(CHAT, body) if stream else self.post(CHAT, body)

    @overload
    def completions(self, route: str, prompt: str, *, stream: Literal[False] = False, **params: Any) -> Answer: ...
    @overload
    def completions(self, route: str, prompt: str, *, stream: Literal[True], **params: Any) -> Stream: ...
    def completions(self, route: str, prompt: str, *, stream: bool = False, **params: Any) -> Answer | Stream:
        """One completion of a bare prompt."""
        body = {"model": self.route(route), "prompt": prompt, **params}
        return self._stream(COMPLETIONS, body) if stream else self.post(COMPLETIONS, body)

    def models(self) -> tuple[Mapping[str, Any], ...]:
        """What the server says can be asked, in OpenAI's form."""
        rows = self._client.request("GET", "/inference/v1/models").get("data")
        return tuple(row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else ()

    def route(self, text: str) -> str:
        """The canonical string for any accepted route; InputError, saying where it is wrong, for any other."""
        account = self._client.account_id
        if account is None and not names.check_route(text).valid and names.check_route(text, "account").valid:
            account = self._client.account
        return names.parse_route(text, account).canonical

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
    ) -> Answer:
        """A whole answer to a body that is complete already."""
        answer = self._client.request(
            "POST",
            path,
            body=body,
            headers=headers,
            repeatable=True,
            changes=False,
            timeout=timeout or self._client.timeout or SECONDS,
            max_retries=max_retries,
        )
        if not isinstance(answer.get("choices"), list):
            raise NetworkError(Code.UNKNOWN, f"unexpected answer to {path}: it holds no choices")
        return _read(answer)

    def _stream(self, path: str, body: Mapping[str, Any]) -> Stream:
        incoming = self._client.stream(
            path,
            {**body, "stream": True},
            headers={"Accept": "text/event-stream"},
            timeout=self._client.timeout or SECONDS,
        )
        return Stream(incoming)


def _pieces(incoming: Incoming) -> Iterator[Answer]:
    request_id = incoming.headers.get(failures.REQUEST_ID)
    found = 0
    try:
        for data in sse.data(incoming.chunks()):
            if data == sse.DONE:
                return
            body = json.loads(data)
            if not isinstance(body, dict):
                raise incoming.unexpected("an event that is not a JSON object")
            if body.get("error"):
                raise from_wire(_status_of(body["error"]), body, request_id)
            found += 1
            yield _read(body)
    except (ValueError, RecursionError):
        raise incoming.unexpected("an event that is not JSON") from None
    if found == 0:
        raise incoming.unexpected("a body without events")
    raise NetworkError(Code.UNAVAILABLE, "the stream broke off before the answer was complete", request_id=request_id)


def _status_of(error: object) -> int:
    """The HTTP status an error in a stream stands for: its code's, where it names one."""
    code = Code.of(error.get("code") if isinstance(error, Mapping) else None)
    return 500 if code is Code.UNKNOWN else code.http_status


def _read(body: Mapping[str, Any]) -> Answer:
    """The first choice's text, whichever of the three places it is in."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = first if isinstance(first, Mapping) else {}
    told = choice.get("message") or choice.get("delta")
    text = told.get("content") if isinstance(told, Mapping) else choice.get("text")
    reason, usage, model = choice.get("finish_reason"), body.get("usage"), body.get("model")
    return Answer(
        text=text if isinstance(text, str) else "",
        finish_reason=reason if isinstance(reason, str) else None,
        usage=usage if isinstance(usage, Mapping) else None,
        model=model if isinstance(model, str) else None,
        raw=body,
    )
