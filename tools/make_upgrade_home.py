"""Makes the home that `tests/e2e/test_upgrade.py` opens, with the code of an earlier commit.

    python tools/make_upgrade_home.py [COMMIT [OUT]]        # 278efb1 tests/fixtures

OUT gets three files:

- `firectl-COMMIT.tar.xz`: the code itself, without the sample weights.
- `home-COMMIT.tar.xz`: the home of a platform that was killed while it served, and the folder of an adapter whose
  upload is half done.
- `home-COMMIT.json`: what that platform answered, and the names that it used.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import psutil
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.shell import Shell  # noqa: E402
from tests.tiny import make_adapter, make_base  # noqa: E402

COMMIT = "278efb1"
SEED = 3
MARGIN = 0.02
"""Logits between the first and the second token of every recorded answer, at least."""
SHARPER = 4
TOKENS = 8
LATER = "2200-01-01 00:00:00.000000"
LATER_SECONDS = 7258118400
"""The same in Unix seconds. What would expire with time does so then: the fixture must not grow old."""

BASE = "accounts/fireworks/models/tiny"
SHARED = "accounts/local/deployments/shared"
ROUTES = {
    "base": f"{BASE}#{SHARED}",
    "alpha": f"accounts/local/models/alpha#{SHARED}",
    "beta": f"accounts/local/models/beta#{SHARED}",
    "merged": "accounts/local/deployments/merged",
}
HALF = ("half", "half-again")
REASONS = [
    "ADAPTER_LOST",
    "DEPLOYMENT_NOT_READY",
    "DEPLOYMENT_PARKED",
    "DEPLOYMENT_SCALING_UP",
    "ENGINE_FAILED",
    "ENGINE_LOADING",
    "ENGINE_STOPPED",
    "NOT_FINITE",
    "QUEUE_FULL",
    "REQUEST_TIMEOUT",
]
"""Reasons in errors; those in `schemas/` are found there."""
HEADERS = [
    "repr-digest",
    "retry-after",
    "retry-after-ms",
    "x-firectl-deployment",
    "x-firectl-model",
    "x-firectl-probe",
    "x-goog-resumable",
    "x-keeps-all-but",
    "x-request-id",
    "x-should-retry",
]


def main(commit: str = COMMIT, out: str = str(ROOT / "tests" / "fixtures")) -> None:
    target = Path(out)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pack_code(commit, folder / "code")
        pack(folder / "code", target / f"firectl-{commit}.tar.xz")
        shell = Shell(folder / "made" / "home")
        shell.env["PYTHONPATH"] = str(folder / "code")
        try:
            expected = {"commit": commit, "names": names_in(folder / "code")} | make_home(shell, folder)
        finally:
            shell.firectl("local", "down")
        for path in shell.home.rglob("*"):
            if path.suffix == ".log":
                path.unlink()
            assert not path.is_file() or str(folder).encode() not in path.read_bytes(), path
        pack(folder / "made", target / f"home-{commit}.tar.xz")
    (target / f"home-{commit}.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


def pack_code(commit: str, folder: Path) -> None:
    """Write the commit's modules below `folder`, for PYTHONPATH; no samples, which are large."""
    said = subprocess.run(["git", "archive", commit, "src/firectl"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(said)) as files:
        for member in files.getmembers():
            if member.name.endswith(".py"):
                member.name = member.name.removeprefix("src/")
                files.extract(member, folder, filter="data")


def make_home(shell: Shell, folder: Path) -> dict[str, Any]:
    """A home whose platform was killed while it served; what it answered before."""
    base = make_base(folder / "base", layers=1, hidden=32, heads=2, kv_heads=1, intermediate=64, seed=SEED)
    answer_in_letters(base / "model.safetensors")
    adapters = {name: adapter(folder / name, base, SEED + n) for n, name in enumerate(("alpha", "beta"), 1)}
    half = adapter(folder / "made" / "adapter", base, SEED + 3)

    shell.ok("local", "up")
    shell.enter()
    shell.ok("-a", "fireworks", "model", "create", "tiny", str(base))
    for name, path in (*adapters.items(), ("dropped", adapters["alpha"])):
        shell.ok("model", "create", name, str(path), "--base-model", BASE)
    create = ("deployment", "create", "--wait", "--min-replica-count", "1", "--deployment-id")
    shell.ok(*create, "shared", BASE, "--enable-addons")
    shell.ok(*create, "merged", "beta")
    shell.ok(*create, "gone", BASE, "--enable-addons")
    for name, deployment in (("alpha", "shared"), ("beta", "shared"), ("alpha", "gone")):
        shell.ok("load-lora", name, "--deployment", deployment, "--wait")
    shell.ok("deployment", "delete", "gone", "--yes", "--ignore-checks")
    shell.ok("model", "delete", "dropped", "--yes")
    key = shell.ok("api-key", "create", "--display-name", "second", "-o", "json").json["key"]
    server = shell.env["FIREWORKS_BASE_URL"]
    shell.ok("-p", "second", "-s", server, "-a", "local", "set-api-key", key)

    headers = {"Authorization": f"Bearer {shell.env['FIREWORKS_API_KEY']}"}
    with httpx.Client(base_url=server, headers=headers, timeout=60) as http:
        home = shell.home / "local"
        sessions = {name: half_upload(http, home, name, half) for name in HALF}
        remember(shell, half, "half-again", sessions["half-again"])
        gone = "/v1/accounts/local/deployments/gone?showDeleted=true"
        while http.get(gone).json()["state"] != "DELETED":
            time.sleep(0.1)
        answered = {name: answers(http, route) for name, route in ROUTES.items()}
        expected = {
            "answers": answered,
            "routes": ROUTES,
            "sessions": sessions,
            "inference_headers": sorted(answer(http, ROUTES["base"], "Hello!").headers),
            "documents": {path: document(http, path) for path in paths(http)},
        }
        assert len({json.dumps(said) for name, said in answered.items() if name != "merged"}) == 3
        platform = psutil.Process(json.loads((home / "platform.json").read_text())["pid"])
        account = families(http.get("/v1/accounts/local/metrics").text)
        expected["metrics"] = {"account": account, "engine": engine_metrics(platform)}
    with sqlite3.connect(home / "platform.sqlite") as database:
        expected["tables"] = columns(database)
        database.execute("UPDATE deployments SET purge_time = ? WHERE purge_time IS NOT NULL", (LATER,))
    database.close()
    # Killed, not stopped: the rows stay in the log beside the database.
    children = platform.children(recursive=True)
    os.kill(platform.pid, signal.SIGKILL)
    assert not psutil.wait_procs([platform, *children], timeout=30)[1]
    return expected


def answer_in_letters(weights: Path) -> None:
    """Make printable ASCII the likeliest tokens, and by far: the recorded answers are text, and the same anywhere."""
    tensors = load_file(weights)
    head = tensors["lm_head.weight"]
    head *= SHARPER
    head[:33] = head[127:] = 0
    save_file(tensors, weights, metadata={"format": "pt"})


def adapter(folder: Path, base: Path, seed: int) -> Path:
    """An adapter that says nothing of where its base lay on this machine."""
    made = make_adapter(folder, base, r=4, seed=seed, scale=1.0)
    config = made / "adapter_config.json"
    config.write_text(config.read_text().replace(str(base), "tiny"))
    return made


def half_upload(http: httpx.Client, home: Path, name: str, folder: Path) -> dict[str, Any]:
    """Announce an adapter, send its config whole and half of its weights; the session of the weights."""
    details = {"baseModel": BASE, "r": 4, "targetModules": ["q_proj"]}
    model = {"kind": "HF_PEFT_ADDON", "peftDetails": details}
    http.post("/v1/accounts/local/models", json={"modelId": name, "model": model}).raise_for_status()
    sizes = {path.name: str(path.stat().st_size) for path in sorted(folder.iterdir())}
    announced = http.post(
        f"/v1/accounts/local/models/{name}:getUploadEndpoint",
        json={"filenameToSize": sizes, "enableResumableUpload": True},
    ).raise_for_status()
    found = {}
    for filename, url in announced.json()["filenameToSignedUrls"].items():
        begun = http.post(url, headers={"x-goog-resumable": "start"}).raise_for_status()
        content = (folder / filename).read_bytes()
        there = len(content) // (2 if filename.endswith(".safetensors") else 1)
        span = {"Content-Range": f"bytes 0-{there - 1}/{len(content)}"}
        put = http.put(begun.headers["location"], content=content[:there], headers=span)
        assert put.status_code == (200 if there == len(content) else 308), put.text
        if there < len(content):
            session = signed_for_later(begun.headers["location"], home, name, filename)
            found = {"filename": filename, "size": len(content), "there": there, "session": session}
    return found


def signed_for_later(url: str, home: Path, name: str, filename: str) -> str:
    """The path of an upload session, with a signature that lasts. The platform signs for a day."""
    key = bytes.fromhex(json.loads((home / "credentials.json").read_text())["signingKey"])
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    model = f"accounts/local/models/{name}"
    with sqlite3.connect(home / "platform.sqlite") as database:
        [(folder,)] = database.execute("SELECT folder FROM models WHERE name = ?", (model,)).fetchall()

    def signature(expires: str) -> str:
        parts = (expires, "PUT", model, folder, filename, query["size"], query["upload"])
        message = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()

    assert signature(query["expires"]) == query["signature"]
    query |= {"expires": str(LATER_SECONDS), "signature": signature(str(LATER_SECONDS))}
    return f"/files/{model}/{quote(filename)}?{urlencode(query)}"


def remember(shell: Shell, folder: Path, name: str, session: dict[str, Any]) -> None:
    """What a client that was killed during this upload leaves behind in the home."""
    script = """
import sys
from pathlib import Path
from firectl.client.files import scan
from firectl.client.journal import Journal
server, model, folder, filename, session = sys.argv[1:]
[file] = [file for file in scan(Path(folder)) if file.name == filename]
Journal(server, model).began(file, session)
"""
    server = shell.env["FIREWORKS_BASE_URL"]
    argv = [server, f"accounts/local/models/{name}", str(folder), session["filename"], server + session["session"]]
    done = shell.run([sys.executable, "-c", script, *argv])
    assert done.code == 0, done.err


def answers(http: httpx.Client, route: str) -> dict[str, str]:
    """What a route says at temperature 0, to a chat and as a completion; an error if it is a close thing."""
    chat = answer(http, route, "Hello!").json()["choices"][0]
    asked = {"model": route, "temperature": 0, "max_tokens": TOKENS, "prompt": "Once", "logprobs": 2}
    completion = http.post("/inference/v1/completions", json=asked).raise_for_status().json()["choices"][0]
    tops = [[top["logprob"] for top in token["top_logprobs"]] for token in chat["logprobs"]["content"]]
    tops += [list(top.values()) for top in completion["logprobs"]["top_logprobs"]]
    margin = min(first - second for first, second in (sorted(top, reverse=True)[:2] for top in tops))
    assert margin >= MARGIN, f"{route} is sure by {margin:.4f} logits only: take another SEED"
    return {"chat": chat["message"]["content"], "completion": completion["text"]}


def answer(http: httpx.Client, route: str, text: str) -> httpx.Response:
    asked = {"model": route, "temperature": 0, "max_tokens": TOKENS, "logprobs": True, "top_logprobs": 2}
    message = {"messages": [{"role": "user", "content": text}]}
    return http.post("/inference/v1/chat/completions", json=asked | message).raise_for_status()


def paths(http: httpx.Client) -> Iterable[str]:
    """Every list, everything that is in one, and two that are not there."""
    account = "/v1/accounts/local"
    [user] = http.get(f"{account}/users").json()["users"]
    yield from ("/v1/local", "/inference/v1/models", "/v1/accounts", account, "/v1/accounts/fireworks")
    yield from (f"{account}/models/none", f"{account}/deployments/none", f"/v1/{user['name']}/apiKeys")
    for listed in (
        f"{account}/users",
        f"{account}/models",
        "/v1/accounts/fireworks/models",
        f"{account}/deployments?showDeleted=true",
        f"{account}/deployedModels",
        f"{account}/deploymentShapes",
    ):
        yield listed
        [rows] = [value for value in http.get(listed).json().values() if isinstance(value, list)]
        yield from (f"/v1/{row['name']}" for row in rows)
    yield f"{account}/deployments/merged:mergeRecord"
    shapes = http.get(f"{account}/deploymentShapes").json()["deploymentShapes"]
    yield f"/v1/{shapes[0]['name']}/versions"


def document(http: httpx.Client, path: str) -> dict[str, Any]:
    answer = http.get(path)
    return {"status": answer.status_code, "headers": sorted(answer.headers), "body": answer.json()}


def engine_metrics(platform: psutil.Process) -> list[str]:
    """The metric families of the platform's engines together: its children that listen."""
    pages = []
    for child in platform.children(recursive=True):
        ports = [found.laddr.port for found in child.net_connections("tcp") if found.status == "LISTEN"]
        pages += [httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports]
    return families("\n".join(pages))


def families(page: str) -> list[str]:
    return sorted(set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)))


