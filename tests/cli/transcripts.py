"""Transcripts: command lines and their output, kept as pages in tests/cli/golden/.

    # A remark.
    $ firectl deployment get parked
      Name: accounts/local/deployments/parked       stdout, two spaces in, without its blank lines
    ! Route: ...                                    stderr
    exit 3                                          where it is not 0

To add a case, write its `$` line; a run writes the rest, which you read in the diff:

    python -m tests.cli.transcripts                 # every page; or name some: deployment model

Pages run one after another on one platform (account `local`, the samples `sample-llama`, `sample-poet` and
`sample-pirate` imported, the deployment `shared` with addons), in a folder with the samples as `base`, `poet` and
`pirate`. A page that names `shared` begins when that is READY, and every page leaves the platform as it found it.
`$(firectl ...)` is replaced by what that prints, and a pipe goes to a real `sh`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firectl._version import __version__
from firectl.samples import sample_path
from tests.cli.inside import run_inside
from tests.ran import Ran

PAGES = Path(__file__).with_name("golden")
BASE = "accounts/fireworks/models/sample-llama"


def squeezed(row: str) -> str:
    """A row of a table without its measured numbers and without the column widths that depend on them."""
    return re.sub(r" {2,}", "  ", re.sub(r"\b\d+\.\d+\b", "<n>", row))


RULES: tuple[tuple[str, str, str | Callable[[re.Match[str]], str]], ...] = (
    ("a time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    ("a moment in Unix seconds", r'(?<="created": )\d{10}', "<moment>"),
    ("a key", r"\bfw_(?!made-up)[\w-]{8,}", "<key>"),
    ("the beginning of a key", r"\bfw_[\w-]{3}(?![\w-])", "<prefix>"),
    ("the ID of a key", r'(?m)(^|(?:^Key Id: |"key_id": "|^Deleted ))[a-z0-9]{16}(?=$|"|  )', r"\1<key-id>"),
    ("the platform's address", r"http://127\.0\.0\.1:\d+", "<url>"),
    ("its process", r'(?m)(^Pid: |"pid": |^pid: )\d+', r"\1<pid>"),
    ("the hash of numbers whose last bits differ between processors", r'(?<="result_hash": ")sha256:\w+', "<hash>"),
    ("the version", rf"(?<![\w.]){re.escape(__version__)}(?![\w.])", "<version>"),
    ("random letters of an ID", r"\b(sample-(?:llama|poet|pirate)|mine)-[a-z0-9]{8}\b", r"\1-<random>"),
    ("the token of a next page", r"(?<=--page-token )[\w=-]{20,}", "<token>"),
    ("the version of a shape", r"(?<=/versions/)[0-9a-f]{8}\b", "<hash>"),
    ("the ID of an answer", r"\bchatcmpl-[0-9a-f]{32}", "chatcmpl-<hash>"),
    ("the ID of a request", r"\b[0-9a-f]{32}\b", "<request>"),
    ("numbers of a proof", r"\d+(\.\d+)?(e-\d+)?(?= nats\b| from itself)", "<n>"),
    ("how long it took", r"\b\d+(\.\d+)? ms\b", "<n> ms"),
    ("the figures of a merge", r'(?m)((?<=^Change: )|(?<="delta_norm": )|(?<=\.weight": ))\d+\.\d+', "<n>"),
    ("how far ways are apart", r'(?<=_difference": )[\d.e-]+|(?<="value": )0\.0\d+', "<n>"),
    ("the loss", r'("(?:base|merged)": |Prompts: |adapter, )\d+\.\d+', r"\1<n>"),
    ("the same as a row", r"(?m)^(base|dynamic|peft|merged)  +(\w+)  +\S+  +\S+  +(\S+%)$", r"\1  \2  <n>  <n>  \3"),
    (
        "the figures of a load",
        r'("(?:seconds|qps|\w+_tokens_per_second|mean|p50|p90|p95|p99|max)": )\d+\.\d+(?:e-\d+)?',
        r"\1<n>",
    ),
    ("a ratio that is missing where tokens came in one piece", r'(?m)^ *"inter_token_latency_p50": .*\n', ""),
    ("what is on the disk", r"(?m)((?:^(?:Models|Merged|Uploads|Logs): ))\d[\d.]* k?M?B$", r"\1<size>"),
    ("the same for scripts", r'((?:models|merged|uploads|logs)_bytes": )\d+', r"\1<bytes>"),
    ("the same while it runs", r"\d+\.\d+(?= qps| tokens/s)", "<n>"),
    ("the same as a table", r"(?m)^.*(?:TARGET  LOAD|\d streams?  ).*$", lambda line: squeezed(line[0])),
    ("progress, whose lines depend on speed", r"(?m)^((up|down)loading|merging) \d+% .*\n", ""),
    ("the states that a wait sees", r"(?m)^accounts/\S+: [A-Z]{4,}\b.*\n", ""),
)
"""(what varies, its pattern, the text in the page)."""


@dataclass(frozen=True)
class Case:
    """One command line of a page, and its expected lines."""

    command: str
    said: str


@dataclass(frozen=True)
class Stage:
    """Where pages run. `environ`: the whole environment of their commands."""

    folder: Path
    environ: Mapping[str, str]

    def run(self, command: str) -> Ran:
        """Runs a `$` line; the streams unchanged."""
        first, pipe, rest = command.partition(" | ")
        if not command.startswith("firectl ") or re.search(r"[<>;&]", first):
            return self._in_a_shell(command)
        words = shlex.split(re.sub(r"\$\((firectl [^)]*)\)", lambda found: self.run(found[1]).out.strip(), first))
        with contextlib.chdir(self.folder):
            ran = run_inside(words[1:], self.environ)
        if not pipe:
            return ran
        piped = self._in_a_shell(rest, ran.out)
        return Ran(piped.code, piped.out, ran.err + piped.err)

    def _in_a_shell(self, script: str, stdin: str = "") -> Ran:
        done = subprocess.run(
            ["sh", "-c", script], cwd=self.folder, env=self.environ, input=stdin, capture_output=True, text=True
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def begin(self, page: str) -> None:
        """Waits for the deployment that a page needs."""
        if "shared" in page:
            end = time.monotonic() + 120
            while (state := self.run("firectl deployment get shared -o json").json["state"]) != "READY":
                assert time.monotonic() < end, f"the deployment `shared` is still {state}"
                time.sleep(0.2)

    def said(self, ran: Ran) -> str:
        """The lines of a page for a result."""
        lines = [f"  {line}" for line in self._without_what_varies(ran.out).splitlines() if line.strip()]
        lines += [f"! {line}" for line in self._without_what_varies(ran.err).splitlines()]
        return "\n".join([*lines, *([f"exit {ran.code}"] if ran.code else [])])

    def _without_what_varies(self, text: str) -> str:
        text = text.replace(self.environ["FIREWORKS_HOME"], "<home>")
        for _, pattern, stands in RULES:
            text = re.sub(pattern, stands, text)
        return text

    def inventory(self) -> list[str]:
        """The resources that a page must leave unchanged."""
        lists = ("model list", "-a fireworks model list", "deployment list", "deployed-model list")
        return [self.run(f"firectl {words} -o name").out for words in lists]


def cases(page: str) -> list[Case]:
    """The cases in a page's text."""
    found = []
    for block in re.split(r"(?m)^\$ ", page)[1:]:
        command, _, rest = block.partition("\n")
        said = [line for line in rest.splitlines() if line and not line.startswith("#")]
        found.append(Case(command, "\n".join(said)))
    return found


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """A new platform with the samples on it; stopped and removed at the end."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        for name in ("base", "poet", "pirate"):
            shutil.copytree(sample_path(name), root / "work" / name)
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        environ = {**kept, "HOME": str(root), "FIREWORKS_HOME": str(root / "home"), "OMP_NUM_THREADS": "1"}
        environ["FIREWORKS_PROFILE"] = "local"
        here = Stage(root / "work", environ)
        try:
            _set(here, "firectl local up")
            _set(here, "firectl -a fireworks model create sample-llama base")
            _set(here, f"firectl deployment create {BASE} --enable-addons --deployment-id shared")
            for name in ("poet", "pirate"):
                _set(here, f"firectl model create sample-{name} {name} --base-model {BASE}")
            yield here
        finally:
            here.run("firectl local down")


def _set(stage: Stage, command: str) -> None:
    ran = stage.run(command)
    assert ran.code == 0, f"{command}: {ran.err}"


def rewrite(stage: Stage, path: Path) -> None:
    """Runs a page and rewrites it with the results; remarks keep their places."""
    page = path.read_text(encoding="utf-8")
    stage.begin(page)
    head, *blocks = re.split(r"(?m)^\$ ", page)
    text = head
    for block in blocks:
        command, _, rest = block.partition("\n")
        remarks = re.search(r"(?m)^#(.|\n)*\Z", rest)
        said = stage.said(stage.run(command))
        text += f"$ {command}\n" + (f"{said}\n" if said else "") + "\n" + (remarks[0] if remarks else "")
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def main(names: Sequence[str]) -> None:
    with stage() as here:
        for path in sorted(PAGES.glob("*.txt")):
            if not names or path.stem in names:
                rewrite(here, path)


if __name__ == "__main__":
    main(sys.argv[1:])
