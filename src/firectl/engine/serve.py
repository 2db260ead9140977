"""Run an engine process: listen, load, serve, end.

Listens before it loads, so that the parent can ask for its health. With --exit-with-stdin, ends with its parent.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
import time
import traceback

import uvicorn

from firectl.engine.base_folder import open_base
from firectl.engine.event_log import log_event
from firectl.engine.options import EngineOptions
from firectl.errors import ApiError, Code, FirectlError, to_inference_wire

EXIT_DELAY = 1
"""Seconds from the engine's failure to the end of the process. During them, /health answers 503."""
GRACE = 3
"""Seconds that running requests get after SIGTERM."""
KEEP_ALIVE = 75
"""Seconds that an idle connection stays open. Longer than clients keep theirs (httpx: 5): a client that sends while
the server closes would get an error."""


def serve(options: EngineOptions) -> int:
    """Serve until a signal or a failure, and return the exit code. A failure is a JSON line on stderr, and code 1."""
    try:
        listener = _listen(options)
    except OSError as error:
        _print_error(ApiError(Code.UNAVAILABLE, f"cannot listen on {options.host}:{options.port}: {error.strerror}"))
        return 1
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)  # noqa: T201
    log_event(options, f"starting {options.served_model_name}: {options.model}, process {os.getpid()}")
    if options.exit_with_stdin:
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    return asyncio.run(_serve(options, listener))


async def _serve(options: EngineOptions, listener: socket.socket) -> int:
    from firectl.engine.http.app import build_app
    from firectl.engine.model_server import ModelServer

    model_server = ModelServer(options)
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(model_server),
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE,
            timeout_keep_alive=KEEP_ALIVE,
        )
    )
    loop = asyncio.get_running_loop()
    failures: list[FirectlError] = []

    def end() -> None:
        server.should_exit = True

    def end_after_death(death: ApiError) -> None:
        # The delay gives running requests time to read their errors. Then the process ends, which its parent notices.
        failures.append(death)
        loop.call_soon_threadsafe(loop.call_later, EXIT_DELAY, end)

    def load() -> None:
        begun = time.monotonic()
        try:
            open_base(options.model)
            from firectl.engine.start import start  # torch: seconds

            ready = start(options, loop, end_after_death)
        except FirectlError as error:
            failures.append(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            failures.append(ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}: {error}"))
        else:
            loop.call_soon_threadsafe(model_server.become, ready)
            log_event(options, f"ready after {time.monotonic() - begun:.1f} s")
            return
        end()

    threading.Thread(target=load, name="load", daemon=True).start()
    await server.serve(sockets=[listener])
    if failures:
        _print_error(failures[0])
    return 1 if failures else 0


def _listen(options: EngineOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on a socket whose protocol is given.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(2048)
    return listener


def _end_with_stdin() -> None:
    # os.read, because the lock of a buffered reader would block the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    os._exit(0)


def _print_error(error: FirectlError) -> None:
    print(json.dumps(to_inference_wire(error)), file=sys.stderr, flush=True)  # noqa: T201