def columns(database: sqlite3.Connection) -> dict[str, list[str]]:
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    return {table: [row[1] for row in database.execute(f"PRAGMA table_info('{table}')")] for table in tables}


def names_in(code: Path) -> dict[str, list[str]]:
    """The names that others rely on: in the source, each as a string of its own."""
    found = {path.relative_to(code).as_posix(): set(strings(path)) for path in code.rglob("*.py")}
    everything = set().union(*found.values())
    assert everything.issuperset(REASONS), set(REASONS) - everything
    assert {string.lower() for string in everything}.issuperset(HEADERS), set(HEADERS) - everything
    wire = {
        string
        for file, said in found.items()
        if "/schemas/" in file or file.endswith("/flag_types.py")
        for string in said
        if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", string) and len(string) > 2
    }
    variables = {string for string in everything if re.fullmatch(r"(FIREWORKS|FIRECTL)_[A-Z_]+", string)}
    return {"words": sorted({*wire, *REASONS}), "headers": HEADERS, "variables": sorted(variables)}


def strings(path: Path) -> Iterable[str]:
    tree = ast.walk(ast.parse(path.read_text()))
    return (node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str))


def pack(folder: Path, path: Path) -> None:
    """Everything below `folder`, in order, owned by nobody in particular."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if "__pycache__" in member.name:
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(path, "w:xz", preset=9) as packed:
        packed.add(folder, arcname=".", filter=plain)


if __name__ == "__main__":
    main(*sys.argv[1:])
