"""One question to a route: the message, the wait for a deployment that is coming up, the answer as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from firectl.cli.app import App
from firectl.errors import ApiError, InputError

if TYPE_CHECKING:
    from firectl.client.inference import Answer

T = TypeVar("T")

LARGEST_MESSAGE = 16 * 1024 * 1024


def read_message(message: str | None) -> str:
    """The message given, or stdin for `-` and when there is none and stdin is no terminal."""
    if message is not None and message != "-":
        return message
    if message is None and sys.stdin.isatty():
        raise InputError("no message", hint="write it after the target, or - to read it from stdin")
    text = sys.stdin.read(LARGEST_MESSAGE)
    if not text.strip():
        raise InputError("the message on stdin is empty")
    return text


def request(message: str, system: str | None, temperature: float | None, max_tokens: int | None) -> dict[str, Any]:
    """What goes into the body beside the route."""
    messages = [{"role": "system", "content": system}] if system else []
    sampling = {"temperature": temperature, "max_tokens": max_tokens}
    given = {name: value for name, value in sampling.items() if value is not None}
    return {"messages": [*messages, {"role": "user", "content": message}], **given}


def answer(app: App, target: str, asked: Mapping[str, Any], seconds: float) -> None:
    """Writes the answer: the raw JSON for `-o json`, otherwise the text as it comes. `seconds`: the longest wait."""
    route = app.client.inference.route(target)
    if route != target:
        app.output.note(f"Route: {route}")
    if app.output.format != "text":
        whole = _once_up(app, lambda: app.client.inference.chat(route, **asked), seconds)
        app.emit(whole.raw)
        return
    stream = _once_up(app, lambda: app.client.inference.chat(route, stream=True, **asked), seconds)
    app.output.stream(_text(stream))


def _text(pieces: Any) -> Iterator[str]:
    with pieces:
        piece: Answer
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
