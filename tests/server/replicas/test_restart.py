"""The platform is killed with SIGKILL: no process is left, and a new start restores what the rows say."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from tests.server.replicas.adapters import write_adapter
from tests.server.replicas.platform import CATALOG, ME, Platform, prepared, wait
from tests.tiny import make_base

BASE = f"{CATALOG}/models/base"
AD = f"{ME}/models/ad"


@contextlib.contextmanager
def served(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    """The platform of `home` in its own process, killed at the end; (process, URL)."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    command = [sys.executable, "-m", "tests.server.replicas.serve", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield psutil.Process(process.pid), process.stdout.readline().strip()
        finally:
            process.kill()


def chat(url: str, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "tokens:1"}]}
    return httpx.post(f"{url}/chat/completions", json=body, headers={"authorization": "Bearer mine"})


def all_ended(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_every_deployment_and_adapter_comes_back_and_no_process_is_left_over(tmp_path: Path) -> None:
    platform = prepared(tmp_path / "local")
    base = platform.scripted_model(BASE)
    multi = platform.deploy("multi", base, enable_addons=True, replicas=2, max_replica_count=2)
    platform.load(platform.scripted_model(AD, base, voice="ad"), multi)
    platform.deploy("plain", base)
    parked = platform.deploy("parked", base, replicas=0, max_replica_count=0)
    route = f"{AD}#{multi}"
    with served(platform.home) as (process, url):
        wait(lambda: chat(url, route).status_code == 200 and chat(url, f"{ME}/deployments/plain").status_code == 200)
        wait(lambda: len(process.children(recursive=True)) == 3)
        engines = process.children(recursive=True)
    wait(lambda: all_ended(engines))
    with served(platform.home) as (process, url):
        answer = wait(lambda: (found := chat(url, route)).status_code == 200 and found)
        assert answer.json()["choices"][0]["message"]["content"] == "ad"
        wait(lambda: len(process.children(recursive=True)) == 3)
        assert platform.deployment(parked).state == "READY"
        engines = process.children(recursive=True)
    wait(lambda: all_ended(engines))
    platform.store.close()


def test_killed_in_a_merge_it_leaves_nothing_half_done_and_merges_again(
    tmp_path: Path,
) -> None:
    platform, deployment = with_a_merge(tmp_path)
    with served(platform.home) as (process, _):
        (merge,) = wait(lambda: [child for child in process.children() if "firectl.lora.merge" in child.cmdline()])
        wait(lambda: list((platform.home / "merged").iterdir()), 60)
    wait(lambda: all_ended([merge]))
    half_done = {path.name for path in (platform.home / "merged").iterdir()}
    assert platform.deployment(deployment).state == "CREATING"
    with served(platform.home) as (_, url):
        wait(lambda: chat(url, deployment).status_code == 200, 60)
        (merged,) = (platform.home / "merged").iterdir()
    assert merged.name == platform.merged_key(BASE, AD)
    assert merged.name not in half_done
    record = platform.deployment(deployment).merge_record
    assert record is not None
    assert record["tensors_changed"] == 2
    platform.store.close()


def with_a_merge(tmp_path: Path) -> tuple[Platform, str]:
    platform = prepared(tmp_path / "local")
    # Large enough for its merge to be caught in the act.
    folder = make_base(tmp_path / "base", layers=2, hidden=1024, intermediate=2048, shards=2)
    base = platform.add_model(BASE, folder)
    adapter = platform.add_model(AD, write_adapter(tmp_path / "adapter", 1024), base)
    return platform, platform.deploy("merge", adapter, base)
