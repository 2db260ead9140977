"""The tutorial's page, typed as it stands: its commands one after the other without --wait, then its Python."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from firectl.samples import sample_path
from tests.e2e.conftest import BASE
from tests.e2e.shell import Shell
from tests.ran import Ran

QUESTION = "Hello!"
LIVE = "accounts/local/models/sample-pirate"
ADDRESSED = "accounts/local/models/sample-poet#accounts/local/deployments/shared"
PASTED = f"""
firectl deployment create "{LIVE}"
firectl deployment create "{BASE}" --enable-addons --deployment-id shared
firectl load-lora sample-pirate --deployment shared
firectl load-lora sample-poet --deployment shared
"""
FIREWORKS_SDK = """
import sys
from fireworks import Fireworks

client = Fireworks()

response = client.chat.completions.create(
  model=sys.argv[1],
  messages=[{"role": "user", "content": "Hello!"}],
  temperature=0,  # a sampled answer of so small a model is not the same each time
)

print(response.choices[0].message.content)
"""
OPENAI_SDK = """
import os, sys
from openai import OpenAI

client = OpenAI(base_url=os.environ["FIREWORKS_BASE_URL"] + "/inference/v1", api_key=os.environ["FIREWORKS_API_KEY"])
ask = dict(model=sys.argv[1], messages=[{"role": "user", "content": "Hello!"}], temperature=0)
whole = client.chat.completions.create(**ask).choices[0].message.content
pieces = [
    chunk.choices[0].delta.content
    for chunk in client.chat.completions.create(**ask, stream=True)
    if chunk.choices and chunk.choices[0].delta.content
]
assert len(pieces) > 1, pieces
assert "".join(pieces) == whole, (pieces, whole)
print(whole)
"""


def recorded(voice: str) -> str:
    """The answer that the sample gave when it was made."""
    record = json.loads((sample_path("base").parent / "samples.json").read_text())
    return str(record["answers"][voice][QUESTION])


def until(ask: Callable[[], Ran], done: Callable[[Ran], bool], seconds: float = 90) -> Ran:
    """Ask again until `done`; the pages a person would reload."""
    end = time.monotonic() + seconds
    while True:
        ran = ask()
        if done(ran):
            return ran
        assert time.monotonic() < end, f"not in {seconds} s: {ran}"


@pytest.fixture(scope="module")
def pasted(platform: Shell) -> Shell:
    """The tutorial's commands, pasted in one go; ready when everything they asked for is."""
    ran = platform.sh(PASTED)
    assert ran.code == 0, ran
    until(
        lambda: platform.ok("deployment", "list", "-o", "json"),
        lambda ran: [row["state"] for row in ran.json] == ["READY", "READY"],
    )
    until(
        lambda: platform.ok("deployed-model", "list", "-o", "json"),
        lambda ran: {row["state"] for row in ran.json} == {"DEPLOYED"} and len(ran.json) == 4,
    )
    return platform


def test_the_sdk_gets_the_adapters_voice_from_a_live_merge_and_through_the_hash(pasted: Shell) -> None:
    for route, voice in ((LIVE, "pirate"), (ADDRESSED, "poet"), (BASE, "base")):
        ran = pasted.run(["python", "-c", FIREWORKS_SDK, route])
        assert (ran.code, ran.out) == (0, recorded(voice) + "\n"), ran


def test_the_openai_sdk_streams_the_same_answer_in_pieces(pasted: Shell) -> None:
    for route, voice in ((LIVE, "pirate"), (ADDRESSED, "poet")):
        ran = pasted.run(["python", "-c", OPENAI_SDK, route])
        assert (ran.code, ran.out) == (0, recorded(voice) + "\n"), ran


def test_every_form_of_the_route_reaches_the_same_adapter(pasted: Shell) -> None:
    for route in (ADDRESSED, "local/sample-poet#local/shared", "sample-poet#shared"):
        assert pasted.ok("chat", route, QUESTION, "--temperature", "0").out.strip() == recorded("poet")


def test_a_models_default_deployment_answers_its_bare_name(pasted: Shell) -> None:
    """sample-pirate was deployed by itself first; sample-poet only ever onto the shared base."""
    for model, voice in (("sample-pirate", "pirate"), ("sample-poet", "poet")):
        refs = pasted.ok("model", "get", model, "-o", "json").json["deployed_model_refs"]
        assert sum(ref.get("default", False) for ref in refs) == 1
        assert pasted.ok("chat", model, QUESTION, "--temperature", "0").out.strip() == recorded(voice)


def test_waiting_proves_that_the_adapter_answers(pasted: Shell) -> None:
    """Loading a pair that is loaded gives the row there is; --wait still asks it for its own words."""
    ran = pasted.ok("load-lora", "sample-poet", "--deployment", "shared", "--wait", "-o", "json")
    assert ran.json["state"] == "DEPLOYED"
    assert "Proof: the adapter answers" in ran.err
    assert ADDRESSED in ran.err


def test_a_model_is_not_loaded_onto_its_own_live_merge_nor_a_base_onto_anything(pasted: Shell) -> None:
    [own] = [row for row in pasted.ok("deployment", "list", "-o", "json").json if row["base_model"] == LIVE]
    ran = pasted.firectl("load-lora", "sample-pirate", "--deployment", own["name"], "--wait", "-o", "json")
    assert (ran.code, ran.out) == (5, "")
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert error["message"].endswith(", which serves it alone: there is nothing to load")
    assert error["hint"] == f"firectl chat {LIVE}#{own['name']}"
    ran = pasted.firectl("load-lora", BASE, "--deployment", "shared")
    assert (ran.code, ran.out) == (2, "")
    assert f"{BASE} is a base model: expected an adapter" in ran.err


