"""A module that runs under the watch of its parent: it gets its arguments, and ends when the parent's pipe does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from firectl.server.replicas.parent_watch import PARENT_GONE


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A module that prints its arguments, then sleeps unless it is told to end."""
    code = "import sys, time\nprint(__name__, *sys.argv[1:], flush=True)\ntime.sleep(0 if 'end' in sys.argv else 600)\n"
    (tmp_path / "watched.py").write_text(code)
    command = [sys.executable, "-m", "firectl.server.replicas.parent_watch", "watched", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def test_the_module_runs_as_the_main_one_with_its_arguments(tmp_path: Path) -> None:
    with started(tmp_path, "end", "--now") as process:
        assert process.stdout is not None
        assert process.stdout.read() == "__main__ end --now\n"
        assert process.wait(30) == 0


def test_the_end_of_the_parents_pipe_ends_the_process(tmp_path: Path) -> None:
    with started(tmp_path, "sleep") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "__main__ sleep\n"
        process.stdin.close()
        assert process.wait(30) == PARENT_GONE
