"""How long the command line takes to answer, beside what nothing of its kind can do without. docs/benchmarks.md.

    python benchmarks/cli.py [--rounds N] [-o text|json]

Every process is `python -c CODE ARGS` with the same interpreter, the same environment and the bytecode of every module
cached, as pip leaves it. One round runs each once, in an order that turns by one from round to round, so that what
slows the machine down slows all. Exits 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

FIRECTL = "import sys; from firectl.__main__ import main; sys.exit(main())"
"""What pip writes into the script `firectl`."""
HF = "import sys; from huggingface_hub.cli.hf import main; sys.exit(main())"
ROUTE = "accounts/acme/models/pirate#accounts/acme/deployments/shared"
PARKED = 10
"""Deployments to list. They have no replica: the platform and its rows are all that runs."""

CLICK, REQUEST, HF_VERSION = "import click", "imports + one GET", "hf version"


@dataclass(frozen=True)
class Case:
    """A process to time: `firectl` with `words` where `code` is FIRECTL."""

    name: str
    code: str
    words: tuple[str, ...] = ()
    script: Path | None = None
    """Started itself instead of `code`."""

    @property
    def argv(self) -> list[str]:
        return [str(self.script), *self.words] if self.script else [sys.executable, "-c", self.code, *self.words]


@dataclass(frozen=True)
class Goal:
    """`case` takes at most `limit` times as long as `floor`."""

    case: str
    floor: str
    limit: float


@dataclass(frozen=True)
class Verdict:
    case: str
    floor: str
    ratio: float
    limit: float
    met: bool


GOALS = (
    Goal("--version", CLICK, 1.6),
    Goal("--help", CLICK, 1.6),
    Goal("route check", CLICK, 1.6),
    Goal("deployment list", REQUEST, 1.3),
    Goal("--version", HF_VERSION, 1 / 3),
    Goal("--help", HF_VERSION, 1 / 3),
    Goal("route check", HF_VERSION, 1 / 3),
)


def cases(url: str, key: str) -> list[Case]:
    # verify=False: httpx makes a TLS context even for http://, and this way it loads no certificates into it. The floor
    # is lower for it, and no goal easier.
    get = (
        "import click, httpx, pydantic; "
        f"httpx.get('{url}/v1/accounts/local/deployments', headers={{'Authorization': 'Bearer {key}'}}, verify=False)"
        ".raise_for_status()"
    )
    script = Path(sys.executable).with_name("firectl")
    return [
        Case("python -c pass", "pass"),
        Case(CLICK, "import click"),
        Case("--version", FIRECTL, ("--version",)),
        *([Case("--version, by its script", "", ("--version",), script)] if script.exists() else []),
        Case("--help", FIRECTL, ("--help",)),
        Case("route check", FIRECTL, ("route", "check", ROUTE)),
        Case(HF_VERSION, HF, ("version",)),
        Case("import click, httpx, pydantic", "import click, httpx, pydantic"),
        Case(REQUEST, get),
        Case("deployment list", FIRECTL, ("deployment", "list")),
    ]


@contextmanager
def local_platform(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A platform with parked deployments on it: its URL and key. It runs while the `with` does."""
    server = subprocess.Popen(
        [sys.executable, "-m", "firectl.server", "--home", str(home), "--account", "local"],
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        key = json.loads((home / "credentials.json").read_text())["apiKey"]
        here = {**environment, "FIREWORKS_BASE_URL": url, "FIREWORKS_API_KEY": key, "FIREWORKS_ACCOUNT_ID": "local"}
        samples = subprocess.check_output([sys.executable, "-m", "firectl.samples"], env=here, text=True).strip()
        base = "accounts/fireworks/models/sample-llama"
        _firectl(here, "-a", "fireworks", "model", "create", "sample-llama", f"{samples}/base")
        for number in range(PARKED):
            _firectl(here, "deployment", "create", base, "--deployment-id", f"d{number}", "--max-replica-count", "0")
        yield url, key
    finally:
        server.terminate()
        server.wait()


def _firectl(environment: Mapping[str, str], *words: str) -> None:
    subprocess.run(
        [sys.executable, "-c", FIRECTL, "-q", *words], env=environment, check=True, stdout=subprocess.DEVNULL
    )


def measure(timed: list[Case], rounds: int, environment: Mapping[str, str]) -> dict[str, list[float]]:
    """Seconds that each case took, round by round; one more round before them warms the caches."""
    seconds: dict[str, list[float]] = {case.name: [] for case in timed}
    for number in range(rounds + 1):
        turn = number % len(timed)
        for case in timed[turn:] + timed[:turn]:
            started = time.perf_counter()
            done = subprocess.run(case.argv, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
            took = time.perf_counter() - started
            if done.returncode != 0:
                sys.exit(f"{case.name} failed:\n{done.stderr.decode()}")
            if number:
                seconds[case.name].append(took)
    return seconds


def judge(medians: Mapping[str, float]) -> list[Verdict]:
    verdicts = []
    for goal in GOALS:
        ratio = medians[goal.case] / medians[goal.floor]
        verdicts.append(Verdict(goal.case, goal.floor, round(ratio, 3), round(goal.limit, 3), ratio <= goal.limit))
    return verdicts


def report(seconds: Mapping[str, list[float]], verdicts: list[Verdict], output: str) -> str:
    medians = {name: statistics.median(took) for name, took in seconds.items()}
    versions = {name: version(name) for name in ("click", "httpx", "pydantic", "huggingface_hub")}
    rounds = len(next(iter(seconds.values())))
    if output == "json":
        cases = [
            {"case": name, "median_ms": round(medians[name] * 1e3, 1), "fastest_ms": round(min(took) * 1e3, 1),
             "slowest_ms": round(max(took) * 1e3, 1)}
            for name, took in seconds.items()
        ]  # fmt: skip
        about = {"python": platform.python_version(), "cores": os.cpu_count(), "rounds": rounds, "versions": versions}
        return json.dumps({**about, "cases": cases, "goals": [asdict(verdict) for verdict in verdicts]}, indent=2)
    known = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [
        f"Python {platform.python_version()}, {known}; {os.cpu_count()} cores; median of {rounds}, milliseconds",
        "",
    ]
    lines += [f"{'process':<32}{'median':>8}{'fastest':>9}{'slowest':>9}"]
    for name, took in seconds.items():
        lines.append(f"{name:<32}{medians[name] * 1e3:>8.1f}{min(took) * 1e3:>9.1f}{max(took) * 1e3:>9.1f}")
    lines += ["", f"{'goal':<44}{'ratio':>8}{'at most':>9}"]
    for verdict in verdicts:
        goal = f"{verdict.case} : {verdict.floor}"
        lines.append(f"{goal:<44}{verdict.ratio:>8.2f}{verdict.limit:>9.2f}  {'met' if verdict.met else 'MISSED'}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the command line takes to answer; docs/benchmarks.md.")
    parser.add_argument("--rounds", type=int, default=20, help="times that each process is run (at least 10; 20)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    arguments = parser.parse_args()
    if arguments.rounds < 10:
        parser.error("fewer than 10 rounds say little")
    with tempfile.TemporaryDirectory() as folder:
        # The user's own settings stay out; bytecode is written, whatever the environment says about it.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("FIREWORKS_", "FIRECTL_")) and name != "PYTHONDONTWRITEBYTECODE"
        }
        environment |= {
            "HOME": folder,
            "PYTHONPYCACHEPREFIX": f"{folder}/bytecode",
            # hf looks for a newer version of itself: no part of starting up.
            "HF_HUB_OFFLINE": "1",
        }
        with local_platform(Path(folder) / "local", environment) as (url, key):
            here = {"FIREWORKS_BASE_URL": url, "FIREWORKS_API_KEY": key, "FIREWORKS_ACCOUNT_ID": "local"}
            seconds = measure(cases(url, key), arguments.rounds, environment | here)
    verdicts = judge({name: statistics.median(took) for name, took in seconds.items()})
    print(report(seconds, verdicts, arguments.output))
    sys.exit(0 if all(verdict.met for verdict in verdicts) else 1)


if __name__ == "__main__":
    main()
