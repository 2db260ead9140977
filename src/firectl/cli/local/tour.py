"""Implement `firectl quickstart`: run the commands of the tutorial as child processes, and show the models' answers.

Every command that is shown is really run. This module must not call the API itself.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firectl.cli.output import render
from firectl.cli.output.output import View
from firectl.errors import Code, Exit, FirectlError
from firectl.names import canonical_route
from firectl.schemas.words import DeploymentState

if TYPE_CHECKING:
    from firectl.cli.app import App

BASE_MODEL = "accounts/fireworks/models/sample-llama"
LIVE_MERGE = "quickstart-live-merge"
MULTI_LORA = "quickstart-multi-lora"
_OURS = frozenset({"sample-llama", "sample-pirate", "sample-poet", LIVE_MERGE, MULTI_LORA})
_GOOD = frozenset({DeploymentState.READY, DeploymentState.CREATING, DeploymentState.UPDATING})
FROM_THE_CALLER = ("FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID", "FIREWORKS_BASE_URL", "FIREWORKS_PROFILE")
"""Environment variables of the caller that must not affect the tour's commands."""


class Tour:
    """Run the tutorial. `home`: FIREWORKS_HOME of its platform. `show` gets each command line, without `flags`."""

    def __init__(
        self,
        home: Path,
        samples: Path,
        show: Callable[[str], None],
        environ: Mapping[str, str],
        flags: tuple[str, ...] = (),
    ) -> None:
        self.samples = samples
        self.show = show
        self.flags = flags
        self.env = {key: value for key, value in environ.items() if key not in FROM_THE_CALLER}
        self.env["FIREWORKS_HOME"] = str(home)
        self.show(f"export FIREWORKS_HOME={shlex.quote(str(home))}")

    def run(self, adapters: tuple[str, ...], question: str) -> dict[str, Any]:
        """Run the tutorial and return its result. The first of `adapters` also gets its own live-merge deployment."""
        started = time.monotonic()
        self._enter_platform()
        there = self._names_there()
        if BASE_MODEL not in there:
            self._firectl("-a", "fireworks", "model", "create", "sample-llama", str(self.samples / "base"))
        for name in adapters:
            if self._model(name) not in there:
                folder = str(self.samples / name.removeprefix("sample-"))
                self._firectl("model", "create", name, folder, "--base-model", BASE_MODEL)

        merged = self._model(adapters[0])
        if self._deployment(LIVE_MERGE) not in there:
            self._firectl("deployment", "create", merged, "--deployment-id", LIVE_MERGE, "--wait")
        if self._deployment(MULTI_LORA) not in there:
            addons = ("--enable-addons", "--deployment-id", MULTI_LORA)
            self._firectl("deployment", "create", BASE_MODEL, *addons, "--wait")
        for name in adapters:
            self._firectl("load-lora", name, "--deployment", MULTI_LORA, "--wait")

        shared = self._deployment(MULTI_LORA)
        return {
            "question": question,
            "base": self._ask(BASE_MODEL, shared, shared, question),
            "live_merge": self._ask(merged, self._deployment(LIVE_MERGE), merged, question),
            "multi_lora": [
                self._ask(model, shared, canonical_route(model, shared), question)
                for model in map(self._model, adapters)
            ],
            "seconds": round(time.monotonic() - started, 1),
        }

    def leave(self) -> None:
        """Stop the tour's platform, and so everything that runs on it."""
        self._firectl("local", "down")

    def _enter_platform(self) -> None:
        self._firectl("local", "up")
        self.show('eval "$(firectl local env)"')
        exports = self._run(["local", "env"]).stdout
        for line in exports.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            self.env[name] = "".join(shlex.split(value))

    def _model(self, model_id: str) -> str:
        return f"accounts/{self.env['FIREWORKS_ACCOUNT_ID']}/models/{model_id}"

    def _deployment(self, deployment_id: str) -> str:
        return f"accounts/{self.env['FIREWORKS_ACCOUNT_ID']}/deployments/{deployment_id}"

    def _names_there(self) -> set[str]:
        """Return the full names of usable resources that exist. Delete incomplete ones of an earlier quickstart."""
        there: set[str] = set()
        models = (["model", "list"], ["-a", "fireworks", "model", "list"])
        for listing in (*models, ["deployment", "list", "--show-deleted"]):
            # Use --quiet because this command is not shown, so its hints would confuse the reader.
            for row in json.loads(self._run([*listing, "--no-paginate", "-o", "json", "--quiet"]).stdout or "[]"):
                name, state = row["name"], row.get("state")
                if state in _GOOD:
                    there.add(name)
                elif name.rpartition("/")[2] in _OURS:
                    self._firectl(*_delete(name))
        return there

    def _ask(self, model: str, deployment: str, route: str, question: str) -> dict[str, str]:
        """Send one chat request and return its answer. `route`: the value of the request's `model` field."""
        raw = self._firectl("chat", route, question, "--temperature", "0", "-o", "json")
        message = json.loads(raw)["choices"][0]["message"]["content"]
        return {"model": model, "deployment": deployment, "route": route, "answer": message.strip()}

    def _firectl(self, *argv: str) -> str:
        """Show and run one command, and return its stdout. Its stderr goes to the terminal."""
        self.show(shlex.join(("firectl", *argv)))
        done = self._run(list(argv))
        if done.returncode == Exit.DONE:
            return done.stdout
        if done.returncode in (Exit.INTERRUPTED, Exit.TERMINATED, -2):
            raise KeyboardInterrupt
        # The command has printed its own error on stderr.
        raise FirectlError(
            f"a step of the quickstart failed with exit code {done.returncode}: {shlex.join(('firectl', *argv))}",
            code=Code.INTERNAL,
            hint=f"FIREWORKS_HOME={shlex.quote(self.env['FIREWORKS_HOME'])} firectl local logs",
        )

    def _run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "firectl", *self.flags, *argv]
        return subprocess.run(command, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def _delete(name: str) -> tuple[str, ...]:
    """Return the arguments of the command that deletes an incomplete resource."""
    if "/deployments/" in name:
        return ("deployment", "delete", name, "--hard", "--ignore-checks", "--wait")
    return ("model", "delete", name)


def take(app: App, question: str, *, teardown: bool) -> dict[str, Any]:
    """Run the tutorial and return its result. FirectlError if one of its commands fails."""
    from firectl import config
    from firectl.samples import ADAPTERS, FOLDER

    home = config.home(app.environ) / "quickstart"
    there = f"FIREWORKS_HOME={shlex.quote(str(home))} firectl local"
    app.left_running += [
        f"The quickstart's platform is still running. To stop it: {there} down",
        f'To use it in this shell: eval "$({there} env)"',
    ]
    flags = ("--quiet",) if app.output.quiet else ()
    tour = Tour(home, FOLDER, lambda line: app.output.note(f"$ {line}"), app.environ, flags)
    try:
        return tour.run(tuple(f"sample-{name}" for name in ADAPTERS), question)
    finally:
        if teardown:
            tour.leave()
            app.left_running.clear()


def _table(document: Mapping[str, Any]) -> Iterator[str]:
    ways = [("base model", document["base"]), ("live merge", document["live_merge"])]
    ways += [("multi-LoRA", answer) for answer in document["multi_lora"]]
    rows = [
        (
            way,
            "" if answer is document["base"] else answer["model"].rpartition("/")[2],
            answer["answer"],
            answer["route"],
        )
        for way, answer in ways
    ]
    yield from ("", f"Asked each of them: {document['question']}", "")
    yield from render.table(("SERVED AS", "ADAPTER", "ANSWER", "ROUTE"), rows)


SHOWN = View(text=_table)
