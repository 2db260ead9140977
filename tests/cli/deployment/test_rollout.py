"""What follows a change, `cli/deployment/rollout.py`: the wait, the proof, and what is said on stderr."""

from __future__ import annotations

from tests.cli.conftest import Cli
from tests.cli.hosted import Api

NAME = "accounts/acme/deployments/d1"
PATH = f"/v1/{NAME}"
ALL = "/v1/accounts/acme/deployments"
MODEL = "accounts/acme/models/m"
BASE = "accounts/fireworks/models/base"


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
    assert ran.err == (f"{NAME} was already deleted\nTo bring it back: firectl deployment undelete {NAME}\n")
    assert cli("deployment", "delete", "d1", "--hard").err == f"Deleted {NAME} permanently\n"


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
