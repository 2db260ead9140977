"""`python -m firectl.server --home DIR --account ID`: how does the platform run as a process?

The process serves on 127.0.0.1 only. It prints one line of JSON, `{"url", "account"}`, once it answers requests.
SIGTERM, SIGINT or POST /v1/local:shutdown end it; before it ends, it stops all replicas and frees the port.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from filelock import FileLock, Timeout

from firectl import __version__
from firectl.config import write_private
from firectl.errors import ApiError, FirectlError, failed_precondition
from firectl.names import check_id
from firectl.server.access.auth import Authenticator
from firectl.server.access.signing import Signer
from firectl.server.app import create_app
from firectl.server.control.accounts import accounts
from firectl.server.disk import logs
from firectl.server.disk.credentials import Credentials, ensure_credentials
from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.doors.protocol import Protocol
from firectl.server.ownership import open_store
from firectl.server.platform import Platform, PlatformSettings
from firectl.server.replicas.fleet import FleetSettings
from firectl.server.replicas.supervisor import Supervisor, utc_now
from firectl.server.replicas.wakeup import Wakeup

log = logging.getLogger("firectl.server")

HOST = "127.0.0.1"
DATABASE_VARIABLE = "FIRECTL_DATABASE_URL"
"""SQLAlchemy URL of a database other than the data folder's own. Not a flag, because it may hold a password."""
_KEEP_ALIVE_SECONDS = 75
_DRAIN_SECONDS = 5
_RECEIVE_BUFFER = 1 << 20


@dataclass(frozen=True)
class Options:
    """The parsed command line."""

    home: Path
    account: str
    port: int = 0
    settings: PlatformSettings = field(default_factory=PlatformSettings)
    threads: int = 0
    """Compute threads of each replica; 0 divides the cores among the replicas."""
    echo: bool = False
    """Also log to stderr."""


def serve(options: Options, held: list[FileLock]) -> None:
    """Run the platform until it is told to end. FAILED_PRECONDITION when the data folder or the port is in use.

    Append the lock of the data folder to `held` and never release it. The caller keeps `held` until the process ends,
    so that a free lock proves that no platform runs.
    """
    check_id(options.account, "account")
    os.umask(0o077)
    paths = Paths(options.home.resolve())
    paths.create()
    try:
        held.append(FileLock(paths.lock))
        # Wait a little: another process may hold the lock for a moment, to test whether a platform runs.
        held[-1].acquire(timeout=0.5, poll_interval=0.02)
    except Timeout:
        raise _already_running(paths) from None
    _write_process_file(paths)
    with _listen(options.port) as listener:
        credentials = ensure_credentials(paths)
        logs.set_up(paths.log, [credentials.api_key], options.echo)
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        platform = _assemble(options, paths, credentials, url)
        try:
            asyncio.run(_serve(platform, listener))
        finally:
            platform.store.close()


def _write_process_file(paths: Paths) -> None:
    """Write the ID and creation time of this process for `firectl local down`; the ID alone may be reused."""
    import psutil

    write_private(paths.process, json.dumps({"pid": os.getpid(), "created": psutil.Process().create_time()}))


def _assemble(options: Options, paths: Paths, credentials: Credentials, url: str) -> Platform:
    # Remove the URL from the environment, so that child processes do not inherit it.
    store = open_store(paths, os.environ.pop(DATABASE_VARIABLE, "") or f"sqlite:///{paths.database}")
    account = f"accounts/{options.account}"
    accounts.bootstrap(store, account, credentials.api_key, utc_now())
    with store.read() as tx:
        FileStore(paths).sweep({row.folder for row in tx.models.all()})
    wakeup = Wakeup()
    return Platform(
        account=account,
        url=url,
        paths=paths,
        settings=options.settings,
        store=store,
        wakeup=wakeup,
        supervisor=Supervisor(
            store,
            paths.home,
            account,
            wakeup,
            FleetSettings(max_loras=options.settings.max_addons, threads=options.threads),
            max_replicas=options.settings.max_replicas,
        ),
        authenticator=Authenticator(store, utc_now),
        signer=Signer(credentials.signing_key, utc_now),
    )


class _Server(uvicorn.Server):
    """A uvicorn server that writes and prints the platform's address once the platform answers there."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        where = {"url": self._platform.url, "account": self._platform.account.removeprefix("accounts/")}
        process = {"pid": os.getpid(), "version": __version__}
        write_private(self._platform.paths.info, json.dumps({**where, **process}))
        log.info("platform %s for %s at %s", __version__, where["account"], where["url"])
        print(json.dumps(where), flush=True)  # noqa: T201


async def _serve(platform: Platform, listener: socket.socket) -> None:
    config = uvicorn.Config(
        create_app(platform),
        loop="none",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = _Server(config, platform)
    platform.shut_down = lambda: setattr(server, "should_exit", True)
    # uvicorn raises the signals that it handled again after its shutdown; these handlers ignore them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    await server.serve(sockets=[listener])
    log.info("platform ended")


def _listen(port: int) -> socket.socket:
    # The protocol is explicit, because asyncio sets TCP_NODELAY only then.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit this buffer size. Bytes of an upload in the buffer are lost when the platform is killed.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.bind((HOST, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise failed_precondition(
            f"port {port} of {HOST} cannot be used: {error.strerror}",
            hint="choose another with --port, or omit --port",
        ) from error
    return listener


def _already_running(paths: Paths) -> ApiError:
    try:
        where = f" at {json.loads(paths.info.read_bytes())['url']}"
    except (OSError, ValueError, KeyError, TypeError):
        where = ""
    return failed_precondition(
        f"a platform is already running on {paths.home}{where}", hint="firectl local down stops it"
    )


def parse(argv: Sequence[str]) -> Options:
    """Return the options of a command line; end the process when the command line is malformed."""
    defaults = PlatformSettings()
    parser = argparse.ArgumentParser(
        prog="python -m firectl.server", description="The firectl platform on this machine."
    )
    parser.add_argument("--home", type=Path, required=True, help="data folder")
    parser.add_argument("--account", required=True, help="ID of the platform's account")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--max-replicas", type=int, default=defaults.max_replicas, help="of all deployments together")
    parser.add_argument("--threads", type=int, default=0, help="of each replica; 0: the cores divided among them")
    parser.add_argument("--max-model-bytes", type=int, default=defaults.max_model_bytes, help="of one model's files")
    parser.add_argument("--echo", action="store_true", help="also log to stderr")
    given = parser.parse_args(argv)
    if not 0 <= given.port < 65536:
        parser.error(f"--port must be between 0 and 65535, it is {given.port}")
    if min(given.max_replicas, given.max_model_bytes, given.threads) < 0:
        parser.error("limits must not be negative")
    settings = PlatformSettings(max_replicas=given.max_replicas, max_model_bytes=given.max_model_bytes)
    return Options(given.home, given.account, given.port, settings, given.threads, given.echo)


def main(argv: Sequence[str], held: list[FileLock]) -> int:
    """Run `serve` and return the exit code: 0, or the code of the error that ended `serve`. `held`: see `serve`."""
    options = parse(argv)
    try:
        serve(options, held)
    except FirectlError as error:
        # One line, because `firectl local up` shows the last line of this output.
        hint = f"; {error.hint}" if error.hint else ""
        print(f"Error: {error.message} (code = {error.code.title}){hint}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    locks: list[FileLock] = []
    code = main(sys.argv[1:], locks)
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: the interpreter's shutdown would release the lock while the process still exists.
    os._exit(code)
