"""`cli/commands/deploy/deployment.py`: what each verb sends and what it prints, to the letter."""

from __future__ import annotations

import shlex

import pytest

from firectl.cli.views.deployment_flags import FLAGS
from firectl.schemas.deployment import Deployment
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api

NAME = "accounts/acme/deployments/d1"
PATH = f"/v1/{NAME}"
ALL = "/v1/accounts/acme/deployments"
MODEL = "accounts/acme/models/m"
WIRE = {
    "name": NAME,
    "displayName": "Two words",
    "baseModel": MODEL,
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "createTime": "2026-01-02T03:04:05Z",
    "maxReplicaCount": 2,
    "replicaStats": {"readyReplicaCount": 1},
    "autoscalingPolicy": {"scaleDownWindow": "600s", "loadTargets": {"default": 0.8}},
    "enableAddons": False,
    "placement": {"region": "US_IOWA_1"},
    "futureField": 1,
}
TEXT = """\
Name: accounts/acme/deployments/d1
Display Name: Two words
Base Model: accounts/acme/models/m
State: READY
Status:
  Code: OK
Create Time: 2026-01-02T03:04:05Z
Min Replica Count: 0
Max Replica Count: 2
Desired Replica Count: 0
Replica Count: 0
Replica Stats:
  Ready Replica Count: 1
Autoscaling Policy:
  Scale Down Window: 600s
  Load Targets:
    default: 0.8
Enable Addons: false
Placement:
  Region: US_IOWA_1
"""
DOCUMENT = {
    "name": NAME,
    "display_name": "Two words",
    "base_model": MODEL,
    "state": "READY",
    "status": {"code": "OK", "message": ""},
    "create_time": "2026-01-02T03:04:05Z",
    "max_replica_count": 2,
    "replica_stats": {"ready_replica_count": 1},
    "autoscaling_policy": {"scale_down_window": "600s", "load_targets": {"default": 0.8}},
    "enable_addons": False,
    "placement": {"region": "US_IOWA_1"},
}


def test_get_prints_every_field_that_the_wire_has_and_counts_always(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, WIRE)
    ran = cli("deployment", "get", "d1")
    assert (ran.code, ran.out, ran.err) == (0, TEXT, "")


def test_get_in_json_is_the_schema_in_snake_case(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, WIRE)
    assert cli("deployment", "get", "d1", "-o", "json").json == DOCUMENT


def test_get_as_flags_creates_the_same_deployment_again(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, WIRE)
    ran = cli("deployment", "get", "d1", "-o", "flag")
    assert ran.out == (
        "accounts/acme/models/m --deployment-id d1 --display-name 'Two words' --enable-addons=false "
        "--load-targets default=0.8 --max-replica-count 2 --region us-iowa-1 --scale-down-window 10m\n"
    )
    again = cli("deployment", "create", *shlex.split(ran.out), "--dry-run").json
    kept = ("displayName", "baseModel", "maxReplicaCount", "autoscalingPolicy", "enableAddons", "placement")
    assert again["path"] == f"{ALL}?deploymentId=d1"
    assert again["body"] == {field: WIRE[field] for field in kept}


def test_list_is_a_table_that_awk_can_read_and_an_array(cli: Cli, api: Api) -> None:
    api.on("GET", ALL, {"deployments": [WIRE, {"name": "accounts/acme/deployments/longer-name", "state": "CREATING"}]})
    ran = cli("deployment", "list")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "NAME                                  STATE     BASE MODEL              READY  DESIRED  ADDONS"
        "  CREATE TIME           DISPLAY NAME\n"
        "accounts/acme/deployments/d1          READY     accounts/acme/models/m  1      0        false "
        "  2026-01-02T03:04:05Z  Two words\n"
        "accounts/acme/deployments/longer-name  CREATING  -                       0      0        -     "
        "  -                     -\n"
    ).replace("NAME                                  S", "NAME                                   S").replace(
        "deployments/d1          R", "deployments/d1           R"
    )
    rows = cli("deployment", "list", "-o", "json").json
    assert rows == [DOCUMENT, {"name": "accounts/acme/deployments/longer-name", "state": "CREATING"}]
    assert cli("list", "deployments", "-o", "name").out == f"{NAME}\naccounts/acme/deployments/longer-name\n"


