"""Sends one request until it is answered or not worth another try, and says what it came to.

Knows nothing of the API's resources or of the key: the headers come from the caller, and are never shown.
"""

from __future__ import annotations

import json
import math
import random as _random
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from firectl.client.http import failures
from firectl.client.http.connections import Connections, httpx, timeouts
from firectl.client.http.deadline import answered_within
from firectl.client.http.retry import Failure, backoff, judge
from firectl.errors import ApiError, Code, Exit

LARGEST_ANSWER = 64 * 1024 * 1024

SHORTEST_SECRET = 8
"""A key shorter than this is no secret, and cutting it out would cut words."""

T = TypeVar("T")
Trace = Callable[[str, Mapping[str, Any]], None]
"""Called by httpx with (event, what belongs to it): `connection.connect_tcp.complete` and the like."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A request as it travels. `what` names it to people: `GET /v1/accounts`."""

    method: str
    url: httpx.URL = field(repr=False)
    what: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | Callable[[], Generator[bytes]] | None = field(default=None, repr=False)
    """The body, or what makes it anew for each try."""
    repeatable: bool
    """Whether sending it twice equals sending it once."""
    timeout: float
    """Seconds that one try's answer may take as a whole; of one that is streamed, its head, then the longest silence.
    """
    max_retries: int
    accept: frozenset[int] = frozenset()
    """Statuses outside 2xx that are answers, not errors."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: httpx.Headers
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One try, for a log: `status` is None when no answer came, `retry_in` seconds when another try follows."""

    method: str
    path: str
    status: int | None
    seconds: float
    request_id: str | None
    error: ApiError | None = None
    retry_in: float | None = None


