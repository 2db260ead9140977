"""Run a command line, catch every error, and end with an exit code. A failure also prints a message.

Must not depend on a command.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from firectl.cli import interrupts
from firectl.cli.app import App
from firectl.cli.output.formats import JSON
from firectl.cli.tree import root
from firectl.errors import ApiError, Code, Exit, FirectlError, InputError

if TYPE_CHECKING:
    from firectl.client.api import Planned


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command line and exit. docs/errors.md lists the exit codes."""
    if argv is None:
        _start_fast()
    arguments = list(sys.argv[1:] if argv is None else argv)
    # If the caller closed a descriptor (`<&-`, `>&-`), Python sets the stream to None. Opening the streams in this
    # order gives each one its usual number (0, 1, 2) again; otherwise a socket would get that number.
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115
    sys.stdout = sys.stdout or _Closed()
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    app = App()
    _complete(app)
    try:
        if argv is None:
            interrupts.hear(app)
        code = run(app, arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = _interrupted(app)
    except BrokenPipeError:
        # The reader of stdout has closed it. Without this line, Python prints another error when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.DONE
    if argv is None:
        # At exit Python searches every imported object for garbage three times. Freezing skips that search.
        gc.freeze()
    sys.exit(code)


def _start_fast() -> None:
    """Change settings of Python and pydantic so that a process that runs one command starts faster."""
    # Imports create many objects and no garbage, but by default Python looks for garbage after every 700 new objects.
    gc.set_threshold(50_000)
    # pydantic searches every installed package for plugins; no schema here uses one.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def run(app: App, argv: list[str]) -> int:
    """Run a command line and return its exit code. Errors are written to stderr, except BrokenPipeError (raised)."""
    try:
        with root.make_context("firectl", argv, obj=app) as ctx:
            result = root.invoke(ctx)
        return int(result) if isinstance(result, int) else Exit.DONE
    except click.exceptions.Exit as exit:
        return exit.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _interrupted(app)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _failed(app, argv, error)
    finally:
        app.close()


def _failed(app: App, argv: list[str], error: Exception) -> int:
    planned = _planned(error)
    if planned is not None:
        app.show_planned(planned)
        return Exit.DONE
    known = _as_firectl_error(error)
    if known is None:
        known = FirectlError(
            f"internal error: {type(error).__name__}",
            code=Code.INTERNAL,
            hint=None if app.verbose else "run it again with --verbose (or FIRECTL_DEBUG=1) to see the traceback",
        )
        if app.verbose:
            import traceback

            app.output.say(app.redact("".join(traceback.format_exception(error)).rstrip()))
    if isinstance(known, ApiError):
        from firectl.cli.mistakes.hints import next_command

        known.hint = next_command(app, known)
    elif isinstance(known, InputError):
        from firectl.cli.mistakes.hints import instead_of_input

        known.hint = instead_of_input(app) or known.hint
    if "output" not in app.flags and _asks_for_json(argv):
        # The command line failed before -o was parsed.
        app.output.format = JSON
    app.output.fail(known)
    return known.exit_code


def _as_firectl_error(error: Exception) -> FirectlError | None:
    """Convert an exception to an error that the user can act on. Return None if the exception is a bug in firectl."""
    if isinstance(error, FirectlError):
        return error
    if isinstance(error, click.UsageError):
        from firectl.cli.mistakes.usage import usage_error

        return usage_error(error)
    if isinstance(error, click.ClickException):
        return InputError(error.format_message())
    on_path = FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError
    if isinstance(error, on_path) and error.filename:
        return InputError(f"{error.filename}: {(error.strerror or type(error).__name__).lower()}")
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return FirectlError(f"{where}{error.strerror.lower()}", code=Code.INTERNAL)
    return None


def _interrupted(app: App) -> int:
    for line in app.left_running:
        app.output.say(line)
    app.output.fail(FirectlError("terminated" if app.terminated else "interrupted", code=Code.CANCELLED))
    return Exit.TERMINATED if app.terminated else Exit.INTERRUPTED


def _planned(error: Exception) -> Planned | None:
    """Return the request in a DryRun error, or None for any other error."""
    if "firectl.client.api" not in sys.modules:
        return None
    from firectl.client.api import DryRun

    return error.request if isinstance(error, DryRun) else None


def _asks_for_json(argv: list[str]) -> bool:
    spaced = any(pair in (("-o", JSON), ("--output", JSON)) for pair in pairwise(argv))
    return spaced or any(word in (f"-o{JSON}", f"-o={JSON}", f"--output={JSON}") for word in argv)


class _Closed(io.TextIOBase):
    """Replace a stdout that the caller closed. Writing a result raises OSError, as it does on a full disk."""

    def __init__(self) -> None:
        os.open(os.devnull, os.O_RDONLY)

    def write(self, text: str) -> int:
        if text:
            raise OSError(errno.EBADF, "stdout is closed: there is nowhere to write the result")
        return 0


def _complete(app: App) -> None:
    """Print completions and exit, if a shell asks for them through `_FIRECTL_COMPLETE`."""
    instruction = app.environ.get("_FIRECTL_COMPLETE")
    if instruction:
        from firectl.cli.lookup.completing import answer

        try:
            sys.exit(answer(app, root, instruction))
        finally:
            app.close()