def test_an_empty_list_is_a_header_and_an_empty_array(cli: Cli, api: Api) -> None:
    api.on("GET", ALL, {})
    assert cli("deployment", "list").out.startswith("NAME  STATE  BASE MODEL")
    assert cli("deployment", "list", "-o", "json").out == "[]\n"
    assert cli("deployment", "list", "-o", "name").out == ""


def test_list_flags_become_the_query(cli: Cli, api: Api) -> None:
    api.on("GET", ALL, {"deployments": []})
    argv = "deployment list --filter state=READY --page-size 7 --page-token t --show-deleted"
    cli(*argv.split(), "--order-by", "create_time desc")
    assert api.query() == {
        "filter": "state=READY",
        "orderBy": "create_time desc",
        "pageSize": "7",
        "pageToken": "t",
        "showDeleted": "true",
    }


def test_every_page_is_fetched_only_when_asked_for(cli: Cli, api: Api) -> None:
    first = {"deployments": [{"name": f"{NAME}-1"}], "nextPageToken": "2", "totalSize": 2}
    api.on("GET", ALL, first, {"deployments": [{"name": f"{NAME}-2"}]})
    ran = cli("deployment", "list", "-o", "name")
    assert ran.out == f"{NAME}-1\n"
    assert ran.err == "1 of 2 shown; more with --page-token 2 or --no-paginate\n"
    api.on("GET", ALL, first, {"deployments": [{"name": f"{NAME}-2"}]})
    ran = cli("deployment", "list", "-o", "name", "--no-paginate")
    assert (ran.out, ran.err) == (f"{NAME}-1\n{NAME}-2\n", "")
    assert api.query()["pageToken"] == "2"


@pytest.mark.parametrize(
    ("flags", "body"),
    [
        ("--accelerator-count 2 --accelerator-type nvidia_h100_80gb",
         {"acceleratorCount": 2, "acceleratorType": "NVIDIA_H100_80GB"}),
        ("--deployment-shape accounts/fireworks/deploymentShapes/s/versions/v",
         {"deploymentShape": "accounts/fireworks/deploymentShapes/s/versions/v"}),
        ("--deployment-shape s", {"deploymentShape": "accounts/acme/deploymentShapes/s"}),
        ("--deployment-template t --description d --display-name n",
         {"deploymentTemplate": "t", "description": "d", "displayName": "n"}),
        ("--direct-route-type internet --direct-route-api-keys a --direct-route-api-keys b",
         {"directRouteType": "INTERNET", "directRouteApiKeys": ["a", "b"]}),
        ("--draft-model m2 --draft-token-count 4 --ngram-speculation-length 0",
         {"draftModel": "accounts/acme/models/m2", "draftTokenCount": 4, "ngramSpeculationLength": 0}),
        ("--enable-hot-reload-latest-addon --enable-mtp=false --enable-session-affinity=1",
         {"enableHotReloadLatestAddon": True, "enableMtp": False, "enableSessionAffinity": True}),
        ("--load-targets default=0.8,requests_per_second=2 --load-targets concurrent_requests=4",
         {"autoscalingPolicy": {
             "loadTargets": {"default": 0.8, "requests_per_second": 2.0, "concurrent_requests": 4.0}}}),
        ("--long-prompt --max-context-length 4096", {"autoTune": {"longPrompt": True}, "maxContextLength": 4096}),
        ("--min-replica-count 0 --max-replica-count 0 --max-with-revocable-replica-count 3",
         {"minReplicaCount": 0, "maxReplicaCount": 0, "maxWithRevocableReplicaCount": 3}),
        ("--precision bf16 --region europe", {"precision": "BF16", "placement": {"multiRegion": "EUROPE"}}),
        ("--scale-down-window 10m --scale-to-zero-window 1h0m0s --scale-up-window 30s",
         {"autoscalingPolicy": {
             "scaleDownWindow": "600s", "scaleToZeroWindow": "3600s", "scaleUpWindow": "30s"}}),
    ],
)  # fmt: skip
def test_create_flags_become_the_body(cli: Cli, api: Api, flags: str, body: dict[str, object]) -> None:
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", *flags.split(), "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.json == {
        "method": "POST",
        "path": f"{ALL}?deploymentId=d1",
        "body": {"baseModel": MODEL, **body},
    }
    assert api.changes == []


