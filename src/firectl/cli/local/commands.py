"""Implement the verbs of `firectl local`: control the platform's process, and write its profile and notes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from firectl.cli.app import App
from firectl.cli.output.counted import counted
from firectl.cli.output.output import View
from firectl.errors import Exit, InputError

if TYPE_CHECKING:
    from firectl.cli.machine.platform import RunningPlatform

PROFILE = "local"


def up(app: App, port: int | None, limits: Mapping[str, int | None]) -> dict[str, Any]:
    """Start the platform unless it is running, and write the profile `local` with its URL and key."""
    platform = app.local_platform
    with app.progress.steps("starting the platform"):
        running = platform.up(port, app.flags.get("account_id"), _options(limits))
    _keep_profile(app, running)
    app.output.note('To send commands and SDKs there: eval "$(firectl local env)"')
    starting = platform.status(running).get("starting", 0)
    if starting:
        app.output.note(f"{counted(starting, 'deployment', 'is', 'are')} starting: firectl deployment list")
    return _document(app, running)


def show_log(app: App, replica: str | None, lines: int, *, follow: bool) -> int:
    """Write the end of a log. With `follow`, Ctrl-C ends the command without an error message."""
    try:
        app.output.stream(app.local_platform.logs(replica, lines, follow=follow))
    except KeyboardInterrupt:
        if not follow or app.terminated:
            raise
        return Exit.INTERRUPTED
    return Exit.DONE


def down(app: App) -> dict[str, Any]:
    with app.progress.steps("stopping the platform"):
        was_up = app.local_platform.down()
    if not was_up:
        app.output.note("no platform was running")
    return {"state": "DOWN", "home": str(app.local_platform.home)}


def status(app: App) -> dict[str, Any]:
    running = app.local_platform.running()
    if running is None:
        app.output.note(f"no platform runs in {_home(app)}; to start one: firectl local up")
        return {"state": "DOWN", "home": str(app.local_platform.home)}
    return _document(app, running) | app.local_platform.status(running)


def disk(app: App) -> dict[str, Any]:
    """Return the number of bytes used in each folder of the platform's home."""
    platform = app.local_platform
    used = {f"{name}_bytes": count for name, count in platform.disk().items()}
    if used["trash_bytes"]:
        app.output.note("to empty the trash: firectl local prune")
    return {"home": str(platform.home), **used}


def prune(app: App) -> dict[str, Any]:
    platform = app.local_platform
    with app.progress.steps("emptying the trash"):
        freed = platform.prune()
    return {"home": str(platform.home), "freed_bytes": freed}


def _in_words(document: Mapping[str, Any]) -> Iterator[str]:
    from firectl.cli.output.progress import size

    for name, value in document.items():
        yield f"{name.removesuffix('_bytes').title()}: {size(value) if name.endswith('_bytes') else value}"


SIZES = View(text=_in_words)


def variables(app: App) -> dict[str, str]:
    """Return the environment variables that make an SDK use the platform. InputError if no platform is running."""
    running = app.local_platform.running()
    if running is None:
        raise InputError(f"no platform runs in {_home(app)}", hint="firectl local up")
    return {
        "FIREWORKS_BASE_URL": running.url,
        "FIREWORKS_API_KEY": app.local_platform.key(),
        "FIREWORKS_ACCOUNT_ID": running.account,
    }


def _exports(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        yield f"export {name}={shlex.quote(value)}"


EXPORTS = View(text=_exports)


def serve(app: App, port: int | None, limits: Mapping[str, int | None]) -> int:
    """Run the platform in the foreground until it ends. Return its exit status."""

    def started(running: RunningPlatform) -> None:
        _keep_profile(app, running)
        app.output.note(f"The platform is at {running.url}; Ctrl-C stops it")

    return app.local_platform.serve(port, app.flags.get("account_id"), _options(limits), started)


def _options(limits: Mapping[str, int | None]) -> list[str]:
    """Return the given limits as command-line flags for the platform."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in limits.items() if value is not None]


def _keep_profile(app: App, running: RunningPlatform) -> None:
    from firectl import config

    values = {"api_key": app.local_platform.key(), "account_id": running.account, "base_url": running.url}
    before = config.read_profile(PROFILE, app.environ) if config.has_profile(PROFILE, app.environ) else None
    if before is None or any(getattr(before, name) != value for name, value in values.items()):
        config.write_profile(PROFILE, values, app.environ)


def _home(app: App) -> str:
    """Return the folder of firectl's settings, which FIREWORKS_HOME can change."""
    from firectl import config

    return str(config.home(app.environ))


def _document(app: App, running: RunningPlatform) -> dict[str, Any]:
    return {
        "state": "UP",
        "url": running.url,
        "account": running.account,
        "version": running.version,
        "home": str(app.local_platform.home),
        "log": str(app.local_platform.paths.log),
    }
