"""What people see while a command works: live in a terminal, elsewhere one line for each change.

rich is imported only for a terminal. Everything goes to stderr.
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


class Steps:
    """One thing that takes a while: `say` shows where it is now."""

    def say(self, text: str) -> None:
        raise NotImplementedError


class _Lines(Steps):
    """A line for each change, and none for what was said already."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: str | None = None

    def say(self, text: str) -> None:
        if text != self._last:
            self._output.note(text)
            self._last = text


class _Live(Steps):
    """A spinner with the time that has passed; each change is also left behind as a line."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = console
        self.bar = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn(), console=console,
            transient=True,
        )  # fmt: skip
        self._task = self.bar.add_task(title)
        self._last: str | None = None

    def say(self, text: str) -> None:
        if text != self._last:
            self._console.print(text, markup=False, highlight=False)
            self.bar.update(self._task, description=text)
            self._last = text


WORTH_SHOWING = 16_000_000
"""Bytes from which on a transfer is shown on its way."""


class Transfer:
    """Bytes on their way; `show` takes what has been done so far."""

    def show(self, now: Moved) -> None:
        raise NotImplementedError

    def one(self, name: str, done: int, total: int) -> None:
        """Where there is one thing alone, all of it done here."""
        from firectl.client.transfer.meter import TransferProgress as Moved

        self.show(Moved(file=name, done=done, size=total, total_done=done, total_size=total, moved=done))


class _TransferLines(Transfer):
    """A line for each tenth of the whole; of what is sent in a moment, only the last."""

    def __init__(self, output: Output, verb: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._verb = verb
        self._tenth = -1
        self._clock = clock
        self._started = clock()

    def show(self, now: Moved) -> None:
        total = now.total_size
        tenth = 10 * now.total_done // total if total else 10
        if tenth > self._tenth and (total >= WORTH_SHOWING or tenth == 10):
            self._tenth = tenth
            if tenth == 10 and total and not now.moved:
                return  # All of it was there already: nothing has been sent or fetched.
            part = f" {100 * now.done // now.size}%" if now.size and now.done < now.size else ""
            self._output.note(f"{self._verb} {10 * tenth}% of {size(total)} ({now.file}{part}){self._pace(now)}")

    def _pace(self, now: Moved) -> str:
        """Speed and time left, once there is something to judge by. What was there before says nothing of either."""
        seconds = self._clock() - self._started
        if seconds < 0.5 or not now.moved:
            return ""
        speed = now.moved / seconds
        left = (now.total_size - now.total_done) / speed
        return f", {size(int(speed))}/s" + (f", {duration(left)} left" if left >= 0.5 else "")


class _TransferBar(Transfer):
    """The whole, and below it the files that are on their way."""

    def __init__(self, console: Console, verb: str) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self.bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=console, transient=True,
        )  # fmt: skip
        self._whole = self.bar.add_task(verb, total=None)
        self._files: dict[str, TaskID] = {}

    def show(self, now: Moved) -> None:
        if not now.moved:
            # What was there before is no speed.
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
    """Makes the right kind for where stderr goes."""

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
        if not self.is_live:
            yield _Lines(self._output)
            return
        live = _Live(self.console(), title)
        with live.bar:
            yield live

    @contextmanager
    def transfer(self, verb: str) -> Iterator[Transfer]:
        if not self.is_live:
            yield _TransferLines(self._output, verb)
            return
        bar = _TransferBar(self.console(), verb)
        with bar.bar:
            yield bar


def duration(seconds: float) -> str:
    """A time for people: `42 s`, `3 min 5 s`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Bytes for people, in powers of ten: `1.2 GB`."""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{amount:.1f} {units[0]}" if units[0] != "B" else f"{count} B"
