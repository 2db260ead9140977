"""A person at a terminal, for tests: firectl, shell scripts and Python in a FIREWORKS_HOME of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.ran import Ran

BIN = Path(sys.executable).parent


class Shell:
    """No terminal, stdin closed, none of the caller's settings."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FIREWORKS_", "OPENAI_"))}
        self.env = kept | {
            "FIREWORKS_HOME": str(home),
            "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, argv: list[str], *, timeout: float = 120, **env: str) -> Ran:
        done = subprocess.run(
            argv, env=self.env | env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def firectl(self, *argv: str, **options: Any) -> Ran:
        return self.run([sys.executable, "-m", "firectl", *argv], **options)

    def ok(self, *argv: str, **options: Any) -> Ran:
        ran = self.firectl(*argv, **options)
        assert ran.code == 0, f"firectl {shlex.join(argv)} gave {ran.code}\n{ran.out}\n{ran.err}"
        return ran

    def sh(self, script: str, **options: Any) -> Ran:
        return self.run(["bash", "-euo", "pipefail", "-c", script], **options)

    def enter(self) -> None:
        """What `eval "$(firectl local env)"` does to a shell."""
        for line in self.ok("local", "env").out.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = "".join(shlex.split(value))