def test_an_unloaded_adapter_is_not_answered_by_anyone(pasted: Shell) -> None:
    pasted.ok("unload-lora", "sample-pirate", "--deployment", "shared", "--wait")
    gone = "accounts/local/models/sample-pirate#accounts/local/deployments/shared"
    ran = pasted.firectl("chat", gone, QUESTION, "-o", "json")
    assert ran.code == 3
    assert ran.out == ""
    error = json.loads(ran.err.splitlines()[-1])["error"]
    assert error["code"] == "NOT_FOUND"
    assert "not deployed" in error["message"]
    assert pasted.ok("chat", ADDRESSED, QUESTION, "--temperature", "0").out.strip() == recorded("poet")


@pytest.mark.slow
def test_hot_reload_merges_the_latest_adapter_and_proves_it(pasted: Shell) -> None:
    pasted.ok("deployment", "create", BASE, "--enable-hot-reload-latest-addon", "--deployment-id", "hot", "--wait")
    hot = "accounts/local/deployments/hot"
    for model, voice in (("sample-poet", "poet"), ("sample-pirate", "pirate")):
        ran = pasted.ok("load-lora", model, "--deployment", "hot", "--replace-merged-addon", "--wait", "-o", "json")
        assert ran.json["state"] == "DEPLOYED"
        assert "Proof: the adapter is merged" in ran.err
        assert f"Route: {hot}" in ran.err
        assert pasted.ok("chat", hot, QUESTION, "--temperature", "0").out.strip() == recorded(voice)
    pasted.ok("unload-lora", "sample-pirate", "--deployment", "hot", "--wait")
    assert pasted.ok("chat", hot, QUESTION, "--temperature", "0").out.strip() == recorded("base")
    ran = pasted.firectl("load-lora", "sample-poet", "--deployment", "hot")
    assert ran.code == 5
    assert "--replace-merged-addon" in ran.err
    pasted.ok("deployment", "delete", "hot", "--ignore-checks", "--hard", "--wait")


def test_a_load_on_both_ways_is_measured_side_by_side_and_adds_up(pasted: Shell) -> None:
    load = ("--concurrency", "1,4", "--requests", "8", "--rounds", "2", "--max-tokens", "24", "--ignore-eos")
    ran = pasted.ok("bench", LIVE, "sample-poet#shared", *load, "--prompt-tokens", "50", "-o", "json")
    results = ran.json["results"]
    assert [(result["target"], result["concurrency"]) for result in results] == [
        (route, streams) for streams in (1, 4) for route in (LIVE, ADDRESSED)
    ]
    for result in results:
        assert (result["succeeded"], result["failed"], result["generated_tokens"]) == (8, 0, 8 * 24)
        assert result["prompt_tokens"] / 8 == pytest.approx(50, rel=0.1)
        # Equal where an answer comes in one piece: what the adapter says after its end can be characters never whole.
        assert 0 < result["time_to_first_token"]["p50"] <= result["end_to_end_latency"]["p50"]


def test_comparing_deploys_both_ways_measures_them_and_leaves_what_was_there(pasted: Shell) -> None:
    before = pasted.ok("deployment", "list", "--show-deleted", "-o", "name").out
    load = ("--concurrency", "2", "--requests", "8", "--max-tokens", "6")
    ran = pasted.ok("bench", "--compare", "live-merge,multi-lora", "--model", "sample-poet", *load)
    header, *rows = (line.split("  ") for line in ran.out.split("\n\n")[0].splitlines())
    assert [word.strip() for word in header if word] == ["LIVE MERGE", "MULTI-LORA"]
    assert [row[0] for row in rows] == [
        "How it works",
        "Number of LoRAs",
        "Time to deploy",
        "Time to first token, 2 streams",
        "Throughput, 2 streams",
        "Deployments for 1 LoRA",
    ]
    assert ran.err.count("Proof: the adapter") == 2
    assert ran.err.count("Deleted accounts/local/deployments/bench-") == 2
    assert pasted.ok("deployment", "list", "--show-deleted", "-o", "name").out == before


def test_a_comparison_that_is_interrupted_in_its_load_prints_what_there_is_and_leaves_no_deployment(
    pasted: Shell,
) -> None:
    before = pasted.ok("deployment", "list", "--show-deleted", "-o", "name").out
    load = ("--concurrency", "2", "--duration", "120s", "--rounds", "120", "--max-tokens", "6", "-o", "json")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "firectl",
            "bench",
            "--compare",
            "live-merge,multi-lora",
            "--model",
            "sample-poet",
            *load,
        ],
        env=pasted.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        # Both have been asked, and the next round has begun.
        if line.startswith("multi-lora, 2 streams, round 1:"):
            process.send_signal(signal.SIGINT)
    document = json.loads(process.stdout.read())
    assert process.wait(30) == 130, said
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    assert document["interrupted"] is True
    assert [result["target"] for result in document["results"]] == ["live-merge", "multi-lora"]
    assert all(result["succeeded"] > 0 for result in document["results"])
    made = document["comparison"]
    assert (made["models"], made["base"]) == (["accounts/local/models/sample-poet"], BASE)
    assert list(made["deployments"]) == list(made["deploy_seconds"]) == ["live-merge", "multi-lora"]
    assert all(0 < seconds < 120 for seconds in (*made["deploy_seconds"].values(), *made["load_lora_seconds"]))
    assert len(made["load_lora_seconds"]) == 1
    for name in made["deployments"].values():
        assert name.startswith("accounts/local/deployments/bench-")
        assert f"Deleted {name}\n" in said
    assert pasted.ok("deployment", "list", "--show-deleted", "-o", "name").out == before
