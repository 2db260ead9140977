"""Show progress while a command works: a live display in a terminal, elsewhere one line for each change.

Imports rich only for a terminal. Writes everything to stderr.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from firectl.cli.output.output import Output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from firectl.client.transfer.meter import TransferProgress as Moved

WORTH_SHOWING = 16_000_000
"""Transfers of at least this many bytes show their progress. Smaller ones show only their end."""


class Steps:
    """Show the steps of a long task. `say` shows the current step, unless it is the same as the last one."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._last: str | None = None

    def say(self, text: str) -> None:
        if text != self._last:
            self._show(text)
            self._last = text


class _TransferLines:
    """Show a transfer as one line for each tenth of the total. A small transfer gets only the last line."""

    def __init__(self, output: Output, verb: str) -> None:
        self._output = output
        self._verb = verb
        self._tenth = -1
        self._started = time.monotonic()

    def show(self, now: Moved) -> None:
        total = now.total_size
        tenth = 10 * now.total_done // total if total else 10
        if tenth > self._tenth and (total >= WORTH_SHOWING or tenth == 10):
            self._tenth = tenth
            if tenth == 10 and total and not now.moved:
                return  # The destination had everything: nothing was sent or fetched.
            part = f" {100 * now.done // now.size}%" if now.size and now.done < now.size else ""
            self._output.note(f"{self._verb} {10 * tenth}% of {size(total)} ({now.file}{part}){self._pace(now)}")

    def _pace(self, now: Moved) -> str:
        """Return speed and time left, or "" in the first half second. The speed counts only bytes transferred now."""
        seconds = time.monotonic() - self._started
        if seconds < 0.5 or not now.moved:
            return ""
        speed = now.moved / seconds
        left = (now.total_size - now.total_done) / speed
        return f", {size(int(speed))}/s" + (f", {duration(left)} left" if left >= 0.5 else "")


class _TransferBar:
    """Show a transfer as a bar for the total and, below it, a bar for each file in progress."""

    def __init__(self, console: Console, verb: str) -> None:
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.DownloadColumn(),
            progress.TransferSpeedColumn(), progress.TimeRemainingColumn(), console=console, transient=True,
        )  # fmt: skip
        self._whole = self.bar.add_task(verb, total=None)
        self._files: dict[str, TaskID] = {}

    def show(self, now: Moved) -> None:
        if not now.moved:
            # Bytes that the destination already had must not count for the speed.
            self.bar.reset(self._whole, completed=now.total_done, total=now.total_size)
        self.bar.update(self._whole, completed=now.total_done, total=now.total_size)
        if now.size is not None and now.done >= now.size:
            if now.file in self._files:
                self.bar.remove_task(self._files.pop(now.file))
        elif now.file in self._files:
            self.bar.update(self._files[now.file], completed=now.done, total=now.size)
        else:
            self._files[now.file] = self.bar.add_task(f"  {now.file}", total=now.size, completed=now.done)


class Progress:
    """Show progress on stderr: live in a terminal, else as lines."""

    def __init__(self, output: Output) -> None:
        self._output = output

    @property
    def is_live(self) -> bool:
        return not self._output.quiet and self._output.stderr.isatty()

    def console(self) -> Console:
        from rich.console import Console

        return Console(file=self._output.stderr, no_color=not self._output.color)

    @contextmanager
    def steps(self, title: str) -> Iterator[Steps]:
        """Show the steps of a task: one line for each step. A terminal also gets a spinner with the elapsed time."""
        if not self.is_live:
            yield Steps(self._output.note)
            return
        from rich import progress

        console = self.console()
        description = progress.TextColumn("{task.description}", markup=False)
        columns = progress.SpinnerColumn(), description, progress.TimeElapsedColumn()
        with progress.Progress(*columns, console=console, transient=True) as spinner:
            task = spinner.add_task(title)

            def show(text: str) -> None:
                console.print(text, markup=False, highlight=False)
                spinner.update(task, description=text)

            yield Steps(show)

    @contextmanager
    def transfer(self, verb: str) -> Iterator[Callable[[Moved], None]]:
        """Show an upload or download. Yields a function to call with the state of the transfer at each change."""
        if not self.is_live:
            yield _TransferLines(self._output, verb).show
            return
        bar = _TransferBar(self.console(), verb)
        with bar.bar:
            yield bar.show


def duration(seconds: float) -> str:
    """Format a time for people: `42 s`, `3 min 5 s`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Format a number of bytes for people, with units in powers of 1000: `1.2 GB`."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{count} B"
