"""`cli/commands/talk/route.py` and `cli/lookup/live_route.py`: the report on a route, and what the API knows of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.conftest import Cli
from tests.cli.hosted import Api
from tests.cli.live_route import BASE, DEPLOYMENT, MODEL, ROUTE, serving

__all__ = ["serving"]


def test_a_good_route_is_valid_and_exits_0(cli: Cli) -> None:
    ran = cli("route", "check", ROUTE)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"Valid: true\nInput: {ROUTE}\nKind: model#deployment\n"
        f"Canonical: {ROUTE}\nModel: {MODEL}\nDeployment: {DEPLOYMENT}\n"
    )


def test_a_bad_one_exits_2_and_says_where_and_what_to_write(cli: Cli) -> None:
    ran = cli("route", "check", f"{MODEL} #{DEPLOYMENT}")
    assert (ran.code, ran.err) == (2, "")
    lines = ran.out.splitlines()
    assert lines[0] == "Valid: false"
    assert lines[2].startswith(f"Error: character {len(MODEL)}: a space")
    assert lines[-1] == f"Write: {ROUTE}"


def test_json_has_every_key_good_or_bad(cli: Cli) -> None:
    for text, code in ((ROUTE, 0), ("no such/thing#", 2)):
        ran = cli("route", "check", text, "-o", "json")
        assert (ran.code, ran.err) == (code, "")
        keys = ["valid", "input", "kind", "canonical", "model", "deployment", "errors", "warnings"]
        assert list(ran.json) == keys


def test_an_account_completes_short_names_and_without_one_they_are_wrong(cli: Cli) -> None:
    assert cli("route", "check", "m#d").code == 2
    for ran in (
        cli("route", "check", "m#d", "-a", "acme", "-o", "json"),
        cli("route", "check", "m#d", "-o", "json", env={"FIREWORKS_ACCOUNT_ID": "acme"}),
    ):
        assert ran.code == 0
        assert ran.json["canonical"] == ROUTE
        assert len(ran.json["warnings"]) == 1


def failed(cli: Cli, *argv: str) -> tuple[int, dict[str, str]]:
    ran = cli("route", "check", *argv, "--live", "-o", "json")
    return ran.code, {check["check"]: check["code"] for check in ran.json["checks"] if not check["ok"]}


def test_live_checks_every_fact_that_a_request_depends_on(cli: Cli, serving: Api) -> None:
    ran = cli("route", "check", "m#d", "--live", "-o", "json")
    assert ran.code == 0
    assert [check["check"] for check in ran.json["checks"]] == [
        "model_exists",
        "model_ready",
        "deployment_exists",
        "deployment_ready",
        "replica_ready",
        "loaded",
        "base_matches",
        "takes_addons",
        "precision_allows_addons",
    ]
    assert all(check["ok"] and check["code"] == "OK" and "hint" not in check for check in ran.json["checks"])
    assert ran.json["ready"] is True
    assert serving.changes == []


def test_live_tells_a_deployments_bare_id_how_to_be_written(cli: Cli, serving: Api) -> None:
    ran = cli("route", "check", "d", "--live")
    assert ran.code == 3
    assert f"  To do: an ID alone names a model; for the deployment with that ID write {DEPLOYMENT}\n" in ran.out


def test_live_tells_a_slash_where_a_hash_was_meant(cli: Cli, serving: Api) -> None:
    ran = cli("route", "check", "m/d", "--live")
    assert ran.code == 3
    assert "write m#d\n" in ran.out


def test_live_finds_the_default_deployment_of_a_bare_model(cli: Cli, serving: Api) -> None:
    assert failed(cli, MODEL) == (0, {})
    model = {"name": MODEL, "kind": "HF_PEFT_ADDON", "state": "READY", "peftDetails": {"baseModel": BASE}}
    serving.on("GET", f"/v1/{MODEL}", model)
    assert failed(cli, MODEL) == (5, {"default_deployment": "FAILED_PRECONDITION"})


@pytest.mark.parametrize(
    ("path", "body", "code", "checks"),
    [
        (f"/v1/{MODEL}", None, 3, {"model_exists": "NOT_FOUND"}),
        (f"/v1/{DEPLOYMENT}", None, 3, {"deployment_exists": "NOT_FOUND"}),
        (f"/v1/{DEPLOYMENT}", {"name": DEPLOYMENT, "state": "DELETED"}, 3, {"deployment_exists": "NOT_FOUND"}),
        (f"/v1/{MODEL}", {"name": MODEL, "state": "UPLOADING"}, 5, {"model_ready": "FAILED_PRECONDITION"}),
        (f"/v1/{DEPLOYMENT}",
         {"name": DEPLOYMENT, "state": "CREATING", "baseModel": MODEL, "replicaStats": {}}, 5,
         {"deployment_ready": "FAILED_PRECONDITION", "replica_ready": "FAILED_PRECONDITION"}),
        ("/v1/accounts/acme/deployedModels", {}, 5, {"loaded": "FAILED_PRECONDITION"}),
        ("/v1/accounts/acme/deployedModels",
         {"deployedModels": [{"model": MODEL, "deployment": DEPLOYMENT, "state": "DEPLOYING"}]}, 5,
         {"loaded": "FAILED_PRECONDITION"}),
        (f"/v1/{DEPLOYMENT}",
         {"name": DEPLOYMENT, "state": "READY", "baseModel": "accounts/fireworks/models/other", "precision": "FP8",
          "replicaStats": {"readyReplicaCount": 1}}, 5,
         {"base_matches": "FAILED_PRECONDITION", "takes_addons": "FAILED_PRECONDITION",
          "precision_allows_addons": "FAILED_PRECONDITION"}),
    ],
)  # fmt: skip
def test_live_tells_missing_from_not_ready(
    cli: Cli, serving: Api, path: str, body: dict[str, Any] | None, code: int, checks: dict[str, str]
) -> None:
    if body is None:
        from tests.cli.hosted import NOT_FOUND

        serving.on("GET", path, NOT_FOUND)
    else:
        serving.on("GET", path, body)
    assert failed(cli, ROUTE) == (code, checks)
    report = cli("route", "check", ROUTE, "--live", "-o", "json").json
    assert report["ready"] is False
    assert all(check["ok"] or check["hint"] for check in report["checks"])


def test_live_sends_nobody_to_upload_what_is_another_accounts(cli: Cli, serving: Api) -> None:
    def todo(route: str) -> str:
        checks = cli("route", "check", route, "--live", "-o", "json").json["checks"]
        return str(next(check["hint"] for check in checks if check["check"] == "model_ready"))

    for name in (MODEL, BASE):
        serving.on("GET", f"/v1/{name}", {"name": name, "state": "UPLOADING"})
    assert todo(ROUTE) == f"firectl model upload {MODEL} DIR"
    said = f"only the account fireworks can upload it; to see its state: firectl model get {BASE}"
    assert todo(f"{BASE}#{DEPLOYMENT}") == said
