"""One whole session: an adapter that does nothing is found out, true ones never are, and the key stays where it is."""

from __future__ import annotations

import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.ran import Ran
from tests.tiny import make_adapter

KEY_FILES = {"auth.ini", "local/credentials.json"}


class Listening(Shell):
    """A shell that keeps everything its commands printed, except where printing the key is what they are for."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.env["PYTHONUNBUFFERED"] = "1"
        self.heard: list[Ran] = []

    def firectl(self, *argv: str, **options: object) -> Ran:
        ran = super().firectl("--verbose", *argv, **options)
        if argv[:2] != ("local", "env"):
            self.heard.append(ran)
        return ran


class Watch:
    """What other users could see of the processes under this one, again and again: their command lines."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for process in psutil.process_iter():
                try:
                    words = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if "firectl" in words:
                    self.seen.add(words)

    def end(self) -> set[str]:
        self._over.set()
        self._thread.join(10)
        return self.seen


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    watch = Watch()
    yield watch
    watch.end()


@pytest.fixture(scope="module")
def session(watch: Watch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    """A platform started under umask 000, the samples and an adapter whose every B is zero on it, `shared` READY."""
    shell = Listening(tmp_path_factory.mktemp("session") / "home")
    up = shell.sh("umask 000; firectl local up")
    assert up.code == 0, up.err
    shell.heard.append(up)
    shell.enter()
    shell.ok("-a", "fireworks", "model", "create", "sample-llama", str(sample_path("base")))
    shell.ok("deployment", "create", BASE, "--enable-addons", "--deployment-id", "shared")
    for name in ("pirate", "poet"):
        shell.ok("model", "create", name, str(sample_path(name)), "--base-model", BASE)
    nothing = make_adapter(tmp_path_factory.mktemp("nothing") / "adapter", sample_path("base"), scale=0)
    shell.ok("model", "create", "nothing", str(nothing), "--base-model", BASE, "--skip-checks")
    yield shell
    shell.firectl("local", "down")


def test_an_adapter_that_does_nothing_fails_the_wait_with_the_command_that_unloads_it(session: Listening) -> None:
    ran = session.firectl("load-lora", "nothing", "--deployment", "shared", "--wait", "-o", "json", timeout=170)
    assert (ran.code, ran.out) == (1, ""), ran
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert "accounts/local/models/nothing" in error["message"]
    assert "every B is zero: this adapter changes nothing" in error["message"]
    assert error["message"].endswith("; it stays DEPLOYED")
    assert error["hint"].startswith("firectl unload-lora accounts/local/models/nothing --deployment ")
    rows = session.ok("deployed-model", "list", "-o", "json").json
    assert any(row["model"].endswith("/nothing") and row["state"] == "DEPLOYED" for row in rows), "it stays loaded"


def test_a_live_merge_that_changes_nothing_is_no_deployment(session: Listening) -> None:
    ran = session.firectl("deployment", "create", "nothing", "--deployment-id", "merged", "--wait", "-o", "json")
    assert (ran.code, ran.out) == (1, ""), ran
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert error["message"].endswith("every B is zero: this adapter changes nothing; it stays READY")
    assert error["hint"] == "firectl deployment delete accounts/local/deployments/merged"


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.timeout(900)
def test_a_true_adapter_is_proven_every_time(session: Listening, times: int) -> None:
    for time in range(times):
        name = ("pirate", "poet")[time % 2]
        ran = session.ok("load-lora", name, "--deployment", "shared", "--wait")
        assert "Proof: the adapter answers" in ran.err
        session.ok("unload-lora", name, "--deployment", "shared", "--wait")


def test_the_key_is_in_its_two_files_and_nowhere_else(session: Listening, watch: Watch) -> None:
    """After a load, a merge, a chat, errors and a stop: in no output, log, traceback, command line or other file."""
    session.ok("load-lora", "poet", "--deployment", "shared", "--wait")
    session.ok("chat", "poet#shared", "Hello!")
    session.ok("deployment", "create", "pirate", "--deployment-id", "live", "--wait", timeout=170)
    session.ok("chat", "accounts/local/deployments/live", "Hello!", "-o", "json")
    for argv in (
        ("deployment", "get", "none"),
        ("chat", "none#shared", "Hello!", "-o", "json"),
        ("whoami", "-o", "json"),
        ("deployment", "create", "poet", "--deployment-id", "live"),
        ("local", "logs"),
        ("local", "logs", "shared-0"),
    ):
        session.firectl(*argv)
    key = session.env["FIREWORKS_API_KEY"]
    platform = psutil.Process(int(json.loads((session.home / "local" / "platform.json").read_text())["pid"]))
    inherited = [child.cmdline()[:4] for child in platform.children(recursive=True) if key in child.environ().values()]
    session.ok("local", "down")

    assert inherited == [], "engines have keys of their own"
    assert [ran for ran in session.heard if key in ran.out + ran.err] == []
    seen = watch.end()
    assert any("firectl.engine" in words for words in seen)
    assert [words for words in seen if key in words] == []
    holders = set()
    for path in session.home.rglob("*"):
        private = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == private, f"{path} under umask 000"
        if path.is_file() and key.encode() in path.read_bytes():
            holders.add(path.relative_to(session.home).as_posix())
    assert holders == KEY_FILES
    assert stat.S_IMODE(session.home.stat().st_mode) == 0o700
