"""`python -m firectl.server --home DIR --account ID`: the platform as a process, from its lock to its last child.

Serves on 127.0.0.1 alone. Prints one line of JSON, `{"url", "account"}`, once it answers; ends on SIGTERM, SIGINT or
POST /v1/local:shutdown, with every replica stopped and the port free.
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
from firectl.errors import ApiError, Code, FirectlError
from firectl.names import check_id
from firectl.server.access.auth import Authenticator
from firectl.server.access.signing import Signer
from firectl.server.app import create_app
from firectl.server.control.accounts import accounts
from firectl.server.disk import logs
from firectl.server.disk.credentials import Credentials, ensure_credentials
from firectl.server.disk.files import FileStore
from firectl.server.disk.paths import Paths
from firectl.server.doors.body import Protocol
from firectl.server.ownership import open_store
from firectl.server.platform import Platform, PlatformSettings
from firectl.server.replicas.fleet import FleetSettings
from firectl.server.replicas.supervisor import Supervisor, utc_now
from firectl.server.replicas.wakeup import Wakeup

log = logging.getLogger("firectl.server")

HOST = "127.0.0.1"
DATABASE_VARIABLE = "FIRECTL_DATABASE_URL"
"""SQLAlchemy URL of another database than the data folder's; not a flag, for it may hold a password."""
_KEEP_ALIVE_SECONDS = 75
_DRAIN_SECONDS = 5
_RECEIVE_BUFFER = 1 << 20


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    home: Path
    account: str
    port: int = 0
    settings: PlatformSettings = field(default_factory=PlatformSettings)
    threads: int = 0
    """For the arithmetic of each replica; 0 shares the cores out."""
    echo: bool = False
    """Log to stderr too."""


def serve(options: Options, held: list[FileLock]) -> None:
    """Run until told to end. FAILED_PRECONDITION when the data folder or the port is taken.

    The lock of the data folder is put into `held` and never released: as long as the caller keeps that to the end of
    the process, a free lock means that there is none.
    """
    check_id(options.account, "account")
    os.umask(0o077)
    paths = Paths(options.home.resolve())
    paths.create()
    try:
        held.append(FileLock(paths.lock))
        # Whoever asks whether the lock is free holds it for an instant.
        held[-1].acquire(timeout=0.5, poll_interval=0.02)
    except Timeout:
        raise _already_running(paths) from None
    _say_which_process(paths)
    with _listen(options.port) as listener:
        credentials = ensure_credentials(paths)
        logs.set_up(paths.log, [credentials.api_key], options.echo)
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        platform = _assemble(options, paths, credentials, url)
        try:
            asyncio.run(_serve(platform, listener))
        finally:
            platform.store.close()


def _say_which_process(paths: Paths) -> None:
    """Tell `firectl local down` which process holds the lock. A process ID alone may later be another program's."""
    import psutil

    write_private(paths.process, json.dumps({"pid": os.getpid(), "created": psutil.Process().create_time()}))


def _assemble(options: Options, paths: Paths, credentials: Credentials, url: str) -> Platform:
    # Taken out of the environment: children have no business with it.
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
    """Says where it is once it answers there."""

    def __init__(self, config: uvicorn.Config, platform: Platform) -> None:
        super().__init__(config)
        self._platform = platform

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        account = self._platform.account.removeprefix("accounts/")
        info = {"url": self._platform.url, "account": account, "pid": os.getpid(), "version": __version__}
        write_private(self._platform.paths.info, json.dumps(info))
        log.info("platform %s for %s at %s", __version__, account, self._platform.url)
        print(json.dumps({"url": self._platform.url, "account": account}), flush=True)  # noqa: T201


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

    def end() -> None:
        server.should_exit = True

    platform.shut_down = end
    # uvicorn handles signals while it serves and raises them again afterwards: by then the work is done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    await server.serve(sockets=[listener])
    log.info("platform ended")


def _listen(port: int) -> socket.socket:
    # The protocol is named, for asyncio sends small pieces at once (TCP_NODELAY) only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Its connections have it too: what the system holds of an upload is lost with the platform.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.bind((HOST, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ApiError(
            Code.FAILED_PRECONDITION,
            f"port {port} of {HOST} cannot be used: {error.strerror}",
            hint="choose another with --port, or leave it out",
        ) from error
    return listener


def _already_running(paths: Paths) -> ApiError:
    try:
        where = f" at {json.loads(paths.info.read_bytes())['url']}"
    except (OSError, ValueError, KeyError, TypeError):
        where = ""
    return ApiError(
        Code.FAILED_PRECONDITION,
        f"a platform runs on {paths.home} already{where}",
        hint="firectl local down ends it",
    )


def parse(argv: Sequence[str]) -> Options:
    """The options that a command line means; ends the process for one that means none."""
    defaults = PlatformSettings()
    parser = argparse.ArgumentParser(
        prog="python -m firectl.server", description="The firectl platform on this machine."
    )
    parser.add_argument("--home", type=Path, required=True, help="data folder")
    parser.add_argument("--account", required=True, help="ID of the platform's account")
    parser.add_argument("--port", type=int, default=0, help="0: one that is free")
    parser.add_argument("--max-replicas", type=int, default=defaults.max_replicas, help="of all deployments together")
    parser.add_argument("--threads", type=int, default=0, help="of each replica; 0: the cores shared out")
    parser.add_argument("--max-model-bytes", type=int, default=defaults.max_model_bytes, help="of one model's files")
    parser.add_argument("--echo", action="store_true", help="log to stderr too")
    given = parser.parse_args(argv)
    if not 0 <= given.port < 65536:
        parser.error(f"--port {given.port} is not a port")
    if min(given.max_replicas, given.max_model_bytes, given.threads) < 0:
        parser.error("limits must not be negative")
    settings = PlatformSettings(max_replicas=given.max_replicas, max_model_bytes=given.max_model_bytes)
    return Options(given.home, given.account, given.port, settings, given.threads, given.echo)


def main(argv: Sequence[str], held: list[FileLock]) -> int:
    """Serve; the exit code of the error that kept it from doing so. `held`: see `serve`."""
    options = parse(argv)
    try:
        serve(options, held)
    except FirectlError as error:
        # One line: whoever started this shows the last line of the log.
        hint = f"; {error.hint}" if error.hint else ""
        print(f"Error: {error.message} (code = {error.code.title}){hint}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    locks: list[FileLock] = []
    code = main(sys.argv[1:], locks)
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's own way out, which would drop the lock while the process is still there.
    os._exit(code)
