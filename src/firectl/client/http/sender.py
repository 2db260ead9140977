"""Sends one HTTP request, and repeats it until it succeeds or the retry rules allow no further attempt.

Must not depend on the API's resources. Never shows a request's headers: they hold the key.
"""

from __future__ import annotations

import contextlib
import json
import math
import random as _random
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from firectl.client.http import failures
from firectl.client.http.connections import Connections, httpx, timeouts
from firectl.client.http.network import answered_within
from firectl.client.http.retry import Failure, backoff, judge
from firectl.errors import ApiError, Exit

LARGEST_ANSWER = 64 * 1024 * 1024

SHORTEST_SECRET = 8
"""Least length of a key that is replaced in messages. A shorter key could be part of an ordinary word."""

T = TypeVar("T")

_NOT_RETRIED: ContextVar[Collection[str]] = ContextVar("not_retried", default=())


@contextlib.contextmanager
def without_retries(reasons: Collection[str]) -> Iterator[None]:
    """Raise errors with these reasons without a retry inside the block, for a caller with its own retries."""
    token = _NOT_RETRIED.set(reasons)
    try:
        yield
    finally:
        _NOT_RETRIED.reset(token)


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """A request. `what` names it in messages: `GET /v1/accounts`."""

    method: str
    url: httpx.URL = field(repr=False)
    what: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | Callable[[], Generator[bytes]] | None = field(default=None, repr=False)
    """The body, or a function that makes it for each attempt."""
    repeatable: bool = True
    """Whether sending it twice has the effect of sending it once."""
    timeout: float
    """Seconds for the whole answer of one attempt. For a streamed answer: for its head, then for each read."""
    max_retries: int
    accept: frozenset[int] = frozenset()
    """Statuses outside 2xx that are not errors."""


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    status: int
    headers: httpx.Headers
    content: bytes


@dataclass(frozen=True)
class Exchange:
    """One attempt, for a log. `status` is None without an answer; `retry_in` is in seconds, None for the last one."""

    method: str
    path: str
    status: int | None
    seconds: float
    request_id: str | None
    error: ApiError | None = None
    retry_in: float | None = None


class StreamedResponse:
    """An answer whose body is still to be read. Closing it, or leaving its `with`, drops the rest."""

    def __init__(self, request: HttpRequest, response: httpx.Response) -> None:
        self._request = request
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def __enter__(self) -> StreamedResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()

    def chunks(self) -> Iterator[bytes]:
        """Yield the body's pieces as they arrive. NetworkError if the body ends too early."""
        request = self._request
        try:
            yield from self._response.iter_bytes()
        except httpx.TransportError as error:
            raise failures.no_answer(error, request.url, request.what, request.timeout) from None
        except httpx.DecodingError:
            raise self.unexpected(failures.UNDECODABLE) from None

    def unexpected(self, answer: str) -> ApiError:
        """Return the error for a body that the API does not send; `answer` describes that body."""
        return failures.unexpected(self._request.url, self._request.what, answer, self.headers)


class Sender:
    """Send requests, with retries. `secret` is replaced in error messages.

    `sleep`, `clock` (Unix seconds) and `random` are used for the retries.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        secret: str | None = None,
        on_response: Callable[[Exchange], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.connections = connections
        self._secret = secret
        self._on_response = on_response or (lambda _: None)
        self._sleep = sleep
        self._clock = clock
        self._random = random

    def copy(self, sleep: Callable[[float], None]) -> Sender:
        """Return a sender with its own connections, which calls `sleep` where this one calls time.sleep."""
        return Sender(
            self.connections.copy(),
            secret=self._secret,
            on_response=self._on_response,
            sleep=sleep if self._sleep is time.sleep else self._sleep,
            clock=self._clock,
            random=self._random,
        )

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send a request and return the whole answer.

        ApiError has in `maybe_done` whether an earlier attempt may have worked.
        """
        return self._until_answered(request, _read_whole)

    def open(self, request: HttpRequest) -> StreamedResponse:
        """Send a request and return the answer before its body is read. The caller must close the answer."""
        return self._until_answered(request, lambda response: StreamedResponse(request, response))

    def pause(self, tries: int) -> None:
        """Wait for the backoff time that follows `tries` failed attempts."""
        self._sleep(backoff(tries, self._random))

    def _until_answered(self, request: HttpRequest, read: Callable[[httpx.Response], T]) -> T:
        path = request.what.partition(" ")[2]
        tries = 0
        maybe_done = False
        while True:
            tries += 1
            started = time.monotonic()
            outcome = self._attempt(request, read)
            seconds = time.monotonic() - started
            if not isinstance(outcome, Failure):
                response, answer = outcome
                request_id = response.headers.get(failures.REQUEST_ID)
                self._on_response(Exchange(request.method, path, response.status_code, seconds, request_id))
                return answer
            error = self._redacted(outcome.error)
            verdict = judge(
                outcome,
                tries=tries,
                max_retries=0 if error.reason in _NOT_RETRIED.get() else request.max_retries,
                repeatable=request.repeatable,
                now=self._clock(),
                random=self._random,
            )
            status, delay = outcome.status, verdict.delay
            self._on_response(Exchange(request.method, path, status, seconds, error.request_id, error, delay))
            if delay is None:
                error.maybe_done = maybe_done
                if verdict.asked is not None:
                    error.hint = f"the server asks to try again in {math.ceil(verdict.asked)} s"
                    error.exit_code = Exit.RETRY_LATER
                raise error
            maybe_done = maybe_done or outcome.in_doubt
            self._sleep(delay)

    def _attempt(self, request: HttpRequest, read: Callable[[httpx.Response], T]) -> tuple[httpx.Response, T] | Failure:
        content = request.content() if callable(request.content) else request.content
        client = self.connections.to(request.url)
        try:
            sent = client.build_request(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=content,
                timeout=timeouts(request.timeout),
            )
            with answered_within(request.timeout):
                response = client.send(sent, stream=True, follow_redirects=False)
                try:
                    if response.is_success or response.status_code in request.accept:
                        return response, read(response)
                    body = _read_whole(response).content
                except BaseException:
                    response.close()
                    raise
        except httpx.TransportError as error:
            failed: ApiError = failures.no_answer(error, request.url, request.what, request.timeout)
            return Failure(error=failed, status=None, sent=not failures.never_sent(error))
        except httpx.DecodingError:
            failed = failures.unexpected(request.url, request.what, failures.UNDECODABLE, response.headers)
            return Failure(error=failed, status=response.status_code)
        finally:
            # A generator that stopped half way would keep its file open.
            if isinstance(content, Generator):
                content.close()
        failed = failures.error_answer(response.status_code, response.headers, body, request.url, request.what)
        return Failure(error=failed, status=response.status_code, headers=response.headers)

    def _redacted(self, error: ApiError) -> ApiError:
        if self._secret and len(self._secret) >= SHORTEST_SECRET:
            error.message = error.message.replace(self._secret, "[key]")
            error.args = (error.message,)
            error.hint = error.hint and error.hint.replace(self._secret, "[key]")
            error.details = tuple(json.loads(json.dumps(error.details).replace(self._secret, "[key]")))
        return error


def _read_whole(response: httpx.Response) -> HttpResponse:
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > LARGEST_ANSWER:
            raise httpx.DecodingError("too large", request=response.request)
    response.close()
    return HttpResponse(status=response.status_code, headers=response.headers, content=bytes(content))
