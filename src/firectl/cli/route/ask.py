"""One question to a route: the message, the wait for a deployment that is coming up, the answer as it comes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.app import App
from firectl.errors import ApiError, Code, InputError
from firectl.names import parse_route

if TYPE_CHECKING:
    from firectl.client.inference import Completion

T = TypeVar("T")

LARGEST_MESSAGE = 16 * 1024 * 1024
EXAMPLE = "firectl chat MODEL#DEPLOYMENT 'Hello!'"


def read_message(message: str | None) -> str:
    """The message given, or stdin for `-` and when there is none and stdin is no terminal."""
    if message is not None and message != "-":
        return message
    if message is None and sys.stdin.isatty():
        raise InputError("no message", hint=f"{EXAMPLE}; - reads it from stdin")
    text = sys.stdin.read(LARGEST_MESSAGE)
    if not text.strip():
        raise InputError("no message: stdin is empty", hint=EXAMPLE)
    return text


def request(message: str, system: str | None, temperature: float | None, max_tokens: int | None) -> dict[str, Any]:
    """What goes into the body beside the route."""
    messages = [{"role": "system", "content": system}] if system else []
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in sampling.items() if value is not None}
    return {"messages": [*messages, {"role": "user", "content": message}], **given}


def answer(app: App, target: str, asked: Mapping[str, Any], seconds: float) -> None:
    """Writes the answer: the raw JSON for `-o json`, otherwise the text as it comes. `seconds`: the longest wait."""
    from firectl.client.inference import STARTING
    from firectl.schemas.words import Reason

    route = app.client.inference.route(target)
    if route != target:
        app.output.note(f"Route: {route}")
    try:
        if app.output.format != "text":
            app.emit(_once_up(app, lambda: app.client.inference.chat(route, **asked), seconds).raw)
            return
        stream = _once_up(app, lambda: app.client.inference.chat(route, stream=True, **asked), seconds)
    except ApiError as error:
        if error.code is Code.NOT_FOUND and error.hint is None:
            from firectl.cli.lookup.live_route import instead

            error.hint = instead(app.client, target, route) or f"firectl route check {shlex.quote(route)} --live"
        if error.reason == Reason.DEPLOYMENT_PARKED:
            error.hint = _unpark(route)
        if error.reason in STARTING:
            # Scaled to zero, still starting: which it is, and what to do, is not in the answer.
            error.hint = f"firectl route check {shlex.quote(route)} --live shows what it waits for"
        raise
    app.output.stream(_text(stream))


def _unpark(route: str) -> str:
    deployment = parse_route(route).deployment
    if deployment is None:
        return f"firectl route check {shlex.quote(route)} --live says which deployment that is, and what to run"
    return f"firectl deployment update {deployment} --max-replica-count 1"


def _text(pieces: Any) -> Iterator[str]:
    with pieces:
        piece: Completion
        for piece in pieces:
            yield piece.text


def _once_up(app: App, ask: Callable[[], T], seconds: float) -> T:
    """The answer once the deployment is up; other errors, and the last one when the time is over, as they are."""
    from firectl.client.inference import until_up

    said: list[str] = []

    def on_wait(error: ApiError) -> None:
        if not said:
            app.output.note(f"waiting: {error.message}")
        said.append(error.message)

    return until_up(ask, seconds, on_wait=on_wait)
