"""Requests to deployed models: chat and completions, whole or streamed, and the list of models.

Completes a short route with the client's account. Does not wait for a deployment that starts: `until_up` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from firectl import names, sse
from firectl.client.http import failures
from firectl.client.http.sender import StreamedResponse, without_retries
from firectl.client.wait import RetryArgs, retry_while
from firectl.errors import Code, NetworkError, from_wire
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.client.api import Api

T = TypeVar("T")

SECONDS = 600.0
"""The default timeout: an answer may wait in a queue, and models can be slow."""

STARTING = frozenset({Reason.DEPLOYMENT_SCALING_UP, Reason.DEPLOYMENT_NOT_READY})
"""Error reasons (HTTP 503) that mean that no replica is ready yet."""

CHAT = "/inference/v1/chat/completions"
COMPLETIONS = "/inference/v1/completions"


@dataclass(frozen=True, kw_only=True)
class Completion:
    """The answer of a model, or one piece of a stream. `raw` is the JSON as received, with all choices."""

    text: str
    finish_reason: str | None
    usage: Mapping[str, Any] | None
    model: str | None
    raw: Mapping[str, Any] = field(repr=False)


class Stream:
    """The pieces of an answer as they arrive. Closing it, or leaving its `with`, stops the generation.

    ApiError if the server reports an error in the stream, NetworkError if the stream is cut short.
    """

    def __init__(self, response: StreamedResponse) -> None:
        self._response = response
        self.request_id: str | None = response.headers.get(failures.REQUEST_ID)

    def __iter__(self) -> Iterator[Completion]:
        response = self._response
        found = 0
        try:
            with response:
                for data in sse.data(response.chunks()):
                    if data == sse.DONE:
                        return
                    body = json.loads(data)
                    if not isinstance(body, dict):
                        raise response.unexpected("an event that is not a JSON object")
                    if body.get("error"):
                        raise from_wire(None, body, self.request_id)
                    found += 1
                    yield _read(body)
        except (ValueError, RecursionError):
            raise response.unexpected("an event that is not JSON") from None
        if found == 0:
            raise response.unexpected("a body without events")
        raise NetworkError(
            Code.UNAVAILABLE, "the stream ended before the answer was complete", request_id=self.request_id
        )

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()


def until_up(send: Callable[[], T], timeout: float, **args: Unpack[RetryArgs]) -> T:
    """Call `send` again while its deployment starts or scales up from zero, and return what `send` returns.

    After `timeout` seconds the last such error is raised. Any other error is raised at once.
    """
    # Otherwise each try would sleep as long as Retry-After says, and end after the timeout.
    with without_retries(STARTING):
        return retry_while(lambda error: error.reason in STARTING, send, timeout, **args)


class Inference:
    def __init__(self, client: Api) -> None:
        self._client = client

    @overload
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **params: Any
    ) -> Completion: ...
    @overload
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **params: Any
    ) -> Stream: ...
    def chat(
        self, route: str, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **params: Any
    ) -> Completion | Stream:
        """Send a chat request. docs/routing.md lists the forms of `route`; `params` are fields of the body."""
        body = {"model": self.route(route), "messages": [*messages], **params}
        return self._stream(CHAT, body) if stream else self.post(CHAT, body)

    @overload
    def completions(self, route: str, prompt: str, *, stream: Literal[False] = False, **params: Any) -> Completion: ...
    @overload
    def completions(self, route: str, prompt: str, *, stream: Literal[True], **params: Any) -> Stream: ...
    def completions(self, route: str, prompt: str, *, stream: bool = False, **params: Any) -> Completion | Stream:
        """Request the completion of a prompt, without a chat template."""
        body = {"model": self.route(route), "prompt": prompt, **params}
        return self._stream(COMPLETIONS, body) if stream else self.post(COMPLETIONS, body)

    def models(self) -> tuple[Mapping[str, Any], ...]:
        """Return the models that the server lists, in OpenAI's form."""
        rows = self._client.request("GET", "/inference/v1/models").get("data")
        return tuple(row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else ()

    def route(self, text: str) -> str:
        """Return a route in its canonical form.

        InputError with the position of each mistake if the route is invalid.
        """
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
    ) -> Completion:
        """Send `body` unchanged, and return the whole answer."""
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
            raise NetworkError(Code.UNKNOWN, f"unexpected answer to {path}: expected choices, got none")
        return _read(answer)

    def _stream(self, path: str, body: Mapping[str, Any]) -> Stream:
        response = self._client.stream(
            path,
            {**body, "stream": True},
            headers={"Accept": sse.CONTENT_TYPE},
            timeout=self._client.timeout or SECONDS,
        )
        return Stream(response)


def _read(body: Mapping[str, Any]) -> Completion:
    """Read an answer or a piece. The text of the first choice is in `message`, `delta` or `text`."""
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    choice = first if isinstance(first, Mapping) else {}
    told = choice.get("message") or choice.get("delta")
    text = told.get("content") if isinstance(told, Mapping) else choice.get("text")
    reason, usage, model = choice.get("finish_reason"), body.get("usage"), body.get("model")
    return Completion(
        text=text if isinstance(text, str) else "",
        finish_reason=reason if isinstance(reason, str) else None,
        usage=usage if isinstance(usage, Mapping) else None,
        model=model if isinstance(model, str) else None,
        raw=body,
    )
