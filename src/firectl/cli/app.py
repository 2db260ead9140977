"""Create what one run of a command needs, each on first use: settings, client, output, progress.

Each command gets the App as its first argument. Errors are caught in main.py, not here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from firectl.cli.output.formats import DOCUMENT, JSON, TEXT
from firectl.cli.output.output import PLAIN, Output, View
from firectl.errors import Code, FirectlError, InputError

if TYPE_CHECKING:
    from firectl.cli.machine.platform import LocalPlatform
    from firectl.cli.output.progress import Progress
    from firectl.client.api import Planned
    from firectl.client.client import Client
    from firectl.client.http.sender import Exchange
    from firectl.config import Flags, Settings


class App:
    """Hold the state of one run. `flags`: the global flags given, before or after the verb. `environ`: for settings."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = os.environ if environ is None else environ
        self.flags: dict[str, Any] = {}
        self.ran: click.Context | None = None
        """The context of the verb that ran, with its arguments."""
        self.dry_run = False
        self.yes = False
        self.planned_files: dict[str, int] = {}
        """The files that a dry run would send, and their sizes in bytes."""
        self.offer: Callable[[str, str], list[Any]] = lambda kind, incomplete: []
        """For shell completion: called with a kind of name and the typed text, returns the candidates."""
        self.left_running: list[str] = []
        """Lines to show if the command is interrupted: what is still running, and which command stops it."""
        self.terminated = False
        """Whether the command was interrupted by SIGTERM, and not by Ctrl-C."""

    def set_flag(self, name: str, value: Any) -> None:
        self.flags[name] = value
        self.__dict__.pop("output", None)

    @cached_property
    def output(self) -> Output:
        color = not (self.flags.get("no_color") or self.environ.get("NO_COLOR"))
        return Output(self.flags.get("output", "text"), quiet=bool(self.flags.get("quiet")), color=color)

    @property
    def verbose(self) -> bool:
        return bool(self.flags.get("verbose")) or self.environ.get("FIRECTL_DEBUG", "") not in ("", "0", "false")

    @cached_property
    def settings(self) -> Settings:
        """Return the settings. Without an API key, use the running local platform, if any, and note that on stderr."""
        from dataclasses import replace

        from firectl import config

        settings = self.configured
        chosen = settings.base_url.source != "default" or settings.profile.source != "default"
        if settings.api_key.value is not None or chosen or not config.has_profile("local", self.environ):
            return settings
        running = self.local_platform.running()
        if running is None:
            return settings
        self.output.note(f"no API key is set: going to the platform on this machine, {running.url}")
        # An account in the environment belongs to the hosted service and does not exist on the local platform.
        environ = {name: value for name, value in self.environ.items() if name != "FIREWORKS_ACCOUNT_ID"}
        local = config.resolve(replace(self._config_flags(), profile="local"), environ)
        return replace(local, profile=config.Setting("local", "no API key is set, and a platform runs on this machine"))

    @cached_property
    def configured(self) -> Settings:
        """Return the settings from flags, environment and files. Sends no request."""
        from firectl import config

        return config.resolve(self._config_flags(), self.environ)

    def _config_flags(self) -> Flags:
        from firectl import config

        given = self.flags.get
        return config.Flags(given("api_key"), given("account_id"), given("server"), given("profile"))

    @cached_property
    def client(self) -> Client:
        """Return the client for the API. InputError when there is no API key."""
        from firectl.client.client import Client

        settings = self.settings
        if not settings.api_key.value:
            raise InputError(
                "no API key: not in --api-key, FIREWORKS_API_KEY or the profile",
                hint="firectl set-api-key - < FILE, or for a platform on this machine: firectl local up",
            )
        return Client(
            settings.api_key.value,
            settings.account_id.value,
            settings.base_url.value,
            timeout=self.flags.get("timeout"),
            on_response=self._show_exchange if self.verbose else None,
            dry_run=self.dry_run,
        )

    def full_name(self, text: str, collection: str) -> str:
        """Return the full name for an ID or a full name. A malformed full name is reported before a missing API key."""
        from firectl import names

        return names.resolve(text, collection, self.account if names.is_id(text) else self.configured.account_id.value)

    def check_route(self, text: str) -> None:
        """Raise InputError for a malformed route. Needs no API key."""
        from firectl import names

        account = self.configured.account_id.value
        if not names.check_route(text, account or "account").valid:
            names.parse_route(text, account)

    @property
    def account(self) -> str:
        """Return the account that commands use. Asks the API when no account is configured."""
        return self.settings.account_id.value or self.client.account

    @cached_property
    def is_hosted(self) -> bool:
        """Whether commands go to the hosted service. Asks the server, unless its address belongs to the service."""
        return self._is_at_service or not self.client.is_platform

    @property
    def bills(self) -> bool:
        """Whether running deployments cost money. Decided from the server's address, without a request."""
        from firectl import config

        if "is_hosted" in self.__dict__:
            return self.is_hosted
        return self._is_at_service or not config.is_loopback(_host(self.settings.base_url.value))

    @property
    def _is_at_service(self) -> bool:
        from firectl import config

        service = _host(config.DEFAULT_BASE_URL).partition(".")[2]
        host = _host(self.settings.base_url.value)
        return host == service or host.endswith(f".{service}")

    @cached_property
    def local_platform(self) -> LocalPlatform:
        from firectl import config
        from firectl.cli.machine.platform import LocalPlatform

        return LocalPlatform(config.local_home(self.environ), self.output.note)

    @cached_property
    def progress(self) -> Progress:
        from firectl.cli.output.progress import Progress

        return Progress(self.output)

    @contextmanager
    def leaving(self, *lines: str) -> Iterator[None]:
        """Set `left_running` to `lines` while the block runs. They stay set if an interrupt ends the block.

        If blocks are nested, the lines of the innermost block are shown.
        """
        before, self.left_running = self.left_running, [*lines]
        try:
            yield
        except Exception:
            self.left_running = before
            raise
        self.left_running = before

    def emit(self, result: object, view: View = PLAIN) -> None:
        self.output.emit(result, view)

    def emit_deleted(self, said: str, left: Callable[[], object], view: View = PLAIN) -> None:
        """Show the result of a delete: the note `said`, and in formats for scripts also the document from `left`."""
        if self.output.format != "text":
            self.emit(left(), view)
        self.output.note(said)

    def show_planned(self, planned: Planned) -> None:
        """Show the request that a dry run did not send, as a document: `{"method", "path", "body"}`."""
        from urllib.parse import urlencode

        query = f"?{urlencode(planned.query, safe='/:,')}" if planned.query else ""
        document: dict[str, Any] = {"method": planned.method, "path": f"{planned.path}{query}"}
        if planned.body is not None:
            document["body"] = planned.body
        if self.planned_files:
            document["files"] = [{"name": name, "bytes": size} for name, size in self.planned_files.items()]
            document["total_bytes"] = sum(self.planned_files.values())
        if self.output.format not in DOCUMENT - TEXT:
            self.output.format = JSON
        self.emit(document)
        self.output.note("Nothing was sent.")

    def confirm(self, question: str) -> None:
        """Ask for confirmation in a terminal, unless `--yes` is given. FirectlError (CANCELLED) if the answer is no."""
        if not self.yes and self._can_ask and not click.confirm(question, err=True):
            raise FirectlError("not confirmed: nothing was changed", code=Code.CANCELLED)

    def choose(self, question: str, options: Sequence[str]) -> int:
        """Return the index of the option that a person picks in a terminal. Without a terminal, return 0."""
        if len(options) == 1 or not self._can_ask:
            return 0
        for number, option in enumerate(options, 1):
            self.output.say(f"{number:>3}  {option}")
        picked: int = click.prompt(question, type=click.IntRange(1, len(options)), default=1, err=True)
        return picked - 1

    @property
    def _can_ask(self) -> bool:
        return not self.dry_run and sys.stdin.isatty() and sys.stdout.isatty()

    def redact(self, text: str) -> str:
        """Return `text` with every occurrence of an API key replaced by `[key]`."""
        from firectl.client.http.sender import SHORTEST_SECRET

        keys = {self.flags.get("api_key"), self.environ.get("FIREWORKS_API_KEY")}
        if "settings" in self.__dict__:
            keys.add(self.settings.api_key.value)
        for key in keys:
            text = text.replace(key, "[key]") if key and len(key) >= SHORTEST_SECRET else text
        return text

    def close(self) -> None:
        if "client" in self.__dict__:
            self.client.close()

    def _show_exchange(self, exchange: Exchange) -> None:
        answer = exchange.status if exchange.status is not None else "no answer"
        line = f"{exchange.method} {exchange.path} {answer} {exchange.seconds * 1000:.0f} ms"
        if exchange.request_id:
            line += f" request-id={exchange.request_id}"
        if exchange.error is not None:
            line += f" ({exchange.error.message})"
        if exchange.retry_in is not None:
            line += f", again in {exchange.retry_in:.1f} s"
        self.output.say(self.redact(line))


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    return urlsplit(url).hostname or ""
