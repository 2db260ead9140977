"""`cli/route/ask.py`: where the message comes from, the wait for a deployment, and what an error is followed by."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.client.script_server import Reply, answer

PATH = "/inference/v1/chat/completions"
ROUTE = "accounts/acme/models/m#accounts/acme/deployments/d"
WHOLE = {"id": "c1", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": "Ahoy"}}]}


def stream(*pieces: str, end: str = "data: [DONE]\n\n") -> Reply:
    events = "".join(
        f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': piece}}]})}\n\n" for piece in pieces
    )
    return answer(200, f"{events}{end}".encode(), {"Content-Type": "text/event-stream"})


@pytest.mark.parametrize("argv", [["-"], []])
def test_the_message_comes_from_stdin(cli: Cli, api: Api, argv: list[str]) -> None:
    api.on("POST", PATH, WHOLE)
    assert cli("chat", ROUTE, *argv, "-o", "json", stdin="two\nlines\n").code == 0
    assert api.changes[-1].json["messages"] == [{"role": "user", "content": "two\nlines\n"}]


def test_an_empty_stdin_is_no_message(cli: Cli, api: Api) -> None:
    ran = cli("chat", ROUTE, "-")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Error: no message: stdin is empty (code = InvalidArgument)\nHint: firectl chat MODEL#DEPLOYMENT 'Hello!'\n"
    )
    assert cli("chat", ROUTE).err == ran.err
    assert api.asked == []


def test_a_bare_id_that_is_a_deployments_is_told_how_to_write_it(cli: Cli, api: Api) -> None:
    missing = {"error": {"message": "Model not found, inaccessible, and/or not deployed", "code": "NOT_FOUND"}}
    api.on("POST", PATH, answer(404, missing))
    api.on("GET", "/v1/accounts/acme/deployments/d", {"name": "accounts/acme/deployments/d", "state": "READY"})
    ran = cli("chat", "d", "Hello!")
    assert ran.code == 3
    assert ran.err.endswith(
        "Hint: an ID alone names a model; for the deployment with that ID: "
        "firectl chat accounts/acme/deployments/d MESSAGE\n"
    )
    api.on("GET", "/v1/accounts/acme/deployments/d", {"name": "accounts/acme/deployments/d", "state": "DELETED"})
    assert cli("chat", "d", "Hello!").err.endswith(
        "Hint: the deployment d was deleted; to bring it back: firectl deployment undelete d --wait\n"
    )
    api.on("GET", "/v1/accounts/acme/models/other", {"name": "accounts/acme/models/other", "state": "READY"})
    assert cli("chat", "other", "Hello!").err.endswith("Hint: firectl route check accounts/acme/models/other --live\n")


def test_what_of_a_route_is_not_there_is_named_with_what_it_may_have_meant(cli: Cli, api: Api) -> None:
    missing = {"error": {"message": "Model not found, inaccessible, and/or not deployed", "code": "NOT_FOUND"}}
    api.on("POST", PATH, answer(404, missing))
    api.on("GET", "/v1/accounts/acme/models", {"models": [{"name": "accounts/acme/models/sample-poet"}]})
    api.on("GET", "/v1/accounts/acme/deployments", {"deployments": [{"name": "accounts/acme/deployments/shared"}]})
    api.on("GET", "/v1/accounts/acme/deployments/shared", {"name": "accounts/acme/deployments/shared"})
    assert cli("chat", "sampel-poet#shared", "Hello!").err.splitlines()[-1] == (
        "Hint: the model accounts/acme/models/sampel-poet does not exist: did you mean sample-poet? "
        "To list all: firectl model list, or for public ones firectl -a fireworks model list"
    )
    api.on("GET", "/v1/accounts/acme/models/sample-poet", {"name": "accounts/acme/models/sample-poet"})
    assert cli("chat", "sample-poet#shard", "Hello!").err.splitlines()[-1] == (
        "Hint: the deployment accounts/acme/deployments/shard does not exist: did you mean shared? "
        "To list all: firectl deployment list"
    )


def test_a_deployment_that_is_coming_up_is_waited_for(cli: Cli, api: Api) -> None:
    coming = {"error": {"message": "scaling up", "type": "server_error", "code": "DEPLOYMENT_SCALING_UP"}}
    api.on("POST", PATH, *[answer(503, coming, {"x-should-retry": "false"})] * 2, stream("Ahoy"))
    ran = cli("chat", ROUTE, "Hello!")
    assert (ran.code, ran.out, ran.err) == (0, "Ahoy\n", "waiting: scaling up\n")
    ran = cli("chat", ROUTE, "Hello!")
    api.on("POST", PATH, answer(503, coming, {"x-should-retry": "false"}))
    ran = cli("chat", ROUTE, "Hello!", "--wait-timeout", "100ms")
    assert (ran.code, ran.out) == (7, "")
    assert ran.err == (
        "waiting: scaling up\nError: scaling up (code = Unavailable)\n"
        f"Hint: firectl route check '{ROUTE}' --live shows what it waits for\n"
    )


def test_an_error_of_the_model_is_its_exit_code(cli: Cli, api: Api) -> None:
    missing = {"error": {"message": "Model not found, inaccessible, and/or not deployed", "code": "NOT_FOUND"}}
    api.on("POST", PATH, answer(404, missing))
    ran = cli("chat", ROUTE, "Hello!")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("Error: Model not found, inaccessible, and/or not deployed (code = NotFound)\n")


def test_a_stream_that_breaks_off_is_no_success(cli: Cli, api: Api) -> None:
    api.on("POST", PATH, stream("Ah", end=""))
    ran = cli("chat", ROUTE, "Hello!")
    assert (ran.code, ran.out) == (7, "Ah\n")
    assert "the stream ended" in ran.err
