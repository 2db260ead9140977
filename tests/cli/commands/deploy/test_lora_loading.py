"""`cli/commands/deploy/lora_loading.py`: `load-lora` and `unload-lora`, what is sent, printed and not believed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.commands.deploy.conftest import ALL, DEPLOYMENT, MODEL, ROW, TEXT, WIRE
from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import Received, Reply, answer


def logprobs(adapter_differs: bool) -> Any:
    """An inference server whose adapter answers otherwise than the base, or does not."""

    def reply(request: Received) -> Reply:
        body = request.json
        is_adapter = "#" in body["model"]
        shift = 2.0 if is_adapter and adapter_differs else 0.0
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        top = {"a": -0.5 - shift, "b": -1.0, "c": -2.0 + shift}
        choices = [
            {"index": at, "text": "a", "finish_reason": "length",
             "logprobs": {"tokens": ["a"], "token_logprobs": [top["a"]], "top_logprobs": [top], "text_offset": [0]}}
            for at, _ in enumerate(prompts)
        ]  # fmt: skip
        return answer(200, {"id": "x", "object": "text_completion", "model": body["model"], "choices": choices})

    return reply


def answering(api: Api, adapter_differs: bool) -> None:
    known = api.server.script
    infer = logprobs(adapter_differs)
    api.server.script = lambda request: infer(request) if "/completions" in request.path else known(request)


def test_load_sends_full_names_and_says_where_to_send_requests(cli: Cli, loaded: Api) -> None:
    ran = cli("load-lora", "m", "--deployment", "d", "--public", "--replace-merged-addon")
    assert (ran.code, ran.out) == (0, TEXT.replace("DEPLOYED", "DEPLOYING"))
    assert ran.err == (
        f"Route: {MODEL}#{DEPLOYMENT}\nIt is being loaded. To see how far it is: firectl deployed-model get {ROW}\n"
    )
    assert loaded.changes[-1].path == f"{ALL}?replaceMergedAddon=true"
    assert loaded.changes[-1].json == {"model": MODEL, "deployment": DEPLOYMENT, "public": True}


def test_on_a_hot_reload_deployment_requests_go_to_the_deployment(cli: Cli, loaded: Api) -> None:
    hot = {"name": DEPLOYMENT, "state": "READY", "enableHotReloadLatestAddon": True}
    loaded.on("GET", f"/v1/{DEPLOYMENT}", hot)
    ran = cli("load-lora", "m", "--deployment", "d", "--replace-merged-addon")
    assert ran.err.startswith(f"Route: {DEPLOYMENT}\n")


def test_a_wait_ends_when_the_adapter_is_seen_to_answer(cli: Cli, loaded: Api) -> None:
    answering(loaded, adapter_differs=True)
    ran = cli("load-lora", "m", "--deployment", "d", "--wait")
    assert (ran.code, ran.out) == (0, TEXT)
    lines = ran.err.splitlines()
    assert lines[:2] == [f"{MODEL}: DEPLOYING", f"{MODEL}: DEPLOYED"]
    assert lines[2].startswith("Proof: the adapter answers: ")
    assert lines[3:] == [f"Route: {MODEL}#{DEPLOYMENT}"]


def test_an_adapter_that_answers_as_its_base_is_an_error_and_stays_loaded(cli: Cli, loaded: Api) -> None:
    answering(loaded, adapter_differs=False)
    ran = cli("load-lora", "m", "--deployment", "d", "--wait")
    assert (ran.code, ran.out) == (1, "")
    assert "answers as its base does: the adapter is not applied" in ran.err
    assert ran.err.endswith(f"Hint: firectl unload-lora {MODEL} --deployment {DEPLOYMENT}\n")
    assert [request.method for request in loaded.changes if "/completions" not in request.path] == ["POST"]


def test_a_base_is_no_adapter_and_is_refused_before_anything_changes(cli: Cli, loaded: Api) -> None:
    loaded.on("GET", f"/v1/{MODEL}", {"name": MODEL, "kind": "HF_BASE_MODEL", "state": "READY"})
    for dry in ([], ["--dry-run"]):
        ran = cli("load-lora", "m", "--deployment", "d", *dry)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"Error: {MODEL} is a base model: expected an adapter to load onto the deployment "
            "(code = InvalidArgument)\nHint: firectl model list --filter 'kind = HF_PEFT_ADDON'\n"
        )
    assert loaded.changes == []


def test_without_a_probe_deployed_is_believed(cli: Cli, loaded: Api) -> None:
    ran = cli("load-lora", "m", "--deployment", "d", "--wait", "--no-probe")
    assert (ran.code, ran.out) == (0, TEXT)
    assert "Proof" not in ran.err


def test_a_load_that_fails_is_a_conflict_with_the_reason(cli: Cli, loaded: Api) -> None:
    failed = {**WIRE, "state": "UNDEPLOYING", "status": {"code": "INVALID_ARGUMENT", "message": "wrong base"}}
    loaded.on("GET", f"/v1/{ROW}", {**WIRE, "state": "DEPLOYING"}, failed)
    ran = cli("load-lora", "m", "--deployment", "d", "--wait")
    assert (ran.code, ran.out) == (5, "")
    assert f"Error: {ROW} could not be loaded: wrong base (code = FailedPrecondition)" in ran.err


def test_unload_finds_the_row_and_waits_until_it_is_gone(cli: Cli, loaded: Api) -> None:
    loaded.on("DELETE", f"/v1/{ROW}", {})
    loaded.on("GET", f"/v1/{ROW}", {**WIRE, "state": "UNDEPLOYING"}, answer(404, {"code": 5, "message": "gone"}))
    ran = cli("unload-lora", "m", "--deployment", "d", "--wait")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.endswith(f"Unloaded {MODEL} from {DEPLOYMENT}\n")


def test_unload_of_what_is_not_loaded_is_not_found(cli: Cli, loaded: Api) -> None:
    ran = cli("unload-lora", "other", "--deployment", "d")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        f"Error: accounts/acme/models/other is not loaded on {DEPLOYMENT} (code = NotFound)\n"
        "Hint: firectl deployed-model list\n"
    )


def test_a_dry_run_of_unload_finds_the_row_and_leaves_it(cli: Cli, loaded: Api) -> None:
    ran = cli("unload-lora", "m", "--deployment", "d", "--dry-run")
    assert ran.json == {"method": "DELETE", "path": f"/v1/{ROW}"}
    assert loaded.changes == []


def test_a_name_of_another_collection_is_refused_before_anything_is_sent(cli: Cli, loaded: Api) -> None:
    ran = cli("load-lora", DEPLOYMENT, "--deployment", "d")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"Error: expected a model, got the deployment {DEPLOYMENT!r}")
    assert loaded.asked == []


def test_what_is_loaded_already_is_said_to_be_that(cli: Cli, loaded: Api) -> None:
    loaded.on("POST", ALL, WIRE)
    ran = cli("load-lora", "m", "--deployment", "d")
    assert (ran.code, ran.out) == (0, TEXT)
    assert ran.err.splitlines()[0] == f"{MODEL} is already loaded on {DEPLOYMENT}"


@pytest.mark.parametrize("wait", [["--wait-timeout", "5m"], ["--wait-timeout", "5m", "--wait=false"]])
def test_a_limit_of_no_wait_is_warned_of(cli: Cli, loaded: Api, wait: list[str]) -> None:
    ran = cli("load-lora", "m", "--deployment", "d", *wait)
    assert ran.code == 0
    assert ran.err.startswith("Warning: --wait-timeout has no effect without --wait\n")
    waited = cli("load-lora", "m", "--deployment", "d", "--wait-timeout", "5m", "--wait", "--no-probe")
    assert (waited.code, "Warning" in waited.err) == (0, False)
