"""The life of an engine process: listen, load, serve, end.

It listens before it loads, so that whoever started it can ask how far it is; it ends with its parent when told to.
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
from firectl.engine.journal import note
from firectl.engine.options import EngineOptions
from firectl.errors import ApiError, Code, FirectlError, to_inference_wire

LAST_WORDS = 1
"""Seconds between the engine's death and the end of the process: /health says 503 meanwhile."""
GRACE = 3
"""Seconds that requests in flight get after SIGTERM."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than clients keep theirs (httpx 5), who may else send their next
request at the moment of its end."""


def serve(options: EngineOptions) -> int:
    """Serve until told to stop; the exit code. 1 when the model cannot be loaded, said as one JSON line on stderr."""
    try:
        listener = _listen(options)
    except OSError as error:
        _say(ApiError(Code.UNAVAILABLE, f"cannot listen on {options.host}:{options.port}: {error.strerror}"))
        return 1
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)  # noqa: T201
    note(options, f"starting {options.served_model_name}: {options.model}, process {os.getpid()}")
    if options.exit_with_stdin:
        threading.Thread(target=_end_with_stdin, name="stdin", daemon=True).start()
    return asyncio.run(_serve(options, listener))


async def _serve(options: EngineOptions, listener: socket.socket) -> int:
    from firectl.engine.http.app import build_app
    from firectl.engine.replica import Replica

    replica = Replica(options)
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(replica),
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
    failure: list[FirectlError] = []

    def end() -> None:
        server.should_exit = True

    def died(death: FirectlError) -> None:
        # A process without its engine serves nobody: whoever started it sees the end of it at once, and no later than
        # those in flight have read their errors.
        failure.append(death)
        loop.call_soon_threadsafe(loop.call_later, LAST_WORDS, end)

    def load() -> None:
        begun = time.monotonic()
        try:
            open_base(options.model)
            from firectl.engine.start import start  # torch and transformers: seconds

            ready = start(options, loop, died)
        except FirectlError as error:
            failure.append(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            failure.append(ApiError(Code.INTERNAL, f"internal error: {type(error).__name__}: {error}"))
        else:
            loop.call_soon_threadsafe(replica.become, ready)
            note(options, f"ready after {time.monotonic() - begun:.1f} s")
            return
        server.should_exit = True

    threading.Thread(target=load, name="load", daemon=True).start()
    await server.serve(sockets=[listener])
    if failure:
        _say(failure[0])
        return 1
    return 0


def _listen(options: EngineOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # The protocol is named, for asyncio sends small pieces at once (TCP_NODELAY) only where it is.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(2048)
    return listener


def _end_with_stdin() -> None:
    # os.read, because a buffered reader's lock, held for ever, would trip the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    os._exit(0)


def _say(error: FirectlError) -> None:
    print(json.dumps(to_inference_wire(error)), file=sys.stderr, flush=True)  # noqa: T201
