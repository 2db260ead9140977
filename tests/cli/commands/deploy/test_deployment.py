"""`firectl deployment`: what each verb sends and what it prints, to the letter."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import respx

from firectl.cli.views.deployment_flags import FLAGS
from firectl.schemas.deployment import Deployment
from tests.cli.conftest import KEY, Cli
from tests.cli.hosted import Api

NAME = "accounts/acme/deployments/d1"
PATH = f"/v1/{NAME}"
ALL = "/v1/accounts/acme/deployments"
MODEL = "accounts/acme/models/m"
BASE = "accounts/fireworks/models/base"
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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--enable-addons --precision FP8", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--enable-addons --precision fp4_mx_moe", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--enable-addons --precision NF4", "addons cannot be enabled with quantized precisions (FP8/FP4)"),
        ("--min-replica-count 3 --max-replica-count 2", "the minimum of 3 replicas is above the maximum of 2"),
        (f"--display-name {'x' * 64}",
         "invalid value for '--display-name': 64 characters, and fewer than 64 are allowed"),
        ("--deployment-id No", "'No' is not a valid deployment ID: a capital letter: IDs are lower case (character 0)"),
        ("--scale-to-zero-window 1m",
         "invalid value for '--scale-to-zero-window': '1m' is too short: at least 5 minutes"),
        ("--region mars",
         "invalid value for '--region': 'mars' is not global, us, europe, apac or a region such as us-iowa-1"),
        ("--deployment-shape s --accelerator-type NVIDIA_H100_80GB",
         "a deployment shape brings its accelerator: --accelerator-type cannot be given with it"),
        ("--expire-time soon", "expire_time: "),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_sent(cli: Cli, api: Api, flags: str, message: str) -> None:
    ran = cli("deployment", "create", "m", *flags.split())
    assert (ran.code, ran.out) == (2, "")
    assert f"Error: {message}" in ran.err
    assert api.asked == []


def test_addons_on_a_lora_are_refused_after_a_look_at_the_model(cli: Cli, api: Api) -> None:
    lora = {"name": MODEL, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE}}
    api.on("GET", f"/v1/{MODEL}", lora)
    for extra in ([], ["--dry-run"]):
        ran = cli("deployment", "create", "m", "--enable-addons", *extra)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == (
            f"Error: {MODEL} is a LoRA, and --enable-addons needs a base model (code = InvalidArgument)\n"
            f"Hint: firectl deployment create {BASE} --enable-addons, then firectl load-lora {MODEL}; "
            "or leave --enable-addons out to merge it\n"
        )
    assert api.changes == []


def test_addons_on_a_model_that_is_not_there_are_not_found(cli: Cli, api: Api) -> None:
    assert cli("deployment", "create", "m", "--enable-addons").code == 3


def shapes(api: Api) -> None:
    """A base with a BF16 and an FP8 shape, in the public account, and a LoRA of it."""
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL"})
    lora = {"name": MODEL, "kind": "HF_PEFT_ADDON", "peftDetails": {"baseModel": BASE}}
    api.on("GET", f"/v1/{MODEL}", lora)
    rows = []
    for shape, preset, precision in (("plain", "MINIMAL", "BF16"), ("quick", "FAST", "FP8")):
        name = f"accounts/fireworks/deploymentShapes/{shape}"
        snapshot = {"name": name, "baseModel": BASE, "presetType": preset, "precision": precision}
        row = {"name": f"{name}/versions/1", "snapshot": snapshot, "validated": True, "latestValidated": True}
        api.on("GET", f"/v1/{name}/versions/latest", row)
        rows.append(row)
    rows.append({"name": "accounts/fireworks/deploymentShapes/other/versions/1", "validated": True, "snapshot": {}})
    api.on("GET", "/v1/accounts/fireworks/deploymentShapes/-/versions", {"deploymentShapeVersions": rows})
    api.on("GET", "/v1/accounts/acme/deploymentShapes/-/versions", {"deploymentShapeVersions": rows[:1]})


@pytest.mark.parametrize(
    ("preset", "shape"), [("fast", "quick"), ("cost", "plain"), ("minimal", "plain"), ("default", "plain")]
)
def test_a_preset_is_the_shape_that_fits_the_model(cli: Cli, api: Api, preset: str, shape: str) -> None:
    shapes(api)
    for model in (MODEL, BASE):
        ran = cli("deployment", "create", model, "--deployment-shape", preset, "--dry-run")
        assert ran.json["body"]["deploymentShape"] == f"accounts/fireworks/deploymentShapes/{shape}"


def test_a_preset_that_no_shape_has_says_how_to_list_those_that_there_are(cli: Cli, api: Api) -> None:
    shapes(api)
    ran = cli("deployment", "create", "m", "--deployment-shape", "throughput")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        f"Error: no validated shape of {MODEL} has the preset 'throughput' (code = InvalidArgument)\n"
        f"Hint: firectl deployment-shape-version match --model {MODEL}\n"
    )


def test_addons_on_a_quantized_shape_are_refused_and_the_plain_one_is_named(cli: Cli, api: Api) -> None:
    shapes(api)
    ran = cli("deployment", "create", BASE, "--enable-addons", "--deployment-shape", "fast")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "Error: addons cannot be enabled with quantized precisions (FP8/FP4): "
        "the shape accounts/fireworks/deploymentShapes/quick has FP8 (code = InvalidArgument)\n"
        "Hint: --deployment-shape accounts/fireworks/deploymentShapes/plain\n"
    )
    assert api.changes == []


@pytest.mark.parametrize(
    ("flags", "shape"),
    [("fast", "fireworks/deploymentShapes/quick"), ("minimal", "fireworks/deploymentShapes/plain"),
     ("s", "acme/deploymentShapes/s")],
)  # fmt: skip
def test_an_update_takes_the_presets_of_what_is_deployed(cli: Cli, api: Api, flags: str, shape: str) -> None:
    shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": MODEL})
    ran = cli("deployment", "update", "d1", "--deployment-shape", flags, "--dry-run")
    assert ran.code == 0, ran.err
    assert ran.json["path"] == f"{PATH}?updateMask=deployment_shape"
    assert ran.json["body"] == {"deploymentShape": f"accounts/{shape}"}


def test_an_update_to_a_preset_that_no_shape_has_sends_nothing(cli: Cli, api: Api) -> None:
    shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": MODEL})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "throughput")
    assert (ran.code, api.changes) == (2, [])
    assert ran.err.endswith(f"Hint: firectl deployment-shape-version match --model {MODEL}\n")
    api.on("GET", PATH, {"name": NAME, "state": "READY"})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "fast")
    assert (ran.code, api.changes) == (2, [])
    assert ran.err == (
        "Error: the deployment names no model, so no shape can be chosen for 'fast' (code = InvalidArgument)\n"
        "Hint: firectl deployment-shape list, and then --deployment-shape NAME\n"
    )


@pytest.mark.parametrize(("has", "flags", "code"), [(True, [], 2), (True, ["--enable-addons=false"], 0),
                                                    (False, ["--enable-addons"], 2), (False, [], 0)])  # fmt: skip
def test_an_update_to_a_quantized_shape_is_refused_where_addons_are_loaded(
    cli: Cli, api: Api, has: bool, flags: list[str], code: int
) -> None:
    shapes(api)
    api.on("GET", PATH, {"name": NAME, "state": "READY", "baseModel": BASE, "enableAddons": has})
    ran = cli("deployment", "update", "d1", "--deployment-shape", "fast", *flags, "--dry-run")
    assert ran.code == code, ran.err
    if code:
        assert ran.err == (
            "Error: addons cannot be enabled with quantized precisions (FP8/FP4): "
            "the shape accounts/fireworks/deploymentShapes/quick has FP8 (code = InvalidArgument)\n"
            "Hint: --deployment-shape accounts/fireworks/deploymentShapes/plain\n"
        )


def test_match_lists_each_version_that_fits_once(cli: Cli, api: Api) -> None:
    shapes(api)
    ran = cli("deployment-shape-version", "match", "--model", "m", "-o", "name")
    assert ran.out == (
        "accounts/fireworks/deploymentShapes/plain/versions/1\naccounts/fireworks/deploymentShapes/quick/versions/1\n"
    )
    row = cli("dsv", "match", "--model", BASE, "-o", "json").json[0]
    assert (row["validated"], row["latest_validated"], row["snapshot"]["precision"]) == (True, True, "BF16")


def test_a_file_gives_what_flags_do_not(cli: Cli, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    saved = {**DOCUMENT, "autoscalingPolicy": {"scaleUpWindow": "60s", "loadTargets": {"default": 0.5}}}
    del saved["autoscaling_policy"]
    file.write_text(json.dumps(saved))
    flags = ["--file", str(file), "--max-replica-count", "5", "--scale-up-window", "1m30s"]
    ran = cli("deployment", "create", "m2", *flags, "--dry-run")
    assert ran.json["body"] == {
        "baseModel": "accounts/acme/models/m2",
        "displayName": "Two words",
        "maxReplicaCount": 5,
        "autoscalingPolicy": {"scaleUpWindow": "90s", "loadTargets": {"default": 0.5}},
        "enableAddons": False,
        "placement": {"region": "US_IOWA_1"},
    }
    assert ran.err == (
        f"{file}: left out what the server decides: create_time, name, replica_stats, state, status\n"
        "Nothing was sent.\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON: "),
        ("[]", "holds no JSON object"),
        ('{"maxReplicas": 1}', "d.json: there is no field 'maxReplicas' (code = InvalidArgument)\nHint: did you mean "),
        ('{"autoscalingPolicy": {"scaleUp": "9s"}}', "d.json: autoscalingPolicy: there is no field 'scaleUp'"),
        ('{"maxReplicaCount": "many"}', "d.json: maxReplicaCount: Input should be a valid integer"),
        ('{"autoscalingPolicy": {"scaleUpWindow": "10m"}}', "'10m' is not a duration such as 600s"),
        ('{"autoscalingPolicy": 3}', "d.json: autoscalingPolicy: Input should be"),
        ('{"autoscalingPolicy": {"scaleToZeroWindow": "60s"}}',
         "d.json: autoscaling_policy.scale_to_zero_window: '60s' is too short: at least 5 minutes"),
        ('{"autoscaling_policy": {"scale_up_window": "7200s"}}', "scale_up_window: '7200s' is too long: at most 60"),
        ('{"autoscalingPolicy": {"loadTargets": {"default": -1}}}', "d.json: autoscaling_policy.load_targets: '-1"),
        ('{"minReplicaCount": -1}', "d.json: min_replica_count: -1 is below 0"),
        ('{"acceleratorCount": 0}', "d.json: accelerator_count: 0 is below 1"),
        ('{"precision": "?"}', "d.json: precision: '?' is not one of FP8, "),
        ('{"placement": {"region": "mars"}}', "d.json: placement: 'mars' is not global, us, europe, apac or a region"),
        (json.dumps({"displayName": "x" * 64}), "d.json: display_name: 64 characters, and fewer than 64 are allowed"),
        ('{"minReplicaCount": 2, "maxReplicaCount": 1}', "the minimum of 2 replicas is above the maximum of 1"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_by_name(
    cli: Cli, api: Api, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "d.json"
    file.write_text(content)
    ran = cli("deployment", "create", "m", "--file", str(file))
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert api.asked == []


def test_a_file_may_spell_an_enum_as_its_flag_does(cli: Cli, api: Api, tmp_path: Path) -> None:
    file = tmp_path / "d.json"
    file.write_text('{"precision": "bf16", "autoscalingPolicy": {"scaleToZeroWindow": "300s"}, "directRouteType": "X"}')
    ran = cli("deployment", "create", "m", "--file", str(file), "--dry-run")
    assert ran.json["body"] == {
        "baseModel": MODEL,
        "precision": "BF16",
        "autoscalingPolicy": {"scaleToZeroWindow": "300s"},
        "directRouteType": "X",
    }
    assert ran.err == "Warning: X is not a value that this version knows, and is sent as it is\nNothing was sent.\n"


def test_what_came_back_other_than_asked_is_a_warning_that_names_both(cli: Cli, api: Api) -> None:
    made = {
        "name": NAME,
        "baseModel": MODEL,
        "precision": "FP8",
        "deploymentShape": "accounts/acme/deploymentShapes/s/versions/7",
    }
    api.on("POST", ALL, made)
    flags = "--precision BF16 --deployment-shape s --max-replica-count 0 --display-name n"
    ran = cli("deployment", "create", "m", *flags.split())
    assert [line for line in ran.err.splitlines() if line.startswith("Warning")] == [
        "Warning: --display-name n was asked for, and the deployment has none",
        "Warning: --precision BF16 was asked for, and the deployment has FP8",
    ]


def test_expire_time_warns_that_it_deletes_nothing(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "--expire-time", "2030-01-01T00:00:00Z", "--dry-run")
    assert ran.json["body"]["expireTime"] == "2030-01-01T00:00:00Z"
    assert ran.err.startswith("Warning: expire_time is deprecated by the API and deletes nothing: use --scale-to-zero")


def test_flags_without_a_field_are_refused_hosted_and_without_effect_here(cli: Cli, api: Api) -> None:
    ran = cli("deployment", "create", "m", "-c", "mine", "--preemptible", "--dry-run")
    assert ran.err == (
        "Warning: --cluster-id has no effect here and is not sent\n"
        "Warning: --preemptible has no effect here and is not sent\n"
        "Nothing was sent.\n"
    )
    api.hosted()
    for flags in (["-c", "mine"], ["--preemptible"]):
        ran = cli("deployment", "create", "m", *flags)
        assert (ran.code, ran.out) == (2, "")
        assert "the API's create has no known field for --" in ran.err


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


def test_an_update_that_came_to_something_else_is_a_warning_that_names_both(cli: Cli, api: Api) -> None:
    api.on("PATCH", PATH, WIRE)
    ran = cli("deployment", "update", "d1", "--max-replica-count", "3", "--scale-down-window", "10m")
    assert (ran.code, ran.out) == (0, TEXT)
    assert ran.err == "Warning: --max-replica-count 3 was asked for, and the deployment has 2\n"


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


def test_a_scale_waits_until_so_many_replicas_are_ready_and_answer(cli: Cli, api: Api) -> None:
    def now(desired: int, ready: int) -> dict[str, object]:
        counts = {"desiredReplicaCount": desired, "replicaCount": ready, "replicaStats": {"readyReplicaCount": ready}}
        return {"name": NAME, "state": "READY", "baseModel": BASE, **counts}

    api.on("PATCH", f"{PATH}:scale", {})
    # The first answer is from before the server took the new number up.
    api.on("GET", PATH, now(1, 1), now(2, 1), now(2, 2))
    api.on("GET", f"/v1/{BASE}", {"name": BASE, "kind": "HF_BASE_MODEL", "state": "READY"})
    api.on("POST", "/inference/v1/completions", {"id": "x", "choices": [{"index": 0, "text": "a"}]})
    ran = cli("deployment", "scale", "d1", "--replica-count", "2", "--wait", "-o", "json")
    assert (ran.code, ran.json["replica_count"]) == (0, 2), ran.err
    assert ran.err.splitlines() == [
        f"{NAME}: READY, 1 replica ready",
        f"{NAME}: READY, 2 replicas ready",
        "Proof: it answers",
    ]
    api.on("GET", PATH, now(0, 2), now(0, 0))
    ran = cli("deployment", "scale", "d1", "--replica-count", "0", "--wait")
    assert (ran.code, ran.err.splitlines()[-1]) == (0, f"{NAME}: READY, 0 replicas ready")
    api.on("GET", PATH, now(0, 0), now(3, 3))
    ran = cli("deployment", "scale", "d1", "--replica-count", "0", "--wait", "--wait-timeout", "100ms")
    assert ran.code == 0, "autoscaling may want others soon after"


def test_delete_does_not_ask_without_a_terminal(cli: Cli, api: Api) -> None:
    api.on("DELETE", PATH, {})
    ran = cli("deployment", "delete", "d1", "--hard", "--ignore-checks")
    assert (ran.code, ran.out, ran.err) == (0, "", f"Deleted {NAME} for good\n")
    assert api.query() == {"hard": "true", "ignoreChecks": "true"}


def test_delete_waits_until_it_is_gone(cli: Cli, api: Api) -> None:
    api.on("DELETE", PATH, {})
    api.on("GET", PATH, *({"name": NAME, "state": state} for state in ("READY", "DELETING", "DELETED")))
    ran = cli("deployment", "delete", "d1", "--wait")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines() == [
        f"{NAME}: DELETING, 0 replicas ready",
        f"{NAME}: DELETED, 0 replicas ready",
        f"Deleted {NAME}",
        f"To bring it back: firectl deployment undelete {NAME}",
    ]


def test_a_delete_leaves_a_document_for_scripts(cli: Cli, api: Api) -> None:
    api.on("DELETE", PATH, {})
    for format, left in (("json", f'{{\n  "name": "{NAME}"\n}}\n'), ("yaml", f"name: {NAME}\n"), ("name", f"{NAME}\n")):
        assert cli("deployment", "delete", "d1", "-o", format).out == left
    api.on("GET", PATH, {"name": NAME, "state": "DELETED"})
    assert cli("deployment", "delete", "d1", "-o", "json").json == {"name": NAME, "state": "DELETED"}


def test_a_delete_of_what_was_deleted_says_so_and_hard_still_takes_it_away(cli: Cli, api: Api) -> None:
    api.on("DELETE", PATH, {})
    api.on("GET", PATH, {"name": NAME, "state": "DELETED"})
    ran = cli("deployment", "delete", "d1")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == (f"{NAME} was deleted already\nTo bring it back: firectl deployment undelete {NAME}\n")
    assert cli("deployment", "delete", "d1", "--hard").err == f"Deleted {NAME} for good\n"


def test_a_wait_says_in_which_stage_replicas_are_and_why(cli: Cli, api: Api) -> None:
    made: dict[str, object] = {"name": NAME, "baseModel": MODEL, "state": "CREATING"}
    stages: list[dict[str, object]] = [
        {"status": {"message": "looking for hardware"}, "replicaStats": {"pendingSchedulingReplicaCount": 2}},
        {"replicaStats": {"downloadingModelReplicaCount": 1, "initializingReplicaCount": 1}},
        {"state": "READY", "replicaStats": {"readyReplicaCount": 1, "initializingReplicaCount": 1}},
    ]
    api.on("POST", ALL, made)
    api.on("GET", PATH, *({**made, **stage} for stage in stages))
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", "--wait", "--no-probe")
    assert ran.code == 0
    assert ran.err.splitlines()[:3] == [
        f"{NAME}: CREATING, 0 replicas ready, 2 pending (looking for hardware)",
        f"{NAME}: CREATING, 0 replicas ready, 1 downloading, 1 initializing",
        f"{NAME}: READY, 1 replica ready, 1 initializing",
    ]


def test_a_list_says_what_bills_now(cli: Cli, api: Api, respx_mock: respx.MockRouter) -> None:
    h100 = {"acceleratorType": "NVIDIA_H100_80GB", "acceleratorCount": 2}
    rows = [
        {"name": f"{NAME}-a", "replicaCount": 2, **h100},
        {"name": f"{NAME}-b", "replicaStats": {"readyReplicaCount": 1}, **h100},
        {"name": f"{NAME}-c", "replicaCount": 0, **h100},
    ]
    respx_mock.get(f"https://api.fireworks.ai{ALL}").respond(json={"deployments": rows})
    ran = cli("deployment", "list", "-o", "name", env={"FIREWORKS_BASE_URL": "https://api.fireworks.ai"})
    assert ran.out == f"{NAME}-a\n{NAME}-b\n{NAME}-c\n"
    assert ran.err == (
        "Billing now: 3 replicas of 2 deployments, 6 x NVIDIA_H100_80GB. "
        "To stop one: firectl deployment scale NAME --replica-count 0\n"
    )


def test_undelete_sends_an_empty_body_and_shows_the_deployment(cli: Cli, api: Api) -> None:
    api.on("POST", f"{PATH}:undelete", WIRE)
    ran = cli("deployment", "undelete", "d1")
    assert (ran.code, ran.out) == (0, TEXT)
    assert api.changes[-1].json == {}


def test_a_wait_ends_at_failed_with_the_servers_words(cli: Cli, api: Api) -> None:
    made = {"name": NAME, "baseModel": MODEL, "state": "CREATING"}
    api.on("POST", ALL, made)
    api.on("GET", PATH, made, {**made, "state": "FAILED", "status": {"code": "INTERNAL", "message": "no room"}})
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", "--wait")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-2:] == [
        f"Error: {NAME} failed: no room (code = Unknown)",
        f"Hint: firectl deployment get {NAME}",
    ]


def test_a_wait_ends_when_its_time_is_over(cli: Cli, api: Api) -> None:
    made = {"name": NAME, "baseModel": MODEL, "state": "CREATING"}
    api.on("POST", ALL, made)
    api.on("GET", PATH, made)
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", "--wait", "--wait-timeout", "600ms")
    assert (ran.code, ran.out) == (8, "")
    assert f"Error: {NAME} is not READY after 0.6 s" in ran.err


def test_a_parked_deployment_is_not_asked_to_prove_anything(cli: Cli, api: Api) -> None:
    parked = {"name": NAME, "baseModel": MODEL, "state": "READY", "maxReplicaCount": 0}
    api.on("POST", ALL, parked)
    api.on("GET", PATH, parked)
    ran = cli("deployment", "create", "m", "--deployment-id", "d1", "--max-replica-count", "0", "--wait")
    assert ran.code == 0
    assert [path for _, path in api.asked] == ["/v1/local", f"{ALL}?deploymentId=d1", PATH]


def test_the_key_is_in_no_output(cli: Cli, api: Api) -> None:
    api.on("GET", PATH, {**WIRE, "description": "d"})
    for argv in (["deployment", "get", "d1", "-v"], ["deployment", "create", "m", "--dry-run", "-v"]):
        ran = cli(*argv)
        assert KEY not in ran.out + ran.err