def test_create_flags_that_are_no_field_become_the_query(cli: Cli, api: Api) -> None:
    flags = "--deployment-id d1 --disable-speculative-decoding --skip-shape-validation --validate-only"
    path = cli("deployment", "create", "m", *flags.split(), "--dry-run").json["path"]
    query = "deploymentId=d1&validateOnly=true&disableSpeculativeDecoding=true&skipShapeValidation=true"
    assert path == f"{ALL}?{query}"


def test_a_create_that_only_validates_says_that_nothing_was_created(cli: Cli, api: Api) -> None:
    api.on("POST", ALL, {"name": NAME, "baseModel": MODEL})
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", "--validate-only", "--wait")
    assert (ran.code, ran.err) == (0, "Nothing was created.\n")
    assert ran.out.startswith(f"Name: {NAME}\n")
    assert api.asked[-1] == ("POST", f"{ALL}?deploymentId=d1&validateOnly=true")


def test_every_flag_of_the_table_sets_a_field_of_the_wire() -> None:
    for flag in FLAGS:
        first, _, rest = flag.path.partition(".")
        field = Deployment.model_fields[first]
        if rest:
            inner = next(kind for kind in field.annotation.__args__ if kind is not type(None))  # type: ignore[union-attr]
            assert rest in inner.model_fields


def test_create_prints_the_deployment_and_says_where_to_send_requests(cli: Cli, api: Api) -> None:
    api.on("POST", ALL, {"name": NAME, "baseModel": MODEL, "state": "CREATING"})
    ran = cli("deployment", "create", "m", "--deployment-id", "d1")
    assert ran.code == 0
    assert ran.out.startswith(f"Name: {NAME}\nBase Model: {MODEL}\nState: CREATING\n")
    assert ran.err == (
        f"Route: {MODEL}#{NAME}\nIt is being created. To see how far it is: firectl deployment get {NAME}\n"
    )
    assert cli("deployment", "create", "m", "--deployment-id", "d1", "-q").err == ""


def test_without_an_id_a_random_one_is_made(cli: Cli, api: Api) -> None:
    paths = {cli("deployment", "create", "m", "--dry-run").json["path"] for _ in range(3)}
    assert len(paths) == 3
    assert all(len(path.partition("deploymentId=")[2]) == 8 for path in paths)


def test_update_sends_just_the_fields_that_were_named(cli: Cli, api: Api) -> None:
    api.on("PATCH", PATH, WIRE)
    flags = "--max-replica-count 0 --scale-up-window 1m --enable-mtp=false --skip-shape-validation"
    ran = cli("deployment", "update", "d1", *flags.split())
    assert ran.code == 0
    assert api.query() == {
        "updateMask": "enable_mtp,max_replica_count,autoscaling_policy.scale_up_window",
        "skipShapeValidation": "true",
    }
    assert api.changes[-1].json == {
        "enableMtp": False,
        "maxReplicaCount": 0,
        "autoscalingPolicy": {"scaleUpWindow": "60s"},
    }


def test_update_of_nothing_is_refused(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "update", "d1")
    assert (ran.code, api.asked) == (2, [])
    assert ran.err.startswith("Error: nothing to change: no flag names a field (code = InvalidArgument)\n")


def test_scale_sends_the_count_and_shows_the_deployment(cli: Cli, api: Api) -> None:
    api.on("PATCH", f"{PATH}:scale", {})
    api.on("GET", PATH, WIRE)
    ran = cli("scale", "d1", "--replica-count", "2")
    assert (ran.code, ran.out) == (0, TEXT)
    assert api.changes[-1].json == {"replicaCount": 2}


def test_delete_does_not_ask_without_a_terminal(cli: Cli, api: Api) -> None:
    api.on("DELETE", PATH, {})
    ran = cli("deployment", "delete", "d1", "--hard", "--ignore-checks")
    assert (ran.code, ran.out, ran.err) == (0, "", f"Deleted {NAME} permanently\n")
    assert api.query() == {"hard": "true", "ignoreChecks": "true"}


def test_undelete_sends_an_empty_body_and_shows_the_deployment(cli: Cli, api: Api) -> None:
    api.on("POST", f"{PATH}:undelete", WIRE)
    ran = cli("deployment", "undelete", "d1")
    assert (ran.code, ran.out) == (0, TEXT)
    assert api.changes[-1].json == {}


def test_the_key_is_in_no_output(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, {**WIRE, "description": "d"})
    for argv in (["deployment", "get", "d1", "-v"], ["deployment", "create", "m", "--dry-run", "-v"]):
        ran = cli(*argv)
        assert KEY not in ran.out + ran.err