class Incoming:
    """An answer whose body is still coming. Leaving its `with`, or closing it, drops the rest."""

    def __init__(self, request: Outgoing, response: httpx.Response) -> None:
        self._request = request
        self._response = response
        self.status = response.status_code
        self.headers = response.headers

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes; NetworkError when it breaks off."""
        request = self._request
        try:
            yield from self._response.iter_bytes()
        except httpx.TransportError as error:
            raise failures.no_answer(error, request.url, request.what, request.timeout) from None
        except httpx.DecodingError:
            raise _undecodable(request, self._response) from None

    def unexpected(self, answer: str) -> ApiError:
        """The error for a body that is not what the API sends."""
        return failures.unexpected(self._request.url, self._request.what, answer, self.headers)


@dataclass(frozen=True)
class _Failed:
    error: ApiError
    failure: Failure


class Sender:
    """`secret` is cut out of whatever a server says. `sleep`, `clock` (Unix seconds), `random` are for the retries."""

    def __init__(
        self,
        connections: Connections,
        *,
        secret: str | None = None,
        on_response: Callable[[Exchange], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _random.random,
        trace: Trace | None = None,
    ) -> None:
        self._connections = connections
        self._trace = trace
        self._secret = secret
        self._on_response = on_response
        self._sleep = sleep
        self._clock = clock
        self._random = random

    def apart(self, *, wait: Callable[[float], None], trace: Trace) -> Sender:
        """One with the same habits over connections of its own, to be closed. `trace` sees them made.

        `wait` is its sleep, unless this one was made with another than the system's.
        """
        return Sender(
            self._connections.apart(),
            secret=self._secret,
            on_response=self._on_response,
            sleep=wait if self._sleep is time.sleep else self._sleep,
            clock=self._clock,
            random=self._random,
            trace=trace,
        )

    def close(self) -> None:
        self._connections.close()

    def send(self, request: Outgoing, *, settled: Callable[[ApiError], bool] | None = None) -> Answer | None:
        """The whole answer.

        `settled` is asked when a repeated request is refused after a try whose outcome is unknown: True means that it
        worked the first time; then there is no answer, and None comes back.
        """
        return self._until_answered(request, _read_whole, settled)

    def open(self, request: Outgoing) -> Incoming:
        """The answer with its body still to be read. Close it."""
        response = self._until_answered(request, lambda response, _: response, None)
        assert response is not None, "only `settled` gives None"
        return Incoming(request, response)

    def pause(self, tries: int) -> None:
        """Waits as long as before any retry after so many tries."""
        self._sleep(backoff(tries, self._random))

    def _until_answered(
        self,
        request: Outgoing,
        read: Callable[[httpx.Response, Outgoing], T],
        settled: Callable[[ApiError], bool] | None,
    ) -> T | None:
        tries = 0
        in_doubt = False
        while True:
            tries += 1
            started = time.monotonic()
            outcome = self._try(request, read)
            seconds = time.monotonic() - started
            if not isinstance(outcome, _Failed):
                status, request_id, answer = outcome
                self._report(request, seconds, status, request_id)
                return answer
            error, failure = outcome.error, outcome.failure
            verdict = judge(
                failure,
                tries=tries,
                max_retries=request.max_retries,
                repeatable=request.repeatable,
                now=self._clock(),
                random=self._random,
            )
            self._report(request, seconds, failure.status, error.request_id, error, verdict.delay)
            if verdict.delay is None:
                if in_doubt and settled is not None and settled(error):
                    return None
                raise self._final(error, verdict.asked)
            in_doubt = in_doubt or failure.in_doubt
            self._sleep(verdict.delay)

    def _try(
        self, request: Outgoing, read: Callable[[httpx.Response, Outgoing], T]
    ) -> tuple[int, str | None, T] | _Failed:
        http = self._connections.to(request.url)
        content = request.content() if callable(request.content) else request.content
        try:
            sent = http.build_request(
                request.method,
                request.url,
                headers=dict(request.headers),
                content=content,
                timeout=timeouts(request.timeout),
                extensions={"trace": self._trace} if self._trace is not None else None,
            )
            with answered_within(request.timeout):
                response = http.send(sent, stream=True, follow_redirects=False)
                try:
                    status = response.status_code
                    if response.is_success or status in request.accept:
                        return status, response.headers.get(failures.REQUEST_ID), read(response, request)
                    body = _read_whole(response, request).content
                except BaseException:
                    response.close()
                    raise
        except httpx.TransportError as error:
            never = failures.never_sent(error)
            failed = failures.no_answer(error, request.url, request.what, request.timeout)
            return _Failed(failed, Failure(status=None, code=failed.code, sent=not never))
        except httpx.DecodingError:
            return _Failed(_undecodable(request, response), Failure(status=status, code=Code.UNKNOWN))
        finally:
            # Left where the sending broke off, it would keep its file open.
            if isinstance(content, Generator):
                content.close()
        failed_answer = failures.error_answer(status, response.headers, body, request.url, request.what)
        return _Failed(failed_answer, Failure(status=status, code=failed_answer.code, headers=response.headers))

    def _report(
        self,
        request: Outgoing,
        seconds: float,
        status: int | None,
        request_id: str | None,
        error: ApiError | None = None,
        retry_in: float | None = None,
    ) -> None:
        if self._on_response is not None:
            exchange = Exchange(
                method=request.method,
                path=request.what.partition(" ")[2],
                status=status,
                seconds=seconds,
                request_id=request_id,
                error=error and self._final(error, None),
                retry_in=retry_in,
            )
            self._on_response(exchange)

    def _final(self, error: ApiError, asked: float | None) -> ApiError:
        if self._secret and len(self._secret) >= SHORTEST_SECRET:
            error.message = error.message.replace(self._secret, "[key]")
            error.args = (error.message,)
            error.hint = error.hint and error.hint.replace(self._secret, "[key]")
            error.details = tuple(json.loads(json.dumps(error.details).replace(self._secret, "[key]")))
        if asked is not None:
            error.hint = f"the server asks to try again in {math.ceil(asked)} s"
            error.exit_code = Exit.RETRY_LATER
        return error


def _read_whole(response: httpx.Response, request: Outgoing) -> Answer:
    chunks = []
    size = 0
    for chunk in response.iter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise httpx.DecodingError("too large", request=response.request)
    response.close()
    return Answer(status=response.status_code, headers=response.headers, content=b"".join(chunks))


def _undecodable(request: Outgoing, response: httpx.Response) -> ApiError:
    answer = "a body that cannot be decompressed or is far too large"
    return failures.unexpected(request.url, request.what, answer, response.headers)
