"""Send one chat request: read the message, wait for a deployment that is starting, stream the answer."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.app import App
from firectl.errors import ApiError, Code, InputError
from firectl.names import parse_route
from firectl.schemas.words import Reason

if TYPE_CHECKING:
    from firectl.client.inference import Completion

T = TypeVar("T")

LARGEST_MESSAGE = 16 * 1024 * 1024
EXAMPLE = "firectl chat MODEL#DEPLOYMENT 'Hello!'"


def read_message(message: str | None) -> str:
    """Return `message`, or the text of stdin for `-` or no message. InputError if stdin is needed but empty."""
    if message is not None and message != "-":
        return message
    if message is None and sys.stdin.isatty():
        raise InputError("no message", hint=f"{EXAMPLE}; - reads it from stdin")
    text = sys.stdin.read(LARGEST_MESSAGE)
    if not text.strip():
        raise InputError("no message: stdin is empty", hint=EXAMPLE)
    return text


def request(message: str, system: str | None, sampling: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the body of the request without the route. `sampling` values of None are left out."""
    messages = [{"role": "system", "content": system}] if system else []
    given = {name: value for name, value in sampling.items() if value is not None}
    return {"messages": [*messages, {"role": "user", "content": message}], **given}


def answer(app: App, target: str, asked: Mapping[str, Any], seconds: float) -> None:
    """Write the answer: text as it arrives, or the raw document for other formats. `seconds`: the longest wait."""
    from firectl.client.inference import STARTING

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
            error.hint = f"firectl route check {shlex.quote(route)} --live shows what it waits for"
        raise
    app.output.stream(_text(stream))


def _unpark(route: str) -> str:
    deployment = parse_route(route).deployment
    if deployment is None:
        return f"firectl route check {shlex.quote(route)} --live shows the deployment and what to run"
    return f"firectl deployment update {deployment} --max-replica-count 1"


def _text(pieces: Any) -> Iterator[str]:
    with pieces:
        piece: Completion
        for piece in pieces:
            yield piece.text


def _once_up(app: App, ask: Callable[[], T], seconds: float) -> T:
    """Repeat `ask` while the deployment is starting, and return its answer. After `seconds`, raise the last error."""
    from firectl.client.inference import until_up

    waiting = False

    def on_wait(error: ApiError) -> None:
        nonlocal waiting
        if not waiting:
            app.output.note(f"waiting: {error.message}")
        waiting = True

    return until_up(ask, seconds, on_wait=on_wait)
